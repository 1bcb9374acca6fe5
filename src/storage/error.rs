//! What can go wrong in a store, in the branches that callers need.

use std::fmt;

/// A failed operation on a store.
#[derive(Debug, thiserror::Error)]
#[error("{operation}{} {store}: {failure}", Of(.object))]
pub struct Error {
    /// The store's URL, without secrets.
    pub store: String,
    /// What was tried: "get", "put", "list", ...
    pub operation: &'static str,
    /// The key or prefix; empty for the store as a whole.
    pub object: String,
    /// Why it failed.
    pub failure: Failure,
}

/// ` of OBJECT in`, or nothing where it is the whole store.
struct Of<'a>(&'a str);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " of {} in", self.0) }
    }
}

/// Why an operation failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The store answered that there is no such object. Never used for a missing bucket or directory.
    NotFound,
    /// The store itself is missing: the bucket or the directory.
    NoStore(String),
    /// Credentials are missing, wrong or expired, or a permission is lacking.
    Denied(String),
    /// No space is left, or a quota is used up.
    Full(String),
    /// The store may not be written to.
    ReadOnly(String),
    /// Not reached, timed out, throttled or failed in a way that may pass.
    Unavailable(String),
    /// What was read is not what was written.
    Corrupt(String),
    /// Anything else; trying again will not help.
    Other(String),
}

impl Error {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.failure, Failure::Unavailable(_))
    }

    /// Whether the store answered that there is no such object.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self.failure, Failure::NotFound)
    }

    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self.failure {
            Failure::NoStore(_) => Some(
                "mount it, or correct [repository] url; only where there never was a repository: create the bucket, or let 'holdfast init' make the directory",
            ),
            Failure::Denied(_) => Some(
                "a bucket: check the credentials and what they may do in it; a directory: it must belong to the user that Holdfast runs as",
            ),
            Failure::Full(_) => {
                Some("free space in the store or raise its quota; WAL that is not stored stays on the server until then")
            }
            Failure::ReadOnly(_) => Some("make the store writable; WAL that is not stored stays on the server until then"),
            Failure::Unavailable(_) => Some("check that the store runs and can be reached from this host"),
            Failure::Corrupt(_) => Some(
                "the object was altered or cut short after it was stored; bring it back from a copy, or take a new base backup",
            ),
            Failure::NotFound | Failure::Other(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such object"),
            Self::NoStore(detail) => write!(f, "the store itself is missing: {detail}"),
            Self::Denied(detail) => write!(f, "access denied: {detail}"),
            Self::Full(detail) => write!(f, "the store is full: {detail}"),
            Self::ReadOnly(detail) => write!(f, "the store is read-only: {detail}"),
            Self::Unavailable(detail) => write!(f, "the store does not answer: {detail}"),
            Self::Corrupt(detail) => write!(f, "the content is damaged: {detail}"),
            Self::Other(detail) => f.write_str(detail),
        }
    }
}
