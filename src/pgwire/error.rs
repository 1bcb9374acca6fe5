//! What can go wrong between here and a server, in the branches that callers need.

use std::fmt;
use std::time::Duration;

use super::{ConnInfoError, ServerMessage};
use crate::pg::UnsupportedVersion;

/// The result of a conversation with a server.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed conversation with a server: what was being done, with which server, why it failed, and what the server said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(Box<Report>);

#[derive(Debug)]
struct Report {
    doing: String,
    server: String,
    failure: Failure,
    answer: Option<ServerMessage>,
}

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The connection string or a file that it names is wrong.
    #[error(transparent)]
    ConnInfo(#[from] ConnInfoError),
    /// No connection came about.
    #[error("the server cannot be reached: {0}")]
    NotReached(std::io::Error),
    /// None of several servers would do; each with its reason.
    #[error("no server can be used: {}", list(.0))]
    NoServer(Vec<Error>),
    /// The server is not of the kind that `target_session_attrs` asks for.
    #[error("the server is {found}, but target_session_attrs={wanted}")]
    OtherRole {
        /// What the server is: "a standby", "read-only", ...
        found: &'static str,
        /// The value of `target_session_attrs`.
        wanted: &'static str,
    },
    /// TLS could not be set up as `sslmode` and the other `ssl...` options ask for.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server asks for a kind of authentication that is not had or not allowed.
    #[error("authentication: {0}")]
    Authentication(String),
    /// The password is wrong (28P01).
    #[error("the password was refused")]
    WrongPassword,
    /// No line of pg_hba.conf lets this role in from here, or the role does not exist or may not log in (28000).
    #[error("the server refuses this role from this address")]
    LoginRefused,
    /// The role lacks REPLICATION (42501).
    #[error("the role may not start replication")]
    NoReplicationPrivilege,
    /// The role may not do this (42501).
    #[error("the role lacks a privilege")]
    PermissionDenied,
    /// There is no such database (3D000).
    #[error("there is no such database")]
    NoSuchDatabase,
    /// All walsenders are in use, or there are none (53300).
    #[error("the server has no free walsender")]
    TooManyWalSenders,
    /// All connections are in use (53300).
    #[error("the server has no free connection")]
    TooManyConnections,
    /// `wal_level` is minimal (55000).
    #[error("the server's wal_level does not allow replication slots")]
    WalLevelMinimal,
    /// All replication slots are in use (53400).
    #[error("the server has no free replication slot")]
    NoFreeSlot,
    /// There is no such slot (42704).
    #[error("the replication slot does not exist")]
    SlotMissing,
    /// There is a slot of this name already (42710).
    #[error("a replication slot of this name exists already")]
    SlotExists,
    /// The slot is a logical one (0A000).
    #[error("the replication slot of this name is a logical one")]
    SlotIsLogical,
    /// Another connection uses the slot (55006).
    #[error("the replication slot is in use by another connection")]
    SlotInUse,
    /// The slot was invalidated, or is no physical one (55000).
    #[error("the replication slot can no longer be used")]
    SlotLost,
    /// The WAL that was asked for has been removed (58P01): a gap.
    #[error("the server no longer has this WAL")]
    WalRemoved,
    /// The position asked for lies behind the end of the server's WAL.
    #[error("the position lies ahead of the end of the server's WAL")]
    AheadOfServer,
    /// The position asked for is not on this timeline of the server, or it knows no such timeline.
    #[error("the position is not in this server's history")]
    NotInHistory,
    /// The server has no history file of this timeline (58P01).
    #[error("the server has no history file of this timeline")]
    NoHistoryFile,
    /// The server is starting, recovering or stopping and lets nobody in (57P03).
    #[error("the server is not accepting connections now")]
    ServerStarting,
    /// The server ends the connection: it is shut down, or it crashed, or an administrator ended the session (57P01, 57P02).
    #[error("the server ended the connection")]
    ServerShuttingDown,
    /// The server's version is outside what is supported.
    #[error(transparent)]
    UnsupportedVersion(#[from] UnsupportedVersion),
    /// The server, or the network, closed the connection.
    #[error("the connection was lost: {0}")]
    ConnectionLost(String),
    /// The server did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// What the server sent makes no sense.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// Any other error that the server reports.
    #[error("the server reports an error")]
    Server,
}

fn list(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// A failure of `doing` ("START_REPLICATION at 0/3000000") with the server at `server` ("db1:5432").
    #[must_use]
    pub fn new(doing: impl Into<String>, server: impl Into<String>, failure: Failure) -> Self {
        Self(Box::new(Report { doing: doing.into(), server: server.into(), failure, answer: None }))
    }

    /// With what the server said.
    #[must_use]
    pub fn with_answer(mut self, answer: ServerMessage) -> Self {
        self.0.answer = Some(answer);
        self
    }

    /// Why it failed.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0.failure
    }

    /// What the server said, where it said something.
    #[must_use]
    pub fn answer(&self) -> Option<&ServerMessage> {
        self.0.answer.as_ref()
    }

    /// The server's address, or all of them where no single one failed.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// Whether the same call may succeed a little later, without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.failure.is_retryable()
    }

    /// What to do next: where a setting of the server is to blame, which.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.failure.hint()
    }
}

