//! The machine below: the clock, large buffers and the room for them, durable files, directories for a while, other programs, a local PostgreSQL,
//! and the places where a test kills this process.

pub mod buffer;
pub mod clock;
pub mod durable;
pub mod fail_point;
pub mod host;
pub mod local_postgres;
pub mod places;
pub mod program;
pub mod scratch;
