//! What spans resources: making ready, status, checks, keys, the demonstration.

pub mod check;
pub mod demo;
pub mod expire;
pub mod keys;
pub mod prepare;
pub mod resources;
pub mod running_backup;
pub mod status;
pub mod upkeep;
pub mod verify;
pub mod windows;
