//! What can go wrong with a Redis server and its data.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::rdb;
use crate::resources::Explained;
use crate::resources::place::{DENIED_HINT, NoPlainFile};
use crate::{config, repository};

/// The result of what is done with a Redis server.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server's data was not stored or brought back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed, or an object in it is damaged.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A secret cannot be had.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// There is no connection, or it has ended.
    #[error("{server}: cannot {doing}: {source}")]
    Io {
        /// The server.
        server: String,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something took too long.
    #[error("{server}: nothing came for {} s while {doing}", limit.as_secs())]
    Silent {
        /// The server.
        server: String,
        /// What was waited for.
        doing: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// The connection cannot be encrypted.
    #[error("{server}: no encrypted connection: {detail}")]
    Tls {
        /// The server.
        server: String,
        /// Why.
        detail: String,
    },
    /// The server refused something.
    #[error("{server} refuses {command}: {reply}")]
    Refused {
        /// The server.
        server: String,
        /// The command, without its arguments.
        command: String,
        /// Its answer.
        reply: String,
    },
    /// What answers does not speak the protocol, or not as expected.
    #[error("{server}: {detail}")]
    Unexpected {
        /// The server.
        server: String,
        /// What came.
        detail: String,
    },
    /// The transfer ended before the file did.
    #[error("{server}: the transfer was cut off after {bytes} bytes: {detail}")]
    Cut {
        /// The server.
        server: String,
        /// How much had come.
        bytes: u64,
        /// Why.
        detail: String,
    },
    /// What came is no sound RDB file.
    #[error("what {server} sent is no sound RDB file: {source}")]
    Rdb {
        /// The server.
        server: String,
        /// Why.
        source: rdb::Error,
    },
    /// What is stored is no sound RDB file, although it is what was stored.
    #[error("{object} cannot be restored: {source}")]
    Stored {
        /// The object's key.
        object: String,
        /// Why.
        source: rdb::Error,
    },
    /// A server refused what was to be restored into it.
    #[error("{server} refuses the {command}: {reply}; {done} commands before had been carried out")]
    Restore {
        /// The server.
        server: String,
        /// The command, without its value.
        command: String,
        /// Its answer.
        reply: String,
        /// How many were carried out before.
        done: u64,
    },
    /// Nobody said where to.
    #[error("no place for the data was given")]
    NoPlace,
    /// What is at the place is no file.
    #[error(transparent)]
    NoPlainFile(#[from] NoPlainFile),
    /// A restore that is refused.
    #[error("{0}")]
    NotRestored(String, &'static str),
    /// A file cannot be written.
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

    /// A refusal with the one that came before it: what was refused first is what should be granted.
    pub(super) fn after(self, first: &Self) -> Self {
        match self {
            Self::Refused { server, command, reply } => {
                Self::Refused { server, command, reply: format!("{reply} (which was tried because {first})") }
            }
            other => other,
        }
    }

    /// Whether the server refuses a command for good: it does not know it, or this user may not.
    pub(super) fn is_refusal_of_command(&self) -> bool {
        let code = |reply: &str| reply.starts_with("NOPERM") || reply.starts_with("ERR unknown command");
        matches!(self, Self::Refused { reply, .. } if code(reply))
    }
}

/// What an answer that begins like this means for whoever reads it, and whether it may be another one later.
const ANSWERS: [(&str, &str, bool); 8] = [
    ("NOPERM", "grant it: ACL SETUSER holdfast on >PASSWORD -@all +psync +replconf +info (docs/operations.md, \"Redis\")", false),
    ("NOAUTH", "give the password: in the url, or as 'password' of the section", false),
    ("WRONGPASS", "correct the user or the password of the section", false),
    ("LOADING", "the server is still loading its data: wait until it has", true),
    ("NOMASTERLINK", "this replica has no connection to its master: back up the master, or mend the replication", true),
    ("MASTERDOWN", "this replica has no connection to its master: back up the master, or mend the replication", true),
    ("READONLY", "this is a replica: name its master", false),
    ("BUSY", "a script runs on the server: wait until it has ended", true),
];

fn answer(reply: &str) -> Option<(&'static str, bool)> {
    ANSWERS.iter().find(|(code, ..)| reply.starts_with(code)).map(|(_, hint, later)| (*hint, *later))
}

/// What to do about an answer to `RESTORE`.
fn restoring(reply: &str) -> &'static str {
    let known = [
        ("BUSYKEY", "stop who else writes to it"),
        ("OOM", "give the server more memory (maxmemory)"),
        ("NOPERM", "grant it: ACL SETUSER USER ~* +info +select +restore +function|restore"),
        ("ERR DUMP payload version", "use a server that is not older than the one of the backup, or restore the file with --to"),
        ("ERR Bad data format", "use a server of the kind and version of the backup's, or restore the file with --to"),
        ("ERR DB index is out of range", "raise 'databases' of the server"),
        ("ERR unknown", "use a server that is not older than the one of the backup, or restore the file with --to"),
    ];
    known.iter().find(|(words, _)| reply.starts_with(words)).map_or("see the answer, and the server's log", |(_, what)| what)
}

impl Explained for Error {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_retryable(),
            Self::Refused { reply, .. } => answer(reply).is_some_and(|(_, later)| later),
            Self::Io { .. } | Self::Silent { .. } | Self::Cut { .. } | Self::Rdb { .. } | Self::Interrupted(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Repository(error) => return error.hint(),
            Self::Config(error) => return error.hint().map(str::to_owned),
            Self::Io { .. } => "is the server up, and is the url right? A server with TLS needs rediss://, one without redis://",
            Self::Silent { .. } => {
                "is the server up, and does the network let it answer? One without TLS does not answer to rediss://"
            }
            Self::Tls { .. } => "see tls_root_certificate, tls_certificate and tls_key in docs/configuration.md",
            Self::Refused { reply, .. } => answer(reply)?.0,
            Self::Cut { .. } => "see the server's log; nothing was listed, and the next backup begins anew",
            Self::Rdb { .. } => {
                "take the backup again; if that fails as well, look for damage with redis-check-rdb on the server"
            }
            Self::Stored { source: rdb::Error::UnknownType { .. }, .. } => "restore the file with --to",
            Self::Stored { .. } => "restore another backup; 'holdfast verify' says which are sound",
            Self::Restore { reply, .. } => {
                return Some(format!("{}; then empty the server (FLUSHALL) and begin anew", restoring(reply)));
            }
            Self::NoPlainFile(_) => NoPlainFile::HINT,
            Self::NoPlace => "add --to FILE (such as /var/lib/redis/dump.rdb), or --into URL for a server that runs and is empty",
            Self::NotRestored(_, hint) => hint,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => DENIED_HINT,
            Self::Unexpected { .. } | Self::File { .. } | Self::Interrupted(_) => return None,
        };
        Some(text.to_owned())
    }
}
