//! Why retention was not applied.

use crate::repository;

/// The result of a step.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. What was removed until then stays removed, and nothing that is needed was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// Another process does the same.
    #[error("retention is being applied to {resource} already, by {holder}")]
    Busy {
        /// The resource.
        resource: String,
        /// Who does it.
        holder: String,
    },
}

impl Error {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_retryable(),
            Self::Busy { .. } => true,
        }
    }

    /// Whether it concerns this resource alone, so that others can be gone on with: something of it is damaged, or another process is at it.
    #[must_use]
    pub const fn is_of_the_resource(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_damage() || error.is_locked(),
            Self::Busy { .. } => true,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repository(error) => error.hint(),
            Self::Busy { .. } => Some("wait until it is done; if that process is gone, its lease ends within minutes".to_owned()),
        }
    }
}
