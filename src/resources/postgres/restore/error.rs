//! What can go wrong in a restore, once it is planned.

use std::path::{Path, PathBuf};

use super::plan::Refusal;
use super::site::Obstacle;
use crate::pg::{Lsn, SegmentName};
use crate::repository::{self, BackupId};

/// The result of a step of a restore.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed restore.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target cannot be reached.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// Something stands in the way on this host. Nothing was written.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// The repository failed, or an object in it is damaged.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// Retention was faster.
    #[error("backup {id} was removed by retention since the plan was made; nothing was written")]
    Gone {
        /// The backup.
        id: BackupId,
    },
    /// An object of the backup is not what the catalog or its index says.
    #[error("object {object} is damaged: {detail}")]
    Damaged {
        /// The object's key.
        object: String,
        /// What is wrong.
        detail: String,
    },
    /// A file or directory of the restored cluster.
    #[error("{operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Recovery would take this place for the end of the WAL.
    #[error(
        "the stored WAL is broken at {at}: the first record of {segment} follows one at {named}, but the last record stored before it is at \
         {stored}; recovery would end there"
    )]
    Broken {
        /// The segment behind the break.
        segment: SegmentName,
        /// Where its first record begins.
        at: Lsn,
        /// The record that this one names as the one before it.
        named: Lsn,
        /// The last record of the segment before.
        stored: Lsn,
    },
    /// Nobody said where to.
    #[error("no directory to restore into was given")]
    NoDirectory,
    /// The path of this program, which becomes the `restore_command`, is not known.
    #[error("the path of this program is not known: {0}")]
    NoProgram(std::io::Error),
    /// The server did not start, or ended before it reached the target.
    #[error("the server ended before it reached the target; the end of its log:\n{log}")]
    ServerEnded {
        /// The last lines of its log.
        log: String,
    },
    /// The server cannot be run or asked.
    #[error("{0}")]
    Server(String),
    /// A worker thread ended without a result.
    #[error("a worker ended early: {0}")]
    Interrupted(String),
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Error {
    /// Whether an object in the repository is not as it was stored.
    pub(super) const fn is_damage(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_damage(),
            Self::Damaged { .. } => true,
            _ => false,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Obstacle(obstacle) => obstacle.hint(),
            Self::Repository(error) => error.hint(),
            Self::Damaged { .. } => {
                Some("restore the object from a copy of the repository, or use another backup with --backup; empty the directory first".into())
            }
            Self::File { source, path, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some(format!("run it as the user that owns {}, or choose another directory with --to", parent_of(path).display()))
            }
            Self::File { .. } => Some("empty the directory before the next try".into()),
            Self::ServerEnded { .. } => Some("correct what the log says, and start the server again: recovery goes on".into()),
            Self::Broken { .. } => Some("choose a target before that place (--target-lsn), or one that a backup taken after it reaches".into()),
            Self::NoDirectory => Some("add --to DIRECTORY".into()),
            Self::Gone { .. } => Some("plan the restore anew".into()),
            Self::Server(_) | Self::Interrupted(_) | Self::NoProgram(_) => None,
        }
    }

    /// Turns what the system says of a path into an error.
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}