impl Failure {
    fn is_retryable(&self) -> bool {
        match self {
            Self::NoServer(errors) => errors.iter().any(Error::is_retryable),
            Self::NotReached(_)
            | Self::OtherRole { .. }
            | Self::TooManyWalSenders
            | Self::TooManyConnections
            | Self::SlotInUse
            | Self::ServerStarting
            | Self::ServerShuttingDown
            | Self::ConnectionLost(_)
            | Self::Timeout(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::ConnInfo(error) => error.hint(),
            Self::NoServer(errors) => errors.iter().find_map(Error::hint),
            _ => self.fixed_hint(),
        }
    }

    fn fixed_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotReached(_) => "check host and port, that the server runs, its listen_addresses, and firewalls between",
            Self::OtherRole { .. } => "name all servers of the cluster in host=..., or change target_session_attrs",
            Self::Tls(_) => "check sslmode and sslrootcert here, and ssl, ssl_cert_file and ssl_key_file on the server",
            Self::Authentication(_) => {
                "give the password (conninfo, PGPASSWORD, or ~/.pgpass with mode 0600); check channel_binding and require_auth here, and the method in pg_hba.conf"
            }
            Self::WrongPassword => {
                "check the password (conninfo, PGPASSWORD or ~/.pgpass); to set a new one: ALTER ROLE ... PASSWORD '...'"
            }
            Self::LoginRefused => {
                "add a line to pg_hba.conf, as in 'host replication ROLE ADDRESS scram-sha-256' (for plain SQL with the database's \
                 name instead of 'replication'), then SELECT pg_reload_conf(); the role must exist and have LOGIN"
            }
            Self::NoReplicationPrivilege => "run: ALTER ROLE ... REPLICATION",
            Self::PermissionDenied => {
                "grant the role what the server's message names; to dump tables: GRANT pg_read_all_data TO ...; for settings and slots: \
                 GRANT pg_monitor TO ..."
            }
            Self::NoSuchDatabase => "correct dbname in the connection string; 'postgres' exists nearly everywhere",
            Self::TooManyWalSenders => {
                "raise max_wal_senders (it is 0 where wal_level = minimal: set wal_level = replica too) and restart the server, or \
                 end another walsender (SELECT * FROM pg_stat_replication)"
            }
            Self::TooManyConnections => "raise max_connections, or close other connections",
            Self::WalLevelMinimal => "set wal_level = replica (or logical) and restart the server",
            Self::NoFreeSlot => {
                "raise max_replication_slots and restart the server, or drop a slot that nobody uses (SELECT * FROM \
                 pg_replication_slots)"
            }
            Self::SlotIsLogical => {
                "somebody else uses that slot: choose another name for 'slot' in the configuration, and run 'holdfast init'"
            }
            Self::SlotMissing => "run 'holdfast init', which creates the slot",
            Self::SlotInUse => {
                "stop the other agent, or give this one another slot; SELECT * FROM pg_replication_slots names its pid"
            }
            Self::SlotLost => {
                "drop the slot and run 'holdfast init', then take a base backup; raise max_slot_wal_keep_size (and \
                 idle_replication_slot_timeout) so that it does not happen again"
            }
            Self::WalRemoved => {
                "take a new base backup; use a replication slot, and raise max_slot_wal_keep_size or wal_keep_size, so that it does \
                 not happen again"
            }
            Self::AheadOfServer => {
                "the server has less WAL than was stored from it: it was restored, or it is another cluster or a standby that lags"
            }
            Self::NotInHistory => {
                "the server went on from another point than what was stored: check that it is the right cluster"
            }
            Self::ServerStarting => "wait until the server accepts connections; its log tells what it is doing",
            Self::ConnectionLost(_) => "look into the server's log",
            _ => return None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.doing)?;
        if !self.server.is_empty() {
            write!(f, " on {}", self.server)?;
        }
        write!(f, ": {}", self.failure)?;
        match &self.answer {
            Some(answer) => write!(f, " [{answer}]"),
            None => Ok(()),
        }
    }
}
