//! Why a file was not stored.

use std::path::PathBuf;

use crate::pg::control::ControlFileError;
use crate::pg::page::SegmentError;
use crate::pg::{ParseWalFileNameError, SegmentName};
use crate::repository;
use crate::resources::postgres::archive::agreement::Refusal;
use crate::resources::postgres::archive::{Contradiction, ForeignTimeline, NotJoined};

/// The result of pushing a file.
pub type Result<T> = std::result::Result<T, Error>;

/// A file that was not stored. PostgreSQL keeps it and asks again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL's archiver never hands over a file of such a name.
    #[error(transparent)]
    Name(#[from] ParseWalFileNameError),
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not the segment that its name says.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A history or `.backup` file that is none.
    #[error("{path} is not what its name says: {detail}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The cluster's control file, which tells whose files these are, cannot be read.
    #[error("{path}: {source}", path = path.display())]
    ControlFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ControlFileError,
    },
    /// A history or `.backup` file does not say whose it is, and there is no control file beside it.
    #[error("{path} lies in no data directory, and {resource} has several clusters (or none): whose it is cannot be told", path = path.display())]
    UnknownCluster {
        /// The file.
        path: PathBuf,
        /// The resource.
        resource: String,
    },
    /// It could not be stored.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// Other WAL is stored for the same place.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// It does not go on where the stored segment before it ends, or the one behind it does not go on here.
    #[error(transparent)]
    NotJoined(#[from] NotJoined),
    /// Another server was promoted beside this one, and its WAL is stored.
    #[error(transparent)]
    ForeignTimeline(#[from] ForeignTimeline),
    /// What is stored changed while it was compared, again and again.
    #[error("what is stored of {0} was replaced again and again while it was compared")]
    Moving(SegmentName),
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
            Self::Interrupted { .. } | Self::Moving(_) => true,
            _ => false,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repository(error) => error.hint(),
            Self::Contradiction(_) => Some(Contradiction::HINT.to_owned()),
            Self::NotJoined(_) => Some(NotJoined::HINT.to_owned()),
            Self::ForeignTimeline(error) => Some(error.hint()),
            Self::Segment(error) => Some(error.hint().to_owned()),
            Self::Read { .. } => Some("see that the user Holdfast runs as may read pg_wal".to_owned()),
            _ => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Repository(error) | Refusal::Unreadable { error, .. } => Self::Repository(error),
            Refusal::Contradiction(found) => Self::Contradiction(found),
            Refusal::Moving(segment) => Self::Moving(segment),
        }
    }
}
