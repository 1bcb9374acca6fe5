//! What can go wrong with a dump.

use std::path::{Path, PathBuf};

use super::source::quoted;
use crate::pgwire::{self, ConnInfoError};
use crate::resources::Explained;
use crate::resources::place::{DENIED_HINT, NoPlainFile};
use crate::sys::{local_postgres, program};
use crate::{config, pg, repository};

/// The result of what is done with a dump.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a database was not dumped or brought back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed, or an object in it is damaged.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The configuration is wrong, or a secret cannot be had.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The connection string cannot be understood.
    #[error(transparent)]
    ConnInfo(#[from] ConnInfoError),
    /// The server cannot be reached or refuses.
    #[error(transparent)]
    Server(#[from] pgwire::Error),
    /// PostgreSQL's programs are not there, or too old.
    #[error(transparent)]
    Programs(#[from] local_postgres::Error),
    /// One of them failed.
    #[error(transparent)]
    Program(#[from] program::Error),
    /// The connection string names no database.
    #[error("the conninfo of {0} names no database")]
    NoDatabase(String),
    /// What was made is no whole dump.
    #[error("{}", not_whole(&.0.to_string()))]
    NotWhole(program::Error),
    /// Nobody said where to.
    #[error("no place for the dump was given")]
    NoPlace,
    /// What is at the place is no file.
    #[error(transparent)]
    NoPlainFile(#[from] NoPlainFile),
    /// A place that holds a password, which everybody can see in the list of processes.
    #[error("the connection string in --to holds a password")]
    PasswordShown,
    /// The catalog entry is that of another kind, or the backup's content does not fit it.
    #[error("{object}: {detail}")]
    Content {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The server is older than the one that was dumped.
    #[error("the dump is of PostgreSQL {dumped}, and {server} is of PostgreSQL {found}: an older server does not take it")]
    OlderServer {
        /// The server's address.
        server: String,
        /// Its major version.
        found: u32,
        /// The major version that was dumped.
        dumped: u32,
    },
    /// The role lacks CREATEDB.
    #[error("the role {role} may not make databases at {server}, and a restore fills a new one: nothing was changed")]
    MayNotCreate {
        /// The role.
        role: String,
        /// The server's address.
        server: String,
    },
    /// The database to fill was not made.
    #[error(transparent)]
    NotMade(pgwire::Error),
    /// A template in the place of the restored database.
    #[error("database {0} is a template, which PostgreSQL does not drop: it cannot be replaced, and nothing was changed")]
    Template(String),
    /// Transactions that wait for somebody to end them, in the place of the restored database.
    #[error(
        "database {database} cannot be replaced, and stays as it is: it has prepared transactions, and PostgreSQL renames and drops no \
         database that has: {}", .gids.join(", ")
    )]
    Prepared {
        /// The database.
        database: String,
        /// What the transactions are called.
        gids: Vec<String>,
    },
    /// A database that was restored and compared, and could not be given its name.
    #[error(
        "the restored database is complete, and is kept as {made}, because it could not be put in the place of {name}: {why}"
    )]
    NotInPlace {
        /// What it is called.
        made: String,
        /// What it was to be called.
        name: String,
        /// What went wrong.
        why: Box<Self>,
    },
    /// What was restored is not what was dumped.
    #[error("the restored tables do not have the rows that were dumped: {}", .0.join("; "))]
    Differs(Vec<String>),
    /// Something on disk.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The tar file of a directory cannot be made or read.
    #[error(transparent)]
    Tar(#[from] pg::tar::TarError),
    /// A restore of the directory format needs a directory that is not configured any more.
    #[error("the dump is in the directory format, and no 'spool' is configured to unpack it in")]
    NoSpool,
    /// A worker ended without a result.
    #[error("a worker ended early: {0}")]
    Interrupted(String),
}

fn not_whole(why: &str) -> String {
    format!("what pg_dump wrote is no whole dump: {why}")
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
            Self::NotMade(error) => error.is_retryable(),
            Self::Server(_) | Self::NotWhole(_) | Self::Interrupted(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Repository(error) => return error.hint(),
            Self::Config(error) => return error.hint().map(str::to_owned),
            Self::ConnInfo(error) => return error.hint().map(str::to_owned),
            Self::NotMade(error) if matches!(error.failure(), pgwire::Failure::PermissionDenied) => {
                "run ALTER ROLE ... CREATEDB; where the database is to belong to another role, grant that one too: GRANT OWNER TO ..."
            }
            Self::Server(error) | Self::NotMade(error) => return error.hint().map(str::to_owned),
            Self::Programs(error) => return error.hint().map(str::to_owned),
            Self::Program(program::Error::TooLong { .. }) => "raise 'timeout', or find out what it waits for",
            Self::Program(_) => {
                "what it said tells why; the role needs to read (or, to restore, to create) everything in the database"
            }
            Self::NoDatabase(_) => "add dbname=... to it",
            Self::NotWhole(_) => "run pg_dump by hand as Holdfast's user; nothing was listed",
            Self::NoPlainFile(_) => NoPlainFile::HINT,
            Self::NoPlace => {
                "add --to NAME for a database of the configured server, --to postgresql://... for another one, --to ./FILE, or --to -"
            }
            Self::PasswordShown => "leave it out and set PGPASSWORD, or write it into ~/.pgpass",
            Self::Template(name) => {
                return Some(format!(
                    "restore under another name, or run 'ALTER DATABASE {} IS_TEMPLATE false' there first",
                    quoted(name)
                ));
            }
            Self::MayNotCreate { role, .. } => {
                return Some(format!(
                    "run, as a superuser: ALTER ROLE {} CREATEDB; or restore into a file with --to ./FILE",
                    quoted(role)
                ));
            }
            Self::Prepared { .. } => {
                "end each of them in that database with COMMIT PREPARED or ROLLBACK PREPARED (pg_prepared_xacts says whose they are), or \
                 restore under another name"
            }
            Self::NotInPlace { made, name, .. } => {
                let (made, name) = (super::source::quoted(made), super::source::quoted(name));
                return Some(format!(
                    "remove the obstacle and the database (DROP DATABASE {made}) and restore again; or put it in its place by hand: \
                     rename {name}, if it is there, then ALTER DATABASE {made} RENAME TO {name}"
                ));
            }
            Self::OlderServer { .. } => "restore to a server of the same or a newer version",
            Self::Differs(_) => {
                "the database was not put in place; run 'holdfast verify' for this backup, and restore another one"
            }
            Self::NoSpool => "name a directory on a file system that may hold the data in the clear: spool = \"/...\"",
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => DENIED_HINT,
            Self::Content { .. } | Self::File { .. } | Self::Tar(_) | Self::Interrupted(_) => return None,
        };
        Some(text.to_owned())
    }

    fn for_the_record(&self) -> String {
        match self {
            Self::Program(error) => error.without_its_words(),
            Self::NotWhole(error) => not_whole(&error.without_its_words()),
            _ => self.to_string(),
        }
    }
}
