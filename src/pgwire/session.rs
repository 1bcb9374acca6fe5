//! Replication as a kind of session.

use super::connect::{self, Session};
use super::conninfo::{ConnInfo, HostSpec};
use super::error::Result;
use super::role::ServerRole;
use super::startup::{self, Login};
use super::{ReplicationConnection, Stream};

/// What a password file calls the database of a replication connection.
const PASSWORD_FILE_DATABASE: &str = "replication";
/// How long a server may take for one answer, or for taking in one message.
const ANSWER_DEADLINE: std::time::Duration = std::time::Duration::from_mins(1);

impl ReplicationConnection {
    /// Connects for physical replication to the first of the servers that will do.
    ///
    /// # Errors
    /// `NotReached`, `NoServer`, `Tls`, `Authentication`, `WrongPassword`, `LoginRefused`, `NoReplicationPrivilege`, `TooManyWalSenders`,
    /// `ServerStarting`, `Timeout` and others.
    pub async fn connect(info: &ConnInfo) -> Result<Self> {
        connect::connect(info).await
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.connection.stream().is_encrypted()
    }

    /// Whether the server is a standby. Before version 14 a primary that is read-only is taken for one.
    ///
    /// # Errors
    /// As `show`.
    pub async fn is_standby(&mut self) -> Result<bool> {
        Ok(self.role().await?.standby)
    }
}

impl Session for ReplicationConnection {
    const DOING: &'static str = startup::DOING;

    async fn begin(stream: Stream, info: &ConnInfo, host: &HostSpec) -> Result<Self> {
        let config = info.config();
        let login = Login {
            credentials: info.credentials(host, PASSWORD_FILE_DATABASE),
            application_name: config.get_application_name().map(str::to_owned),
            options: config.get_options().map(str::to_owned),
        };
        let binding = stream.binding();
        let connection = startup::log_in(stream, &host.to_string(), &login, binding, ANSWER_DEADLINE).await?;
        let replication = Self::new(connection)?;
        let supported = replication.server_version().require_supported();
        supported.map_err(|error| replication.connection.error(startup::DOING, error.into()))?;
        Ok(replication)
    }

    /// Servers before 14 do not report it: a standby is read-only, and a primary of that age that is read-only is taken for one.
    async fn role(&mut self) -> Result<ServerRole> {
        if let Some(role) = ServerRole::reported(|name| self.connection.parameter(name)) {
            return Ok(role);
        }
        let read_only = self.show("transaction_read_only").await? == "on";
        Ok(ServerRole { standby: read_only, read_only })
    }
}
