//! Proving who we are: trust, cleartext, MD5, SCRAM-SHA-256, and SCRAM-SHA-256-PLUS, which binds the proof to the TLS connection.

mod method;

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::ChannelBinding;

use super::classify::Phase;
use super::connection::Connection;
use super::error::{Error, Failure, Result};
use super::frame::Frame;
use super::startup::DOING;
pub(super) use method::{AllowedMethods, Method};

/// Who logs in, and how the server may ask for proof.
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Option<Vec<u8>>,
    pub(super) channel_binding: ChannelBinding,
    pub(super) allowed: AllowedMethods,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Answers the server's questions until it is satisfied.
pub(super) async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    credentials: &Credentials,
    binding: Option<Vec<u8>>,
) -> Result<()> {
    let mut exchange = Exchange { connection, credentials };
    match exchange.receive().await? {
        Message::AuthenticationOk => return exchange.permit(Method::None),
        Message::AuthenticationCleartextPassword => {
            exchange.permit(Method::Password)?;
            let password = exchange.password()?;
            exchange.send_password(password).await?;
        }
        Message::AuthenticationMd5Password(body) => {
            exchange.permit(Method::Md5)?;
            let hash = md5_hash(credentials.user.as_bytes(), exchange.password()?, body.salt());
            exchange.send_password(hash.as_bytes()).await?;
        }
        Message::AuthenticationSasl(body) => exchange.scram(&body, binding).await?,
        _ => return Err(exchange.error("the server asks for a method that is not supported (GSSAPI, SSPI or Kerberos)")),
    }
    match exchange.receive().await? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(exchange.unexpected()),
    }
}

struct Exchange<'a, S> {
    connection: &'a mut Connection<S>,
    credentials: &'a Credentials,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Exchange<'a, S> {
    /// The next message of the exchange.
    async fn receive(&mut self) -> Result<Message> {
        loop {
            match self.connection.receive_answer(DOING).await? {
                Frame::NegotiateProtocolVersion => {}
                Frame::Message(Message::ErrorResponse(body)) => {
                    let answer = self.connection.read_error(DOING, body.fields())?;
                    return Err(self.connection.refused(DOING, Phase::StartReplicationSession, answer));
                }
                Frame::Message(message) => return Ok(message),
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn error(&self, detail: impl Into<String>) -> Error {
        self.connection.error(DOING, Failure::Authentication(detail.into()))
    }

    fn unexpected(&self) -> Error {
        self.connection.protocol_error(DOING, "an unexpected message during authentication")
    }

    /// Refuses a method that `require_auth` excludes, and any without channel binding where that is required.
    fn permit(&self, method: Method) -> Result<()> {
        if !self.credentials.allowed.contains(method) {
            return Err(self.error(format!("the server asks for '{method}', which require_auth excludes")));
        }
        if self.credentials.channel_binding == ChannelBinding::Require && method != Method::ScramPlus {
            return Err(self.error("channel_binding=require, but the server offers none here (it needs TLS and SCRAM)"));
        }
        Ok(())
    }

    fn password(&self) -> Result<&'a [u8]> {
        let missing =
            || self.error(format!("the server asks for the password of '{}', and none is given", self.credentials.user));
        self.credentials.password.as_deref().ok_or_else(missing)
    }

    async fn send_password(&mut self, password: &[u8]) -> Result<()> {
        self.connection.send(DOING, |buffer| frontend::password_message(password, buffer)).await
    }

    /// SCRAM (RFC 5802): afterwards the server has proven too that it knows the password.
    async fn scram(&mut self, body: &AuthenticationSaslBody, binding: Option<Vec<u8>>) -> Result<()> {
        let offered = body.mechanisms().map(|name| Ok(name.to_owned())).collect::<Vec<_>>();
        let offered = offered.map_err(|error| self.connection.protocol_error(DOING, error.to_string()))?;
        let binding = binding.filter(|_| self.credentials.channel_binding != ChannelBinding::Disable);
        let (method, binding) = choose(&offered, binding).ok_or_else(|| {
            self.error(format!("the server offers {}, and only SCRAM-SHA-256 is supported", offered.join(", ")))
        })?;
        self.permit(method)?;
        let mechanism = if method == Method::ScramPlus { SCRAM_SHA_256_PLUS } else { SCRAM_SHA_256 };
        let mut scram = ScramSha256::new(self.password()?, binding);
        self.connection.send(DOING, |buffer| frontend::sasl_initial_response(mechanism, scram.message(), buffer)).await?;
        let Message::AuthenticationSaslContinue(body) = self.receive().await? else {
            return Err(self.unexpected());
        };
        scram.update(body.data()).map_err(|error| self.error(format!("SCRAM: {error}")))?;
        self.connection.send(DOING, |buffer| frontend::sasl_response(scram.message(), buffer)).await?;
        let Message::AuthenticationSaslFinal(body) = self.receive().await? else {
            return Err(self.unexpected());
        };
        let unproven = "the server could not prove that it knows the password: it is not the right server";
        scram.finish(body.data()).map_err(|error| self.error(format!("{unproven} ({error})")))
    }
}

/// The best mechanism that both sides know. A client that could bind but was not offered to says so: a server that did offer it
/// then notices that somebody between them removed the offer (RFC 5802, section 6).
fn choose(offered: &[String], binding: Option<Vec<u8>>) -> Option<(Method, sasl::ChannelBinding)> {
    let offers = |mechanism: &str| offered.iter().any(|name| name == mechanism);
    match binding {
        Some(data) if offers(SCRAM_SHA_256_PLUS) => Some((Method::ScramPlus, sasl::ChannelBinding::tls_server_end_point(data))),
        _ if !offers(SCRAM_SHA_256) => None,
        Some(_) => Some((Method::Scram, sasl::ChannelBinding::unrequested())),
        None => Some((Method::Scram, sasl::ChannelBinding::unsupported())),
    }
}
