//! PostgreSQL's formats, pure: positions, names, pages, records, control file, label, manifest, history.
//!
//! Invariants: nothing here does I/O, reads a clock or knows where bytes come from. Every parser takes foreign bytes and
//! returns a typed error; none panics. What differs between major versions stands in one table, `version`.

mod bytes;
pub mod checksum;
pub mod control;
pub mod history;
mod identity;
pub mod label;
mod lsn;
pub mod manifest;
pub mod page;
pub mod records;
pub mod recovery;
mod segment;
pub mod tar;
pub mod time;
pub mod version;

pub use identity::{SystemId, TimelineId};
pub use lsn::{Lsn, ParseLsnError};
pub use segment::{ParseWalFileNameError, SegmentName, SegmentNumber, SegmentSize, SegmentSizeError, WalFileName};
pub use version::{SUPPORTED, UnsupportedVersion, Version};
