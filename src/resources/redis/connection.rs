//! A connection to a server: opened, logged in, and every wait on it with an end.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::error::{Error, Result};
use super::message::{self, LINE_BYTES_MAX, Opening, Reply};
use super::tls::{self, Certificates};
use crate::config::{RedisPlace, RedisUrl};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long an answer to a command may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The largest answer that is kept in memory, in bytes, and the most answers in one.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const ANSWERS_MAX: u64 = 1 << 20;
/// How much is read at once.
const READ_BYTES: usize = 128 << 10;

/// What a connection runs over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// A connection that is logged in.
pub(super) struct Connection {
    stream: Box<dyn Transport>,
    buffer: BytesMut,
    /// The server, for messages.
    pub(super) server: String,
}

impl Connection {
    /// Connects and logs in.
    pub(super) async fn open(url: &RedisUrl, certificates: &Certificates) -> Result<Self> {
        let server = format!("the Redis server {}", url.place);
        let opened = timeout(CONNECT_LIMIT, stream(&url.place, certificates, &server)).await;
        let silent = || Error::Silent { server: server.clone(), doing: "connecting", limit: CONNECT_LIMIT };
        let stream = opened.map_err(|_| silent())??;
        let mut connection = Self { stream, buffer: BytesMut::new(), server };
        connection.log_in(url).await?;
        Ok(connection)
    }

