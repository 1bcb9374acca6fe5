//! Retention: which backups are kept and which WAL they need; removing the rest.
//!
//! What is decided is a value, the `ExpirePlan`, made by pure functions from facts (`backups`, `wal`), shown, and carried out by code that
//! decides nothing. Times are compared by the store's clock; what is older follows from the position in the WAL, never from names.
//!
//! Invariants: what is listed restores. So the catalog entry goes first, then, once nobody has begun to use the backup meanwhile, its
//! content. WAL goes when no listed backup needs it any more, oldest first, after a horizon was recorded: what is missing below it was removed,
//! and is not the end. A process killed anywhere leaves only what the next run collects. Whoever reads or writes a backup takes a lease and then looks
//! at the catalog; this looks at the leases after it has changed the catalog: one of the two sees the other. Nobody holds a backup while one is
//! taken off the catalog (`hold`).

mod backups;
mod carry_out;
mod error;
mod facts;
mod garbage;
mod gather;
mod hold;
mod lineage;
mod measure;
mod plan;
mod protection;
mod text;
mod wal;

pub use carry_out::{Progress, Removed, Report, expire, plan_only};
pub use error::{Error, Result};
pub use facts::{BaseBackup, Candidate, Facts, LineageFacts, Rules};
pub use hold::hold;
pub use plan::{Decision, ExpirePlan, WalDecision, decide};
pub use wal::{Need, WalNeeds};

#[cfg(test)]
mod tests;
