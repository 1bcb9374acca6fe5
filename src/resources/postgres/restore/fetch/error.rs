//! Why a WAL file was not delivered. None of these may look like the end of the WAL.

use std::path::PathBuf;

use holdfast_archive_command::exit;

use super::Evidence;
use crate::pg::WalFileName;
use crate::pg::page::SegmentError;
use crate::repository;

/// The result of fetching a file.
pub type Result<T> = std::result::Result<T, Error>;

/// A file that was not delivered, although it is not proven that there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// WAL is missing.
    #[error("{name} is not stored, or not whole, and this is not the end of the WAL: {evidence}")]
    Hole {
        /// The file.
        name: WalFileName,
        /// What shows that there was more.
        evidence: Evidence,
    },
    /// A file that recovery does not need is not stored.
    #[error("{name} is not stored")]
    NotStored {
        /// The file.
        name: WalFileName,
    },
    /// What is stored is not the segment that it should be.
    #[error("object {object}: {source}")]
    Segment {
        /// The object.
        object: String,
        /// What is wrong with it.
        source: SegmentError,
    },
    /// A stored object has another length than its name says, or is no history.
    #[error("object {object}: {detail}")]
    Content {
        /// The object.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Two slices of a segment disagree.
    #[error("object {object} holds other bytes than {other}, from {offset} bytes into the segment on")]
    Contradiction {
        /// One of them.
        object: String,
        /// The other one.
        other: String,
        /// The first byte of the segment that differs.
        offset: u64,
    },
    /// The file cannot be written where PostgreSQL wants it.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// What is stored changed while it was read, again and again.
    #[error("{name} could not be put together: its slices were replaced while they were read")]
    Moving {
        /// The file.
        name: WalFileName,
    },
    /// A worker thread ended without a result.
    #[error("a worker ended early: {detail}")]
    Interrupted {
        /// What the runtime says.
        detail: String,
    },
}

impl Error {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_retryable(),
            // A writer takes back what contradicts others as soon as it has seen that.
            Self::Contradiction { .. } => true,
            _ => false,
        }
    }

    /// What `wal fetch` and the shim exit with: never a code that PostgreSQL takes for the end of the WAL.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Hole { .. } => exit::HOLE,
            Self::Segment { .. } | Self::Content { .. } | Self::Contradiction { .. } => exit::DAMAGED,
            Self::Repository(error) => match error {
                repository::Error::Storage(_) => exit::STORE,
                repository::Error::Codec { source, .. } if source.is_locked() => exit::LOCKED,
                repository::Error::Codec { .. } | repository::Error::Malformed { .. } | repository::Error::Misplaced { .. } => {
                    exit::DAMAGED
                }
                _ => exit::FAILED,
            },
            _ => exit::FAILED,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Hole { evidence: Evidence::Planned { .. }, .. } => {
                "put it back from a copy of the repository and start the server again; a new 'holdfast restore' ends where the archive ends now"
            }
            Self::Hole { .. } => {
                "WAL was lost or removed: restore from a later backup, or to a target before this segment ('holdfast wal list' shows the gaps)"
            }
            Self::Segment { .. } | Self::Content { .. } => {
                "the object was altered after it was stored: restore it from a copy of the repository, or use another backup"
            }
            Self::Contradiction { .. } => {
                "two servers wrote WAL under one name ('holdfast status' shows the conflict): move the object of the wrong one out of the store"
            }
            Self::Write { .. } => "see that there is space, and that the data directory belongs to the user that runs PostgreSQL",
            Self::Repository(error) => return error.hint(),
            Self::NotStored { .. } | Self::Moving { .. } | Self::Interrupted { .. } => return None,
        };
        Some(text.to_owned())
    }
}
