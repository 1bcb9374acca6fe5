//! What spans resources: making ready, status, checks, the demonstration.

pub mod check;
pub mod demo;
pub mod prepare;
pub mod status;
pub mod windows;
