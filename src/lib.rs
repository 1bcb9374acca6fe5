//! Holdfast makes PostgreSQL recoverable to any moment, and proves that it can.

pub mod codec;
pub mod pg;
pub mod storage;
pub mod sys;
