//! WAL records: a scanner that finds commits, restore points and the last complete record while the bytes stream past.
//!
//! Invariants: memory is bounded whatever the records' sizes; only the first bytes of the records of interest are kept.
//! A record counts where it *ends*: one that spans two segments belongs to the second, and a scanner that begins at a
//! segment cannot see what began before it. Nothing is reported of a record that is not complete, but for where the last one begins: the
//! first record behind a segment's end names it, whole or not.

mod activity;
mod contents;
mod reader;
mod scanner;

pub use activity::{Activity, Commit, FirstRecord, RestorePoint};
pub use scanner::{Problem, ProblemKind, Scanner};
