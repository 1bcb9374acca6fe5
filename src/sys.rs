//! The machine below: the clock, large buffers, durable files, a local PostgreSQL.

pub mod buffer;
pub mod clock;
pub mod durable;
pub mod host;
pub mod local_postgres;
