//! The long-running program: receives the WAL of every cluster that is configured, does what is due of itself, and tells how it goes.
//!
//! Invariants: what befalls one cluster never ends the work for another. The agent ends only when it is asked to: whatever is wrong is
//! logged, shown in the status and tried again. It keeps no state of its own.

mod http;
mod inspection;
mod memory;
mod metrics;
mod receivers;
pub mod scheduler;
mod socket;
mod status;
mod supervisor;
mod sweep;
pub mod systemd;

pub use status::AgentStatus;
pub use supervisor::Agent;
