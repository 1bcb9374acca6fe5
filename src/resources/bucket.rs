//! The objects of an S3 bucket, each with its type, metadata and tags. Content is stored once: a backup refers to what earlier ones have.
//!
//! Invariants: what has the ETag, size and time that the backup before has is not read again. What is referred to is there: the catalog entry
//! names every object that it needs of earlier backups, and retention keeps those. No order of listings is relied on, neither the
//! source's nor that of stored ones; so a look at millions of keys holds a few bytes for each (`survey`), and goes over the listings in
//! several passes where that would be too much. Keys stand in encrypted content and nowhere else. A restore writes
//! nothing outside of its target, and changes nothing that is there before it was told to.

mod backup;
mod error;
mod known;
mod line;
mod pack;
mod previous;
mod remarks;
mod resource;
mod restore;
mod source;
mod sums;
mod survey;
mod verify;
mod waiting;

pub use error::{Error, Result};
pub use resource::Objects;
pub use restore::RestoreRequest;
