//! What goes wrong with a resource, whatever its kind.

use crate::repository::{self, BackupId, Leftover};

/// The result of what is done with a resource.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a kind of resource, as the layers above see it. The kind's own type is behind it.
#[derive(Debug)]
pub struct Error(Box<dyn Explained>);

/// An error that says what to do next.
pub trait Explained: std::error::Error + Send + Sync + 'static {
    /// Whether the same may succeed without anybody changing anything.
    fn is_retryable(&self) -> bool;

    /// What to do next.
    fn hint(&self) -> Option<String>;

    /// What may lie in the repository in the clear: itself, but no word of a program that was run, which can hold secrets.
    fn for_the_record(&self) -> String {
        self.to_string()
    }
}

impl<E: Explained> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Error {
    /// Whether the same may succeed without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.is_retryable()
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }

    /// What may lie in the repository in the clear, and be shown by whatever reads it there.
    #[must_use]
    pub fn for_the_record(&self) -> String {
        self.0.for_the_record()
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Explained for repository::Error {
    fn is_retryable(&self) -> bool {
        Self::is_retryable(self)
    }

    fn hint(&self) -> Option<String> {
        Self::hint(self)
    }
}

/// Failures that no kind has for itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Common {
    /// A backup that failed after it had begun.
    #[error("{}", not_listed(&error.to_string(), leftover.as_ref()))]
    NotListed {
        /// Why.
        error: Error,
        /// What was not removed of it.
        leftover: Option<Leftover>,
    },
    /// Retention was faster.
    #[error("backup {id} expired meanwhile: it was removed by retention")]
    Removed {
        /// Which one.
        id: BackupId,
    },
    /// It was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

fn not_listed(error: &str, leftover: Option<&Leftover>) -> String {
    let remains = |Leftover { id, reason }: &Leftover| format!(" (its content, data/{id}, was not removed: {reason})");
    format!("the backup failed and is not listed: {error}{}", leftover.map(remains).unwrap_or_default())
}

impl Explained for Common {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::NotListed { error, .. } if error.is_retryable())
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotListed { error, .. } => error.hint(),
            Self::Removed { .. } => Some("choose another backup; 'holdfast hold' keeps one".to_owned()),
            Self::Cancelled => None,
        }
    }

    fn for_the_record(&self) -> String {
        match self {
            Self::NotListed { error, leftover } => not_listed(&error.for_the_record(), leftover.as_ref()),
            _ => self.to_string(),
        }
    }
}
