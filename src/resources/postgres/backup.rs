//! Base backups through `BASE_BACKUP`: the server's tar streams, split into packs, checked file by file, stored as they arrive.
//!
//! The path of a byte: the replication connection (`pgwire`), the tar parser (`pg::tar`), the pack that is being written (`packs`, which also
//! takes its checksum), a frame, a thread that compresses it, the store (all three in `repository`). Nothing touches the disk, and nothing
//! is read twice. When the store is slow, the server waits.
//!
//! Invariants: the catalog entry is written last, after the server has said that it has nothing to complain about, every file was
//! compared with `backup_manifest`, and all WAL from the start to the stop position is stored. Of a backup that fails, the content is removed;
//! what a killed process leaves behind is in no catalog. Memory: the frames in flight, the index of one pack, sixteen bytes for each file.

mod check;
mod error;
mod limits;
pub(super) mod manifest;
mod objects;
mod packs;
mod problem;
mod progress;
mod receive;
mod source;
mod take;
pub(super) mod tally;
mod wal;

pub use error::{Error, Failed, Result};
pub use limits::Limits;
pub use problem::{Problem, Problems};
pub use progress::{Phase, Progress, Reporter};
pub use take::{Report, Request, take};
