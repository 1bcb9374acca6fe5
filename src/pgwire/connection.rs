//! One connection to a server, above the socket and below the commands: messages in, messages out, each with a deadline.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::classify::{Phase, classify};
use super::error::{Error, Failure, Result};
use super::frame::{self, Frame, Split};
use super::message::ServerMessage;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// The most that room is made for because a server announced it; a longer message grows as it arrives.
const RESERVE_BYTES_MAX: usize = 256 << 10;

/// A connection over any stream.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    server: String,
    incoming: BytesMut,
    outgoing: BytesMut,
    cap: usize,
    deadline: Duration,
    parameters: BTreeMap<String, String>,
    ready: bool,
    /// Something was put, and it is not known to be sent.
    unsent: bool,
    write_failure: Option<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection to the server at `server`, which is only used in messages. `deadline` holds for each answer and each send.
    pub(super) fn new(stream: S, server: String, deadline: Duration) -> Self {
        let (incoming, outgoing) = (BytesMut::new(), BytesMut::new());
        Self {
            stream,
            server,
            incoming,
            outgoing,
            cap: frame::CAP_BEFORE_LOGIN,
            deadline,
            parameters: BTreeMap::new(),
            ready: false,
            unsent: false,
            write_failure: None,
        }
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    /// From now on the server is known: messages of full length are accepted, and commands may be sent.
    pub(super) fn logged_in(&mut self) {
        self.cap = frame::CAP;
        self.ready = true;
    }

    /// Notes that a command begins; false if the server is not ready for one.
    pub(super) fn start(&mut self) -> bool {
        std::mem::take(&mut self.ready)
    }

    /// Notes that the server is ready for the next command.
    pub(super) fn finish(&mut self) {
        self.ready = true;
    }

    /// A setting that the server reported by itself (ParameterStatus).
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub(super) fn error(&self, doing: &str, failure: Failure) -> Error {
        Error::new(doing, &self.server, failure)
    }

    pub(super) fn protocol_error(&self, doing: &str, detail: impl Into<String>) -> Error {
        self.error(doing, Failure::Protocol(detail.into()))
    }

    /// What an ErrorResponse means in this phase.
    pub(super) fn refused(&self, doing: &str, phase: Phase, answer: ServerMessage) -> Error {
        self.error(doing, classify(phase, &answer.sqlstate)).with_answer(answer)
    }

    fn lost(&self, doing: &str, detail: &str) -> Error {
        self.error(doing, Failure::ConnectionLost(self.write_failure.as_deref().unwrap_or(detail).to_owned()))
    }

    /// The next message, without a deadline. Cancelling loses nothing.
    pub(super) async fn receive(&mut self, doing: &str) -> Result<Frame> {
        loop {
            let missing = match frame::split(&mut self.incoming, self.cap) {
                Ok(Split::Frame(Frame::Message(Message::ParameterStatus(body)))) => {
                    let (name, value) = (body.name(), body.value());
                    if let (Ok(name), Ok(value)) = (name, value) {
                        self.parameters.insert(name.to_owned(), value.to_owned());
                    }
                    continue;
                }
                Ok(Split::Frame(Frame::Message(Message::NotificationResponse(_)))) => continue,
                Ok(Split::Frame(frame)) => return Ok(frame),
                Ok(Split::Missing(bytes)) => bytes,
                Err(error) => return Err(self.protocol_error(doing, error.to_string())),
            };
            self.incoming.reserve(missing.clamp(READ_BYTES, RESERVE_BYTES_MAX));
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(0) => return Err(self.lost(doing, "the server closed it")),
                Ok(_) => {}
                Err(error) => return Err(self.lost(doing, &error.to_string())),
            }
        }
    }

    /// The next message, or a timeout after `deadline`. Cancelling loses nothing.
    pub(super) async fn receive_within(&mut self, doing: &str, deadline: Duration) -> Result<Frame> {
        match tokio::time::timeout(deadline, self.receive(doing)).await {
            Ok(result) => result,
            Err(_) => Err(self.error(doing, Failure::Timeout(deadline))),
        }
    }

    /// The next message that is no notice; notices are logged.
    pub(super) async fn receive_answer(&mut self, doing: &str) -> Result<Frame> {
        loop {
            match self.receive_within(doing, self.deadline).await? {
                Frame::Message(Message::NoticeResponse(body)) => self.log_notice(doing, body.fields()),
                frame => return Ok(frame),
            }
        }
    }

    pub(super) fn log_notice(&self, doing: &str, fields: postgres_protocol::message::backend::ErrorFields<'_>) {
        match ServerMessage::read(fields) {
            Ok(notice) => tracing::info!(server = self.server, doing, "{notice}"),
            Err(error) => tracing::warn!(server = self.server, doing, "a notice that cannot be read: {error}"),
        }
    }

    /// Puts a message into the send buffer.
    pub(super) fn put(&mut self, doing: &str, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<()> {
        write(&mut self.outgoing).map_err(|error| self.protocol_error(doing, error.to_string()))
    }

    /// Sends what was put. Cancelling loses nothing: the next call goes on.
    ///
    /// That the server no longer takes anything in is not reported here, but by the next `receive`: what it said before it closed the
    /// connection, the reason, is still to be read (fe-misc.c `pqSendSome` does the same).
    pub(super) async fn flush(&mut self, doing: &str) -> Result<()> {
        let deadline = self.deadline;
        self.unsent = true;
        let flushed = tokio::time::timeout(deadline, self.flush_stream()).await;
        self.unsent = false;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.outgoing.clear();
                self.write_failure = Some(error.to_string());
                Ok(())
            }
            Err(_) => Err(self.error(doing, Failure::Timeout(deadline))),
        }
    }

    async fn flush_stream(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            if self.stream.write_buf(&mut self.outgoing).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.stream.flush().await
    }

    /// Sends what a flush that was cancelled has left.
    pub(super) async fn flush_rest(&mut self, doing: &str) -> Result<()> {
        if self.unsent { self.flush(doing).await } else { Ok(()) }
    }

    /// Puts a message and sends it.
    pub(super) async fn send(&mut self, doing: &str, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<()> {
        self.put(doing, write)?;
        self.flush(doing).await
    }

    /// Says goodbye. The connection is gone afterwards whether the server heard it or not.
    pub(super) async fn terminate(mut self) {
        frontend::terminate(&mut self.outgoing);
        let goodbye = async {
            self.flush_stream().await?;
            self.stream.shutdown().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), goodbye).await {
            tracing::debug!(server = self.server, "while closing the connection: {error}");
        }
    }
}
