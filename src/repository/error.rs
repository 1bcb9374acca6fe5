//! What can go wrong with a repository.

use super::record::Damaged;
use crate::codec::{self, Hash};
use crate::pg::SystemId;
use crate::storage;

/// The result of an operation on the repository.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on the repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// An object's envelope is damaged, or cannot be made.
    #[error("object {object}: {source}")]
    Codec {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        source: codec::Error,
    },
    /// A JSON object does not have the form that it should have.
    #[error("object {object} cannot be read: {detail}")]
    Malformed {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A record is not there, and must have been there once.
    #[error("object {object} is missing: {detail}")]
    Missing {
        /// The object's key.
        object: String,
        /// What shows that it was there.
        detail: String,
    },
    /// An object of a listed backup is not there, or not as it was stored.
    #[error("object {object} is damaged: {detail}")]
    Damaged {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Something is stored under the name of an object of a new backup.
    #[error("object {object} of this backup is stored already: another backup uses its id")]
    Taken {
        /// The object's key.
        object: String,
    },
    /// The object of that name holds something else.
    #[error("object {object} is stored already with other content (stored {stored}, offered {offered}); it was not overwritten")]
    Conflict {
        /// The object's key.
        object: String,
        /// The hash of what is stored.
        stored: Hash,
        /// The hash of what was to be stored.
        offered: Hash,
    },
    /// The object says of itself that it is another one.
    #[error("object {object} is not what its name says: its header names {header}")]
    Misplaced {
        /// The object's key.
        object: String,
        /// The name in its header.
        header: String,
    },
    /// There is no marker.
    #[error("{store} is not a Holdfast repository yet")]
    NotInitialized {
        /// The store's URL.
        store: String,
    },
    /// A newer version wrote the repository.
    #[error("{store} has repository format {found}; this version of Holdfast reads up to {known}")]
    NewerFormat {
        /// The store's URL.
        store: String,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// The cluster is not the one whose WAL and backups are kept under this name.
    #[error("{resource} in {store} belongs to the cluster with system identifier {known}; this server is {found}")]
    OtherCluster {
        /// The resource.
        resource: String,
        /// The store's URL.
        store: String,
        /// The system identifiers that the repository knows, separated by commas.
        known: String,
        /// The system identifier of the server.
        found: SystemId,
    },
    /// Nothing was ever stored for this resource.
    #[error("the repository {store} holds nothing of {resource}{}", if .known.is_empty() { String::new() } else { format!("; it holds {known}") })]
    UnknownResource {
        /// The resource.
        resource: String,
        /// The store's URL.
        store: String,
        /// What it does hold, separated by commas; empty where that was not looked up.
        known: String,
    },
    /// Somebody has taken a lease over, or broken it, because its holder gave no sign of life.
    #[error("the lease {lease} on {resource} was lost: it was not renewed in time, and somebody relied on that")]
    LeaseLost {
        /// The lease.
        lease: String,
        /// The resource.
        resource: String,
    },
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
            Self::Storage(error) => error.is_retryable(),
            Self::Interrupted { .. } | Self::LeaseLost { .. } => true,
            _ => false,
        }
    }

    /// Whether an object could not be opened for want of the right key: then nothing is wrong with it.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        matches!(self, Self::Codec { source, .. } if source.is_locked())
    }

    /// Whether an object is not as it was stored, and everything else may well be.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Codec { source, .. } => !source.is_locked(),
            Self::Malformed { .. } | Self::Missing { .. } | Self::Misplaced { .. } | Self::Damaged { .. } => true,
            Self::Storage(error) => matches!(error.failure, storage::Failure::Corrupt(_)),
            _ => false,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Codec { source, .. } if self.is_locked() => source.hint()?,
            Self::Storage(error) => error.hint()?,
            Self::Taken { .. } => "take the backup again",
            Self::Codec { .. } | Self::Malformed { .. } | Self::Misplaced { .. } | Self::Damaged { .. } => {
                "the object was altered or cut short after it was stored: restore it from a copy of the repository, use another backup, or, where it is WAL, a target before it"
            }
            Self::Missing { .. } => Damaged::MISSING_HINT,
            Self::Conflict { .. } => {
                "two clusters archive under one name (a clone, a restored copy, a split brain): give one of them a resource name of its own"
            }
            Self::NotInitialized { .. } => {
                "correct [repository] url if bucket, prefix or directory are mistyped; only where there never was a repository: run 'holdfast init'"
            }
            Self::NewerFormat { .. } => "use a version of Holdfast at least as new as the one that wrote it",
            Self::OtherCluster { .. } => {
                "check conninfo and repository url; if this cluster really continues under that name (pg_upgrade, a new initdb), run 'holdfast init --new-lineage'"
            }
            Self::UnknownResource { .. } => "check the name and the repository url; 'holdfast init' prepares a new resource",
            Self::LeaseLost { .. } => {
                "this process or the store stood still for longer than [repository] lease: raise it if that is usual, and try again"
            }
            Self::Interrupted { .. } => return None,
        };
        Some(text.to_owned())
    }
}
