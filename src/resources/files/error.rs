//! What can go wrong with trees of files.

use std::path::{Path, PathBuf};

use super::tar::Refused;
use crate::resources::Explained;
use crate::resources::exclusions::UNRECORDED_HINT;
use crate::resources::place::DENIED_HINT;
use crate::{codec, repository};

/// The result of what is done with files.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a backup or a restore of files failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed, or an object in it is damaged.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// Something on disk.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The directory that everything is restored below.
    #[error("cannot open or create the directory {path} to restore into: {source}", path = path.display())]
    Target {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Files that may not be read; a backup without them would be one that lacks something.
    #[error("cannot read {}", list(.0, *.1))]
    Unreadable(Vec<String>, usize),
    /// The archive in the repository is not one that is unpacked.
    #[error("{object}: {detail}")]
    Archive {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A member of the archive belongs to no configured path.
    #[error("the backup has {path}, which is not below any path of {resource} any more")]
    Elsewhere {
        /// Its path.
        path: String,
        /// The resource.
        resource: String,
    },
    /// Something other than a directory is in the way, or a link that would lead elsewhere.
    #[error("{path} is in the way: it is not a directory", path = .0.display())]
    InTheWay(PathBuf),
    /// A directory with something in it, where the backup has none.
    #[error("{path} is a directory that is not empty, and none in the backup: nothing was restored", path = .0.display())]
    Filled(PathBuf),
    /// What alone was wanted.
    #[error("the backup has nothing at {path}", path = .0.display())]
    NotInBackup(PathBuf),
    /// What would be removed may be what no backup has.
    #[error(
        "backup {0} does not record what the configuration left out of it, so that --delete-extra could remove what no backup has: nothing was \
         restored"
    )]
    Unrecorded(String),
    /// Whether anything has changed cannot be told.
    #[error("whether the files have changed cannot be told: {0}")]
    Digest(codec::Error),
    /// A worker ended without a result.
    #[error("a worker ended early: {0}")]
    Interrupted(String),
}

fn list(named: &[String], count: usize) -> String {
    let more = match count - named.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}

impl Error {
    /// Turns what the system says of a path into an error.
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }

    /// The same of the directory that everything is restored below.
    pub(super) fn target(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Target { path, source }
    }

    /// The same of a numbered error.
    pub(super) fn errno(operation: &'static str, path: &Path) -> impl FnOnce(nix::errno::Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::File { operation, path, source: errno.into() }
    }

    /// An archive that is not unpacked.
    pub(super) fn archive(object: &str) -> impl FnOnce(Refused) -> Self {
        let object = object.to_owned();
        move |refused| Self::Archive { object, detail: refused.to_string() }
    }
}

impl Explained for Error {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_retryable(),
            Self::Interrupted(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Repository(error) => error.hint(),
            Self::Unreadable(..) => {
                Some("let Holdfast's user read them (or run as root), or leave them out with 'exclude'".to_owned())
            }
            Self::Archive { .. } => Some("use another backup, or the object from a copy of the repository".to_owned()),
            Self::Elsewhere { .. } => Some("restore into another directory with --to, and move what you need".to_owned()),
            Self::NotInBackup(_) => Some(
                "--only takes absolute paths as they were; the newest backup may have been taken after the file was removed: 'holdfast backups' \
                 lists those before it, and --backup chooses one"
                    .to_owned(),
            ),
            Self::Filled(_) => Some(
                "--delete-extra removes what is in it, but for what backups leave out; or move it away, or choose others with --only"
                    .to_owned(),
            ),
            Self::Unrecorded(_) => Some(UNRECORDED_HINT.to_owned()),
            Self::InTheWay(_) => Some("move it away, or restore into another directory with --to".to_owned()),
            Self::File { source, .. } | Self::Target { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some(DENIED_HINT.to_owned())
            }
            Self::File { .. } | Self::Target { .. } | Self::Digest(_) | Self::Interrupted(_) => None,
        }
    }
}
