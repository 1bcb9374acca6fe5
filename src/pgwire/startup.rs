//! Logging in: the startup message, authentication, and what the server says before it is ready.

use std::time::Duration;

use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::authentication::{self, Credentials};
use super::classify::Phase;
use super::connection::Connection;
use super::error::Result;
use super::frame::Frame;

/// What errors call this.
pub(super) const DOING: &str = "connecting for replication";

/// Who logs in, and with which settings.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) credentials: Credentials,
    pub(super) application_name: Option<String>,
    pub(super) options: Option<String>,
}

/// Logs in for physical replication. `binding` is the `tls-server-end-point` of the stream, where it is encrypted.
pub(super) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    server: &str,
    login: &Login,
    binding: Option<Vec<u8>>,
    deadline: Duration,
) -> Result<Connection<S>> {
    let mut connection = Connection::new(stream, server.to_owned(), deadline);
    let parameters = parameters(login);
    connection.send(DOING, |buffer| frontend::startup_message(parameters.iter().copied(), buffer)).await?;
    authentication::authenticate(&mut connection, &login.credentials, binding).await?;
    await_ready(&mut connection).await?;
    connection.logged_in();
    Ok(connection)
}

/// `replication=true` asks for a walsender without a database: pg_hba.conf matches it with the keyword `replication`.
fn parameters(login: &Login) -> Vec<(&str, &str)> {
    let mut parameters = vec![("user", login.credentials.user.as_str()), ("replication", "true"), ("client_encoding", "UTF8")];
    parameters.extend(login.application_name.as_deref().map(|name| ("application_name", name)));
    parameters.extend(login.options.as_deref().map(|options| ("options", options)));
    parameters
}

/// Reads up to ReadyForQuery. Some poolers send no BackendKeyData, so it is not required.
async fn await_ready<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S>) -> Result<()> {
    loop {
        match connection.receive_answer(DOING).await? {
            Frame::Message(Message::ReadyForQuery(_)) => return Ok(()),
            Frame::Message(Message::BackendKeyData(_)) | Frame::NegotiateProtocolVersion => {}
            Frame::Message(Message::ErrorResponse(body)) => {
                let answer = connection.read_error(DOING, body.fields())?;
                return Err(connection.refused(DOING, Phase::StartReplicationSession, answer));
            }
            _ => return Err(connection.protocol_error(DOING, "an unexpected message after the log-in")),
        }
    }
}

#[cfg(test)]
mod tests;
