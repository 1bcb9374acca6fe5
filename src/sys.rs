//! The machine below: the clock, durable files, a local PostgreSQL.

pub mod clock;
pub mod durable;
pub mod local_postgres;
