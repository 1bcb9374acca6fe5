//! WAL in: what is received or pushed is stored, and it is known what is stored.
//!
//! Invariants: nothing counts as stored that the store has not confirmed. What is stored is contiguous from a segment's first byte,
//! or it is not counted: PostgreSQL reads a segment from there. No state is kept but what is stored and where the slot stands.

mod agreement;
mod chain;
pub mod coverage;
mod delay;
mod error;
mod foreign;
mod gap;
pub mod holes;
mod inflow;
pub mod inventory;
mod joins;
mod known;
pub mod leftovers;
mod origin;
mod pause;
mod piece;
mod progress;
pub mod push;
pub mod push_ahead;
mod receiver;
mod report;
#[cfg(test)]
mod scratch;
mod session;
mod setting;
mod setup;
mod slicing;
mod slot;
mod start;
mod under_way;
mod uploader;

pub use agreement::Contradiction;
pub use delay::DelaySummary;
pub use error::{Error, Result};
pub use foreign::ForeignTimeline;
pub use joins::{NotJoined, check as check_join};
pub use origin::{Origin, OriginError, origin_of};
pub use receiver::Receiver;
pub use report::{BackupState, NewBackup, ReceiverStatus, Report, SlotStatus, State, Trouble};
