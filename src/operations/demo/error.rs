//! What can go wrong in the story.

use std::fmt::Display;

use super::Scratch;
use crate::pgwire;
use crate::sys::local_postgres;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The local server.
    #[error(transparent)]
    Server(#[from] local_postgres::Error),
    /// The connection to it.
    #[error(transparent)]
    Sql(#[from] pgwire::Error),
    /// A file or a process.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Told(String),
}

impl Error {
    pub(super) fn told(words: impl Display) -> Self {
        Self::Told(words.to_string())
    }

    pub(super) fn system(doing: impl Display) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.to_string();
        move |source| Self::System { doing, source }
    }

    /// The same, with the logs that explain it: they are gone with the scratch directory.
    pub(super) fn seen_in(self, scratch: &Scratch) -> Self {
        Self::Told(format!("{self}\n{}", scratch.logs()))
    }

    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Server(error) => error.hint(),
            _ => None,
        }
    }
}
