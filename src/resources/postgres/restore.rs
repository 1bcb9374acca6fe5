//! Restores: the plan, fetching the base backup and WAL, and the settings that lead PostgreSQL to the target.
//!
//! Invariants: nothing is written before the plan is complete and every check has passed. A directory that a restore did not finish
//! cannot be started: the control file comes last. What is written was checked against the backup's index on the way. A restored
//! cluster neither archives nor replicates, unless it was asked to.

pub mod fetch;
pub mod path;
pub mod plan;
pub mod target;
pub mod wal_server;
