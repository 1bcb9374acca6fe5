//! What can be wrong with a configuration.

use std::path::PathBuf;

/// The result of reading the configuration.
pub type Result<T> = std::result::Result<T, Error>;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no configuration at {path}: {detail}", path = path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// Something in it is wrong.
    #[error("{path}:{line}: {detail}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what to write instead.
        detail: String,
    },
    /// A secret could not be had.
    #[error("the secret from {from} cannot be read: {detail}")]
    Secret {
        /// Where it was to come from.
        from: String,
        /// What went wrong.
        detail: String,
    },
    /// None was named, and there are several.
    #[error("the configuration has more than one resource, and none was named: {known}")]
    WhichResource {
        /// What there is.
        known: String,
    },
    /// None was named, and there is none.
    #[error("the configuration has no resource")]
    NoResource,
    /// The resource asked for is not configured.
    #[error("{resource} is not in the configuration, which has: {known}")]
    UnknownResource {
        /// What was asked for.
        resource: String,
        /// What there is.
        known: String,
    },
}

impl Error {
    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => {
                Some("write one (docs/configuration.md has an example), or name it with --config or HOLDFAST_CONFIG")
            }
            Self::WhichResource { .. } => Some("name one of them; one at a time"),
            Self::NoResource => Some("add a section for one, such as [postgres.main] (docs/configuration.md)"),
            _ => None,
        }
    }
}
