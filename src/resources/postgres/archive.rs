//! WAL in: what is received or pushed is stored, and it is known what is stored.
//!
//! Invariants: nothing counts as stored that the store has not confirmed. What is stored is contiguous from a segment's first byte,
//! or it is not counted: PostgreSQL reads a segment from there.

pub mod coverage;
pub mod push;
