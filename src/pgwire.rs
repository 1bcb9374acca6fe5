//! The PostgreSQL client: physical replication, base backups, plain SQL, and the reading of connection strings.
//!
//! Invariants: a connection string has one meaning, libpq's, whoever uses it (`ConnInfo`). Lengths that a server announces are
//! capped before anything is buffered for them. Every wait has a deadline. What a server refuses is told apart by SQLSTATE and by
//! what was being done, never by the text of its message, which is translated. No error and no log line holds a password.
//! No message goes out in a state where the protocol does not allow it: the streams own their connection while they run.

mod authentication;
mod base_backup;
mod classify;
mod connect;
mod connection;
mod conninfo;
mod error;
#[cfg(test)]
mod fake;
mod frame;
mod message;
mod names;
mod query;
mod replication;
mod role;
mod session;
mod slot;
mod socket;
mod sql;
mod startup;
mod stream;
mod tls;
mod wal_stream;

pub use base_backup::{BackupEvent, BackupOptions, BackupStream, Checkpoint, ManifestChecksum, Tablespace};
pub use conninfo::{ConnInfo, ConnInfoError, Host, HostSpec, LoginVariables, SslMode, SslNegotiation, TargetSessionAttrs};
pub use error::{Error, Failure, Result};
pub use message::ServerMessage;
pub use names::{ServerVersion, SlotName, SlotNameError};
pub use query::{ResultSet, Row};
pub use replication::{ReplicationConnection, SystemIdentity, TimelineHistoryFile};
pub use slot::{ReservedWal, SlotKind, SlotPosition};
pub use sql::{SlotHolder, SlotState, SqlConnection, WalStatus};
pub use stream::Stream;
pub use wal_stream::{Status, WalEvent, WalStream};
