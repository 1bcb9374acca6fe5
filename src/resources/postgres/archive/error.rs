//! What can go wrong while WAL comes in.

use super::{Contradiction, ForeignTimeline, NotJoined};
use crate::pg::history::HistoryError;
use crate::pg::page::SegmentError;
use crate::pg::{Lsn, SegmentSize, TimelineId};
use crate::resources::postgres::followed::Superseded;
use crate::resources::postgres::source;
use crate::{pgwire, repository};

/// The result of an operation on the way in.
pub type Result<T> = std::result::Result<T, Error>;

/// WAL that cannot be received or stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server, or the way to it.
    #[error(transparent)]
    Server(#[from] pgwire::Error),
    /// The repository, or the store below it.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The configuration of the connection.
    #[error(transparent)]
    Source(source::Error),
    /// Other WAL is stored for the same place.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// What the server sends does not go on where the stored WAL ends.
    #[error(transparent)]
    NotJoined(#[from] NotJoined),
    /// Another server was promoted beside this one, and its WAL is stored.
    #[error(transparent)]
    ForeignTimeline(#[from] ForeignTimeline),
    /// Another server was promoted, and its WAL is stored.
    #[error(transparent)]
    Superseded(#[from] Superseded),
    /// The name of the slot.
    #[error(transparent)]
    SlotName(#[from] pgwire::SlotNameError),
    /// What came is not the segment that it should be.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The server's history file makes no sense.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// `wal_segment_size` is not what it was.
    #[error("the server's wal_segment_size is {found:?}, but what is stored of this cluster has {known:?}")]
    OtherSegmentSize {
        /// What the repository knows.
        known: SegmentSize,
        /// What the server says.
        found: SegmentSize,
    },
    /// More is stored than the server has.
    #[error("WAL of timeline {timeline} is stored up to {stored}, but the server's ends at {server}")]
    ServerBehind {
        /// The timeline.
        timeline: TimelineId,
        /// The end of what is stored.
        stored: Lsn,
        /// The end of what the server has.
        server: Lsn,
    },
    /// The server asked for the flush of its last WAL, which cannot be stored now.
    #[error(
        "the server waits for WAL to be stored that cannot be stored now; the connection was closed, so that it is not held up"
    )]
    HoldingUp,
    /// Nothing could be stored for a while, and there is no room for more.
    #[error(
        "the store does not take what was received; the connection was closed until it does, so that the server is not held up"
    )]
    StoreBehind,
    /// A task ended without a result.
    #[error("a task ended early: {0}")]
    Interrupted(String),
}

impl From<source::Error> for Error {
    fn from(error: source::Error) -> Self {
        match error {
            source::Error::Server(error) => Self::Server(error),
            source::Error::Repository(error) => Self::Repository(error),
            source::Error::Superseded(error) => Self::Superseded(error),
            other => Self::Source(other),
        }
    }
}

impl Error {
    /// Whether trying again may help without anybody changing anything. The receiver tries again in any case.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.is_retryable(),
            Self::Repository(error) => error.is_retryable(),
            Self::HoldingUp | Self::StoreBehind | Self::Interrupted(_) | Self::ServerBehind { .. } => true,
            Self::Superseded(_) | Self::ForeignTimeline(_) => true,
            _ => false,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Server(error) => return error.hint().map(str::to_owned),
            Self::Repository(error) => return error.hint(),
            Self::Source(error) => return error.hint(),
            Self::Contradiction(_) => Contradiction::HINT,
            Self::NotJoined(_) => NotJoined::HINT,
            Self::Superseded(error) => return Some(error.hint()),
            Self::ForeignTimeline(error) => return Some(error.hint()),
            Self::Segment(error) => error.hint(),
            Self::SlotName(_) => "correct 'slot' in the configuration",
            Self::OtherSegmentSize { .. } => {
                "after pg_resetwal --wal-segsize this is another lineage: give it a resource name of its own"
            }
            Self::ServerBehind { .. } => {
                "a standby catches up by itself; if the server was set back to an older state without a promotion, it continues \
                 another history under the same timeline: promote it, or give it a resource name of its own"
            }
            Self::History(_) | Self::HoldingUp | Self::StoreBehind | Self::Interrupted(_) => return None,
        };
        Some(text.to_owned())
    }
}
