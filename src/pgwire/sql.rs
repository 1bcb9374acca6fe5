//! Plain SQL, by `tokio-postgres` over the streams of this folder: servers, encryption and passwords as everywhere else.

mod carrier;
mod slot;

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::classify::{Phase, classify};
use super::connect::{self, Session};
use super::conninfo::{ConnInfo, HostSpec};
use super::error::{Error, Failure, Result};
use super::names::ServerVersion;
use super::role::ServerRole;
use super::{ServerMessage, Stream};
use carrier::AsTls;
pub use slot::{SlotHolder, SlotState, WalStatus};

/// How long one statement may take, unless another limit is given.
const STATEMENT_DEADLINE: Duration = Duration::from_mins(1);
const CONNECTING: &str = "connecting for plain SQL";

/// A connection for plain SQL. Dropping it closes it.
#[derive(Debug)]
pub struct SqlConnection {
    client: Client,
    server: String,
    version: ServerVersion,
    role: Option<ServerRole>,
    deadline: Duration,
    task: AbortHandle,
}

impl SqlConnection {
    /// Connects to the first of the servers that will do.
    ///
    /// # Errors
    /// As `ReplicationConnection::connect`.
    pub async fn connect(info: &ConnInfo) -> Result<Self> {
        connect::connect(info).await
    }

    /// The server's address, for messages.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The server's version.
    #[must_use]
    pub const fn server_version(&self) -> &ServerVersion {
        &self.version
    }

    /// The same with another limit for each statement.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs a query and returns its rows. `doing` says in a few words what for.
    ///
    /// # Errors
    /// Whatever the server reports, `Timeout`, `ConnectionLost`.
    pub async fn query(&self, doing: &str, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.within(doing, self.client.query(statement, parameters)).await
    }

    /// Runs a query that returns exactly one row.
    ///
    /// # Errors
    /// As `query`, and `Protocol` for any other number of rows.
    pub async fn query_one(&self, doing: &str, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        let mut rows = self.query(doing, statement, parameters).await?;
        let count = rows.len();
        match rows.pop() {
            Some(row) if count == 1 => Ok(row),
            _ => Err(self.error(doing, Failure::Protocol(format!("{count} rows where one was due")))),
        }
    }

    /// Runs statements that return nothing of interest, separated by semicolons.
    ///
    /// # Errors
    /// As `query`.
    pub async fn execute(&self, doing: &str, statements: &str) -> Result<()> {
        self.within(doing, self.client.batch_execute(statements)).await
    }

    /// The value of a setting, as `SHOW` prints it.
    ///
    /// # Errors
    /// As `query`.
    pub async fn show(&self, setting: &str) -> Result<String> {
        let doing = format!("SHOW {setting}");
        let row = self.query_one(&doing, "SELECT pg_catalog.current_setting($1)", &[&setting]).await?;
        row.try_get(0).map_err(|error| self.failed(&doing, Phase::Command, &error))
    }

    /// The value of a column.
    ///
    /// # Errors
    /// `Protocol` if there is no such column or it has another type.
    pub fn get<'a, T: tokio_postgres::types::FromSql<'a>>(&self, doing: &str, row: &'a Row, column: &str) -> Result<T> {
        row.try_get(column).map_err(|error| self.error(doing, Failure::Protocol(error.to_string())))
    }

    async fn within<T>(
        &self,
        doing: &str,
        work: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(result) => result.map_err(|error| self.failed(doing, Phase::Command, &error)),
            Err(_) => Err(self.error(doing, Failure::Timeout(self.deadline))),
        }
    }

    fn error(&self, doing: &str, failure: Failure) -> Error {
        Error::new(doing, &self.server, failure)
    }

    fn failed(&self, doing: &str, phase: Phase, error: &tokio_postgres::Error) -> Error {
        failed(doing, &self.server, phase, error)
    }
}

impl Drop for SqlConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an error of `tokio-postgres` means.
fn failed(doing: &str, server: &str, phase: Phase, error: &tokio_postgres::Error) -> Error {
    if let Some(answer) = error.as_db_error().map(ServerMessage::from) {
        return Error::new(doing, server, classify(phase, &answer.sqlstate)).with_answer(answer);
    }
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    let lost = error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    let failure = match phase {
        _ if lost => Failure::ConnectionLost(text),
        Phase::StartSqlSession => Failure::Authentication(text),
        _ => Failure::Protocol(text),
    };
    Error::new(doing, server, failure)
}

impl Session for SqlConnection {
    const DOING: &'static str = CONNECTING;

    /// `tokio-postgres` is told that TLS begins at once, and is given the stream as it is: encrypted or not is settled already, and
    /// so it learns the channel binding.
    async fn begin(stream: Stream, info: &ConnInfo, host: &HostSpec) -> Result<Self> {
        let server = host.to_string();
        let mut config = info.config().clone();
        config.dbname(info.dbname()).ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        if let Some(password) = info.credentials(host, info.dbname()).password {
            config.password(password);
        }
        let begun = config.connect_raw(stream, AsTls).await;
        let (client, connection) = begun.map_err(|error| failed(CONNECTING, &server, Phase::StartSqlSession, &error))?;
        let reported = connection.parameter("server_version").unwrap_or_default().to_owned();
        let version = ServerVersion::parse(&reported).ok_or_else(|| {
            Error::new(CONNECTING, &server, Failure::Protocol(format!("no version reported ('{}')", reported.escape_default())))
        })?;
        version.require_supported().map_err(|error| Error::new(CONNECTING, &server, error.into()))?;
        let role = ServerRole::reported(|name| connection.parameter(name));
        let task = tokio::spawn(carrier::carry(connection, server.clone())).abort_handle();
        Ok(Self { client, server, version, role, deadline: STATEMENT_DEADLINE, task })
    }

    async fn role(&mut self) -> Result<ServerRole> {
        if let Some(role) = self.role {
            return Ok(role);
        }
        const DOING: &str = "asking whether the server is a standby";
        let statement = "SELECT pg_catalog.pg_is_in_recovery() AS standby, \
                         pg_catalog.current_setting('transaction_read_only') = 'on' AS read_only";
        let row = self.query_one(DOING, statement, &[]).await?;
        Ok(ServerRole { standby: self.get(DOING, &row, "standby")?, read_only: self.get(DOING, &row, "read_only")? })
    }
}