    async fn log_in(&mut self, url: &RedisUrl) -> Result<()> {
        let Some(password) = &url.password else { return Ok(()) };
        let outcome = match &url.user {
            Some(user) => self.command(&[b"AUTH", user.as_bytes(), password.as_bytes()]).await,
            None => self.command(&[b"AUTH", password.as_bytes()]).await,
        };
        match outcome {
            Ok(_) => Ok(()),
            // A server that does not know AUTH repeats its arguments.
            Err(Error::Refused { server, command, reply }) => {
                Err(Error::Refused { server, command, reply: without(&reply, password) })
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a command and waits for its answer; an error that the server answers with is one here.
    pub(super) async fn command(&mut self, parts: &[&[u8]]) -> Result<Reply> {
        self.send_command(parts).await?;
        match self.reply().await? {
            Reply::Error(reply) => Err(self.refused(parts, reply)),
            reply => Ok(reply),
        }
    }

    /// Sends a command.
    pub(super) async fn send_command(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut sent = Vec::new();
        message::command(parts, &mut sent);
        self.send(&sent).await
    }

    /// Sends bytes as they are.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(ANSWER_LIMIT, sending).await {
            Ok(sent) => sent.map_err(|source| self.io("send a command", source)),
            Err(_) => Err(self.silent("sending a command", ANSWER_LIMIT)),
        }
    }

    pub(super) fn refused(&self, parts: &[&[u8]], reply: String) -> Error {
        let command = String::from_utf8_lossy(parts.first().copied().unwrap_or_default()).into_owned();
        Error::Refused { server: self.server.clone(), command, reply }
    }

    pub(super) fn unexpected(&self, detail: impl Into<String>) -> Error {
        Error::Unexpected { server: self.server.clone(), detail: detail.into() }
    }

    pub(super) fn io(&self, doing: &'static str, source: io::Error) -> Error {
        let server = self.server.clone();
        // With TLS 1.3 a server says only now that it does not accept our certificate.
        match tls::refusal(&source) {
            Some(detail) => Error::Tls { server, detail },
            None => Error::Io { server, doing, source },
        }
    }

    pub(super) fn silent(&self, doing: &'static str, limit: Duration) -> Error {
        Error::Silent { server: self.server.clone(), doing, limit }
    }

    /// One answer. Those within an answer are read in a row, not in one another: no server nests them deeper than `SCAN` does.
    pub(super) async fn reply(&mut self) -> Result<Reply> {
        match self.opening().await? {
            Opening::Whole(reply) => Ok(reply),
            Opening::Bulk(bytes) => self.bulk(bytes).await,
            Opening::Array(count) => {
                let mut replies = Vec::new();
                for _ in 0..self.bounded(count)? {
                    let reply = match self.opening().await? {
                        Opening::Whole(reply) => reply,
                        Opening::Bulk(bytes) => self.bulk(bytes).await?,
                        Opening::Array(count) => self.flat(count).await?,
                    };
                    replies.push(reply);
                }
                Ok(Reply::Array(replies))
            }
        }
    }

    async fn flat(&mut self, count: u64) -> Result<Reply> {
        let mut replies = Vec::new();
        for _ in 0..self.bounded(count)? {
            let reply = match self.opening().await? {
                Opening::Whole(reply) => reply,
                Opening::Bulk(bytes) => self.bulk(bytes).await?,
                Opening::Array(_) => return Err(self.unexpected("its answer is nested too deeply")),
            };
            replies.push(reply);
        }
        Ok(Reply::Array(replies))
    }

    fn bounded(&self, count: u64) -> Result<u64> {
        if count > ANSWERS_MAX { Err(self.unexpected(format!("its answer has {count} parts"))) } else { Ok(count) }
    }

    pub(super) async fn bulk(&mut self, bytes: u64) -> Result<Reply> {
        if bytes > ANSWER_BYTES_MAX {
            return Err(self.unexpected(format!("its answer has {bytes} bytes")));
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        while self.buffer.len() < bytes + 2 {
            self.read_more("waiting for an answer", ANSWER_LIMIT).await?;
        }
        let bulk = self.buffer.split_to(bytes).to_vec();
        self.buffer.advance(2);
        Ok(Reply::Bulk(Some(bulk)))
    }

    /// The first line of an answer.
    pub(super) async fn opening(&mut self) -> Result<Opening> {
        let line = self.line("waiting for an answer", ANSWER_LIMIT).await?;
        message::opening(&line).ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).take(40).collect();
            self.unexpected(format!("what answers there is no Redis server: '{shown}'"))
        })
    }

    /// A line without its end.
    pub(super) async fn line(&mut self, doing: &'static str, limit: Duration) -> Result<Bytes> {
        let mut looked_at = 0;
        loop {
            if let Some(found) = self.buffer[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(looked_at + found + 1);
                let end = line.len() - 1;
                let end = if line[..end].ends_with(b"\r") { end - 1 } else { end };
                return Ok(line.freeze().slice(..end));
            }
            looked_at = self.buffer.len();
            if looked_at > LINE_BYTES_MAX {
                return Err(self.unexpected("what answers there is no Redis server: it sends a line without an end"));
            }
            self.read_more(doing, limit).await?;
        }
    }

    /// So many bytes.
    pub(super) async fn exact(&mut self, bytes: usize) -> Result<Bytes> {
        while self.buffer.len() < bytes {
            self.read_more("waiting for an answer", ANSWER_LIMIT).await?;
        }
        Ok(self.buffer.split_to(bytes).freeze())
    }

    /// Some bytes of an answer, up to so many.
    pub(super) async fn some(&mut self, bytes_max: usize) -> Result<Bytes> {
        self.piece(bytes_max, "waiting for the rest of an answer", ANSWER_LIMIT).await
    }

    /// What has come and was not taken, up to so many bytes; waits where nothing has.
    pub(super) async fn piece(&mut self, bytes_max: usize, doing: &'static str, limit: Duration) -> Result<Bytes> {
        if self.buffer.is_empty() {
            self.read_more(doing, limit).await?;
        }
        let bytes = self.buffer.len().min(bytes_max);
        Ok(self.buffer.split_to(bytes).freeze())
    }

    async fn read_more(&mut self, doing: &'static str, limit: Duration) -> Result<()> {
        self.buffer.reserve(READ_BYTES);
        match timeout(limit, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0)) => Err(self.io("go on", io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection"))),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(self.io("read what it sends", source)),
            Err(_) => Err(self.silent(doing, limit)),
        }
    }

    /// The connection as it is, for commands that are sent without waiting for each answer. Nothing may be unread.
    pub(super) fn into_stream(self) -> Box<dyn Transport> {
        self.stream
    }
}

async fn stream(place: &RedisPlace, certificates: &Certificates, server: &str) -> Result<Box<dyn Transport>> {
    let io = |source| Error::Io { server: server.to_owned(), doing: "connect", source };
    match place {
        RedisPlace::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(io)?)),
        RedisPlace::Tcp { host, port, tls } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(io)?;
            stream.set_nodelay(true).map_err(io)?;
            if !tls {
                return Ok(Box::new(stream));
            }
            let refused = |detail| Error::Tls { server: server.to_owned(), detail };
            Ok(Box::new(certificates.encrypt(stream, host).await.map_err(refused)?))
        }
    }
}

fn without(text: &str, secret: &str) -> String {
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, "(secret)") }
}
