//! PostgreSQL clusters: WAL in, base backups, restores, checks.

pub mod archive;
pub mod backup;
pub mod followed;
mod resource;
pub mod restore;
pub mod shim;
pub mod source;
mod verify;

pub use resource::{Cluster, RestoreRequest};
