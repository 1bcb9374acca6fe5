//! What can go wrong with a program and its output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::resources::Explained;
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
    /// The program cannot be started or watched.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It failed.
    #[error("{program} ended with {status}{}", said(stderr))]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it wrote to standard error, secrets masked.
        stderr: String,
    },
    /// It took too long, and was killed with all that it had started.
    #[error("{program} did not end within {} s and was killed{}", limit.as_secs(), said(stderr))]
    TooLong {
        /// Its name.
        program: String,
        /// How long it had.
        limit: Duration,
        /// The end of what it wrote to standard error, secrets masked.
        stderr: String,
    },
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

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said:\n{stderr}") }
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
            Self::Failed { .. } | Self::TooLong { .. } | Self::Interrupted(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Repository(error) => return error.hint(),
            Self::Config(error) => return error.hint().map(str::to_owned),
            Self::Start { .. } => "check 'run', 'cwd' and the PATH of Holdfast's user",
            Self::Failed { .. } => "run it by hand as Holdfast's user",
            Self::TooLong { .. } => "raise 'timeout', or find out what it waits for",
            Self::NotEncrypted { .. } => "set [encryption] recipients; 'holdfast key new' makes a key",
            Self::NoPlace => "add --to FILE, or --to - for standard output",
            Self::Digest(_) | Self::File { .. } | Self::Interrupted(_) => return None,
        };
        Some(text.to_owned())
    }
}
