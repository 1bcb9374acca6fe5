//! What can go wrong with a program and its output.

use std::path::{Path, PathBuf};

use crate::resources::Explained;
use crate::resources::place::{DENIED_HINT, NoPlainFile};
use crate::sys::program;
use crate::{codec, config, repository};

/// The result of what is done with a program's output.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a program's output was not stored or brought back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed, or an object in it is damaged.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A secret for its environment cannot be had.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The program failed.
    #[error(transparent)]
    Program(#[from] program::Error),
    /// The repository is not encrypted.
    #[error("the output of {program} is not stored: it would lie in the repository in the clear")]
    NotEncrypted {
        /// Its name.
        program: String,
    },
    /// The digest cannot be computed.
    #[error("whether the output has changed cannot be told: {0}")]
    Digest(codec::Error),
    /// Nobody said where to.
    #[error("no place for the output was given")]
    NoPlace,
    /// What is at the place is no file.
    #[error(transparent)]
    NoPlainFile(#[from] NoPlainFile),
    /// The file to restore to cannot be written.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A worker ended without a result.
    #[error("a worker ended early: {0}")]
    Interrupted(String),
}

impl Error {
    /// Turns what the system says of a path into an error.
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}

impl Explained for Error {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_retryable(),
            Self::Program(error) => !matches!(error, program::Error::Start { .. }),
            Self::Interrupted(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Repository(error) => return error.hint(),
            Self::Config(error) => return error.hint().map(str::to_owned),
            Self::Program(program::Error::Start { .. }) => "check 'run', 'cwd' and the PATH of Holdfast's user",
            Self::Program(program::Error::Failed { .. }) => "run it by hand as Holdfast's user",
            Self::Program(program::Error::TooLong { .. }) => "raise 'timeout', or find out what it waits for",
            Self::NotEncrypted { .. } => "set [encryption] recipients; 'holdfast key new' makes a key",
            Self::NoPlainFile(_) => NoPlainFile::HINT,
            Self::NoPlace => "add --to FILE, or --to - for standard output",
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => DENIED_HINT,
            Self::Digest(_) | Self::File { .. } | Self::Interrupted(_) => return None,
        };
        Some(text.to_owned())
    }

    fn for_the_record(&self) -> String {
        match self {
            Self::Program(error) => error.without_its_words(),
            _ => self.to_string(),
        }
    }
}
