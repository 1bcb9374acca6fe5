//! What can go wrong with the objects of a bucket.

use std::path::{Path, PathBuf};

use crate::resources::Explained;
use crate::resources::exclusions::UNRECORDED_HINT;
use crate::resources::place::DENIED_HINT;
use crate::storage::Failure;
use crate::{config, repository, storage};

/// The result of what is done with a bucket.
pub type Result<T> = std::result::Result<T, Error>;

/// Why objects were not stored or brought back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed, or an object in it is damaged.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A secret for the source cannot be had.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The bucket failed or refused.
    #[error("{source}{}", permission(source))]
    Bucket {
        /// What the service says.
        #[from]
        source: storage::Error,
    },
    /// The listing of a backup is not what it should be.
    #[error("{object}: {detail}")]
    Listing {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Content is not what the listing says.
    #[error("the content of {key} in {object} is damaged: its hash is not the one in the listing")]
    Altered {
        /// The key in the bucket.
        key: String,
        /// The object in the repository.
        object: String,
    },
    /// Content that a new backup refers to has vanished.
    #[error("{object}, which this backup needs of an earlier one, is not in the repository any more")]
    Vanished {
        /// The object.
        object: String,
    },
    /// Something that is no bucket and no directory was named to restore to.
    #[error("cannot restore to '{to}': {detail}")]
    Target {
        /// What was named.
        to: String,
        /// Why not.
        detail: String,
    },
    /// The backup has nothing that was asked for.
    #[error("backup {backup} has no object {wanted}")]
    Nothing {
        /// The backup.
        backup: String,
        /// What was asked for.
        wanted: String,
    },
    /// What would be removed may be what no backup has.
    #[error(
        "backup {backup} does not record what the configuration left out of it, so that --delete-extra could remove what no backup has: nothing \
         was restored"
    )]
    Unrecorded {
        /// The backup.
        backup: String,
    },
    /// Keys that cannot be names of files.
    #[error("{count} key(s) are too long for the name of a file: {}", examples.join(", "))]
    TooLong {
        /// How many.
        count: u64,
        /// Some of them.
        examples: Vec<String>,
    },
    /// Something other than a directory or a file is in the way.
    #[error("{path} is in the way: it is not a {wanted}", path = path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
    },
    /// A file cannot be read or written.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It was asked to stop while the bucket did not do what it was asked for.
    #[error("cancelled while waiting for the bucket: {0}")]
    StoppedWaiting(String),
    /// A worker ended without a result.
    #[error("a worker ended early: {0}")]
    Interrupted(String),
}

/// What to look at where a bucket does not answer.
const UNREACHABLE_HINT: &str = "check that the bucket's endpoint runs and can be reached from this host";

/// The permission that a refused operation needs, as services name it.
fn permission(error: &storage::Error) -> String {
    if !matches!(error.failure, Failure::Denied(_)) {
        return String::new();
    }
    let needed = match error.operation {
        "list" => "s3:ListBucket",
        "get" | "look at" => "s3:GetObject",
        "get the tags" => "s3:GetObjectTagging",
        "put" | "upload" => "s3:PutObject (and s3:PutObjectTagging for tags)",
        "delete" => "s3:DeleteObject",
        _ => return String::new(),
    };
    format!(" (this needs the permission {needed})")
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
            Self::Bucket { source } => source.is_retryable(),
            Self::Vanished { .. } | Self::Interrupted(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Repository(error) => return error.hint(),
            Self::Config(error) => return error.hint().map(str::to_owned),
            Self::Bucket { source } => match source.failure {
                Failure::Denied(_) => "give the credentials of the bucket that permission, for the bucket and for its objects",
                Failure::NoStore(_) => "correct the bucket's url and endpoint, or create the bucket",
                Failure::Unavailable(_) => UNREACHABLE_HINT,
                _ => return None,
            },
            Self::StoppedWaiting(_) => UNREACHABLE_HINT,
            Self::Listing { .. } | Self::Altered { .. } => "use another backup, or the object from a copy of the repository",
            Self::Vanished { .. } => "take the backup again: what is missing is then read from the bucket",
            Self::Target { .. } => {
                "name a directory, or a bucket as in s3://bucket/prefix, or leave --to out to restore in place"
            }
            Self::Nothing { .. } => {
                "--key takes a whole key, --prefix the beginning of keys, both without the prefix of the source's url"
            }
            Self::Unrecorded { .. } => UNRECORDED_HINT,
            Self::TooLong { .. } => "restore to a bucket, or choose others with --prefix or --key",
            Self::InTheWay { .. } => "move it away, or restore into another directory",
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => DENIED_HINT,
            Self::File { .. } | Self::Interrupted(_) => return None,
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(operation: &'static str) -> String {
        let failure = Failure::Denied("AccessDenied".to_owned());
        Error::from(storage::Error { store: "s3://b".to_owned(), operation, object: "k".to_owned(), failure }).to_string()
    }

    #[test]
    fn a_closed_place_is_named_with_what_to_do() {
        let error = Error::file("list", Path::new("/closed/x"))(std::io::ErrorKind::PermissionDenied.into());
        assert!(error.to_string().starts_with("cannot list /closed/x: "), "{error}");
        assert_eq!(error.hint().as_deref(), Some(DENIED_HINT));
    }

    #[test]
    fn a_refusal_names_the_permission() {
        for (operation, needed) in [
            ("list", "s3:ListBucket"),
            ("get", "s3:GetObject"),
            ("look at", "s3:GetObject"),
            ("get the tags", "s3:GetObjectTagging"),
            ("put", "s3:PutObject"),
        ] {
            assert!(denied(operation).contains(&format!("needs the permission {needed}")), "{}", denied(operation));
        }
    }
}
