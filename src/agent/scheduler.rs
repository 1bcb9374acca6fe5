//! What is done of itself: backups on their schedules, retention after them and once a day.
//!
//! One task tends one resource, and does one thing at a time; how many backups run at once is limited for all. When something is due follows
//! from the schedule and from the history in the repository alone (`due`), so that nothing is lost with a process. A run is under a lease: of
//! several agents one does it, and when that one dies another does, as soon as the lease has ended. What was missed is done once.
//! What is backed up on change is watched, looked at when it may have changed, and when the agent begins (`changes`); what is as it was is not stored again.

mod board;
mod changes;
mod due;
mod kept;
mod tend;
mod work;

pub use board::{JobState, JobStatus};
pub use due::{Due, Plan, backup_due, change_due, expire_due};
pub use kept::{KeptStatus, NewestBackup};

pub(super) use board::Board;
pub(super) use tend::{Shared, tend};
