//! Restores: the plan, fetching the base backup and WAL, and the settings that lead PostgreSQL to the target.
//!
//! Invariants: nothing is written before the plan is complete and every check has passed. A directory that a restore did not finish
//! cannot be started: the control file comes last. What is written was checked against the backup's index on the way. A restored
//! cluster neither archives nor replicates, unless it was asked to.

pub mod base;
mod carry_out;
mod error;
pub mod fetch;
pub mod gather;
pub mod locate;
pub mod path;
pub mod plan;
mod planning;
pub mod protection;
pub mod settings;
pub mod site;
pub mod start;
pub mod target;
pub mod wal_server;

pub use carry_out::{Configuration, Restored, carry_out};
pub use error::{Error, Result};
pub use planning::make_plan;
