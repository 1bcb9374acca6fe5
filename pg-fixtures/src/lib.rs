//! Real servers for tests: PostgreSQL in every installed major version, and what surrounds it.
//!
//! Invariants: everything lives in a scratch directory and on free ports, and is gone when its value is dropped, when the test
//! panics, and when the test process is killed. What is not installed is a panic that says what to install, never a silent skip.
//! Nothing here depends on Holdfast, so that it can judge Holdfast.

pub mod agent;
pub mod checksum;
pub mod container;
pub mod dice;
mod faketime;
pub mod fuzz;
mod guard;
pub mod poll;
mod port;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod s3;
mod scratch;
mod user;
mod verbs;

pub use faketime::Faketime;
pub use port::FreePort;
pub use scratch::Scratch;
pub use user::ServerUser;
pub use verbs::Verbs;
