//! Why a base backup failed.

use std::fmt;
use std::time::Duration;

use super::problem::Problems;
use crate::pg::tar::TarError;
use crate::pg::{Lsn, TimelineId};
use crate::pgwire;
use crate::repository::{self, Leftover, PackArchive};
use crate::resources::postgres::archive::{Contradiction, OriginError};

/// The result of a part of a backup.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server failed or refused; a wrong page checksum in the source is reported this way, at the end.
    #[error(transparent)]
    Server(#[from] pgwire::Error),
    /// The repository failed or refused.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The server's tar archive cannot be read.
    #[error("the server's archive of {archive} cannot be read: {source}")]
    Archive {
        /// Which one.
        archive: PackArchive,
        /// What is wrong with it.
        source: TarError,
    },
    /// The server's manifest cannot be read, or contradicts the rest.
    #[error("the server's backup_manifest cannot be used: {detail}")]
    Manifest {
        /// What is wrong with it.
        detail: String,
    },
    /// Files differ from the manifest.
    #[error("what the server sent is not what its backup_manifest lists: {0}")]
    Differs(Problems),
    /// The server sent something that does not belong there, or not everything.
    #[error("the server's backup is not complete: {0}")]
    Incomplete(String),
    /// The segment size of the cluster is not the one that the repository knows.
    #[error("the server's wal_segment_size is {found} bytes, and the stored WAL of this cluster has segments of {known} bytes")]
    SegmentSize {
        /// The server's, in bytes.
        found: u64,
        /// The repository's, in bytes.
        known: u64,
    },
    /// The server was promoted, or follows another primary now.
    #[error("the timeline changed from {start} to {end} while the backup was taken")]
    TimelineChanged {
        /// The timeline at its start.
        start: TimelineId,
        /// The timeline at its end.
        end: TimelineId,
    },
    /// The WAL that the backup needs did not reach the repository.
    #[error(
        "the files are stored, but the WAL of timeline {timeline} up to {stop} is not: it is stored without a hole up to {reached}, and \
         nothing was added within {} s",
        waited.as_secs()
    )]
    WalMissing {
        /// The timeline.
        timeline: TimelineId,
        /// Up to where WAL is stored.
        reached: Lsn,
        /// Up to where it is needed.
        stop: Lsn,
        /// How long nothing was added.
        waited: Duration,
        /// Whether WAL behind the hole is stored.
        hole: bool,
    },
    /// The WAL that the backup needs is stored, and recovery cannot pass it.
    #[error(
        "the files and the WAL of timeline {timeline} up to {stop} are stored, but nothing is recovered past {end}: a gap is recorded there"
    )]
    WalUnfit {
        /// The timeline.
        timeline: TimelineId,
        /// Where recovery would end.
        end: Lsn,
        /// Up to where WAL is needed.
        stop: Lsn,
    },
    /// The WAL that is stored, on which the backup would lean, was written by another server.
    #[error(
        "the stored WAL is not this server's: from {} on {} holds other bytes than the server has; the backup could not be restored with it",
        .0.at, .0.stored
    )]
    OtherServer(Contradiction),
    /// The backup was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A worker ended without a result.
    #[error("a worker ended early: {0}")]
    Interrupted(String),
}

impl From<OriginError> for Error {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Server(error) => error.into(),
            OriginError::Repository(error) => error.into(),
        }
    }
}

impl Error {
    /// Whether a new backup may succeed without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.is_retryable(),
            Self::Repository(error) => error.is_retryable(),
            Self::TimelineChanged { .. } | Self::WalUnfit { .. } | Self::Interrupted(_) => true,
            _ => false,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Server(error) => return error.hint().map(str::to_owned).or_else(|| self.checksum_hint()),
            Self::Repository(error) => return error.hint(),
            Self::Differs(_) | Self::Incomplete(_) => {
                "something changed files in the data directory or on the way; take the backup again, and check the server's disk if it \
                 happens again"
            }
            Self::SegmentSize { .. } => "pg_resetwal changed it: run 'holdfast init --new-lineage' under a new resource name",
            Self::OtherServer(_) => {
                "this server is a copy of the one whose WAL is stored, or the other way round (a clone, a restored copy, an old primary): back \
                 up that one, or give this one a resource name of its own"
            }
            Self::TimelineChanged { .. } => "take the backup again, from the new primary",
            Self::WalMissing { hole: true, .. } => {
                "WAL is missing from the repository, and what follows it is there: see 'holdfast status' for gaps, then take the backup again"
            }
            Self::WalMissing { .. } => {
                "no WAL arrives: is the agent running ('holdfast agent'), or archive_command set and working (pg_stat_archiver)?"
            }
            Self::WalUnfit { .. } => "see 'holdfast status' for the gap, then take the backup again",
            Self::Interrupted(_) => "take the backup again",
            Self::Archive { .. } | Self::Manifest { .. } => "check that the server's version is a supported one",
            Self::Cancelled => return None,
        };
        Some(text.to_owned())
    }

    /// SQLSTATE XX001 is `data_corrupted`: pages with wrong checksums, which the warnings before it name.
    fn checksum_hint(&self) -> Option<String> {
        let Self::Server(error) = self else { return None };
        let corrupted = error.answer().is_some_and(|answer| answer.sqlstate == "XX001");
        corrupted.then(|| {
            "the cluster's own data is damaged; the warnings before name the files. Keep the backups that there are, and see to the \
             server's disk"
                .to_owned()
        })
    }
}

/// A backup that failed after it had begun, and what became of its content.
#[derive(Debug)]
pub struct Failed {
    /// Why it failed.
    pub error: Error,
    /// What the server remarked before.
    pub notices: Vec<String>,
    /// What could not be removed of it.
    pub leftover: Option<Leftover>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the backup failed and is not listed: {}", self.error)?;
        match &self.leftover {
            None => Ok(()),
            Some(Leftover { id, reason }) => write!(f, " (its content, data/{id}, was not removed: {reason})"),
        }
    }
}

impl std::error::Error for Failed {}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, notices: Vec::new(), leftover: None }
    }
}
