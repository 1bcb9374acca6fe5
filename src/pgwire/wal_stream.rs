//! Streaming WAL: `START_REPLICATION ... PHYSICAL` until the timeline or the server ends, or the caller stops.

mod message;
mod silence;

use bytes::Bytes;
use jiff::Timestamp;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::classify::Phase;
use super::error::{Failure, Result};
use super::frame::Frame;
use super::{ReplicationConnection, Row, SlotName, Stream};
use crate::pg::{Lsn, TimelineId};
use message::StreamMessage;
use silence::{Silence, Step};

/// Something that came out of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WalEvent {
    /// WAL. Each begins where the one before ended; the bytes are split anywhere.
    XLogData {
        /// The position of the first byte.
        start: Lsn,
        /// How far the server's WAL goes.
        server_end: Lsn,
        /// When the server sent it, by its clock.
        sent: Timestamp,
        /// The WAL.
        bytes: Bytes,
    },
    /// The server is alive.
    Keepalive {
        /// How far the server's WAL goes.
        server_end: Lsn,
        /// When the server sent it, by its clock.
        sent: Timestamp,
        /// The server wants a status now: send one at once, with what is really stored.
        reply_requested: bool,
    },
    /// The timeline ends here: the server was promoted, or follows one that was. The stream is finished; `into_connection` gives
    /// the connection back.
    TimelineEnd {
        /// The timeline that follows.
        next_timeline: TimelineId,
        /// Where it begins. May lie before the end of what was received.
        start: Lsn,
    },
    /// The server shuts down, after sending all its WAL. The connection is gone.
    Closed,
}

/// What is reported to the server. `apply` is never reported: nothing is applied here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The end of what was received.
    pub written: Lsn,
    /// The end of what is durable; the slot moves here, and a synchronous commit returns. `Lsn::INVALID` without a slot.
    pub flushed: Lsn,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The server was asked and has not gone into copy mode yet.
    Starting,
    Streaming,
    /// The copy has ended on one side at least; what remains is read until the server is ready.
    Ending {
        next: Option<(TimelineId, Lsn)>,
    },
    Finished,
}

/// A running stream of WAL. `next` may be cancelled at any time without loss.
#[derive(Debug)]
pub struct WalStream<S = Stream> {
    replication: ReplicationConnection<S>,
    doing: String,
    state: State,
    expected: Lsn,
    started: bool,
    status: Status,
    silence: Silence,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReplicationConnection<S> {
    /// Begins to stream `timeline` from `start`, which an archiver rounds down to the beginning of a segment. Where a slot is named,
    /// the server keeps the WAL from the last flush position on that was reported.
    ///
    /// Returns when the server has agreed. That the WAL is gone, or not there yet, the first `next` reports.
    ///
    /// # Errors
    /// `SlotMissing`, `SlotInUse`, `SlotLost`, `NotInHistory`, `WalRemoved`, `TooManyWalSenders`, and what may befall any connection.
    pub async fn start_replication(mut self, slot: Option<&SlotName>, start: Lsn, timeline: TimelineId) -> Result<WalStream<S>> {
        let slot = slot.map(|name| format!("SLOT \"{name}\" ")).unwrap_or_default();
        let doing = format!("START_REPLICATION {slot}PHYSICAL {start} TIMELINE {timeline}");
        self.connection.begin(&doing, &doing).await?;
        let silence = Silence::begin(crate::sys::clock::instant());
        let (state, status) = (State::Starting, Status::default());
        let mut stream = WalStream { replication: self, doing, state, expected: start, started: false, status, silence };
        stream.await_agreement().await?;
        Ok(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WalStream<S> {
    /// The server's address, for messages.
    #[must_use]
    pub fn server(&self) -> &str {
        self.replication.server()
    }

    /// The end of the WAL received so far.
    #[must_use]
    pub const fn position(&self) -> Lsn {
        self.expected
    }

    async fn await_agreement(&mut self) -> Result<()> {
        let frame = self.replication.connection.receive_answer(&self.doing).await?;
        self.silence.heard(crate::sys::clock::instant());
        match frame {
            Frame::CopyBoth => {
                self.state = State::Streaming;
                Ok(())
            }
            // Asked for exactly the end of an older timeline, the server names the next one without streaming anything.
            Frame::Message(Message::RowDescription(_)) => {
                self.state = State::Ending { next: None };
                Ok(())
            }
            Frame::Message(Message::ErrorResponse(body)) => {
                let answer = self.replication.connection.read_error(&self.doing, body.fields())?;
                Err(self.replication.connection.refused(&self.doing, Phase::StartReplication, answer))
            }
            _ => Err(self.protocol_error("no copy mode in answer to START_REPLICATION")),
        }
    }

    /// The next thing that happens. When nothing has come for a while the server is asked for a sign of life, and when none comes
    /// either, that is a timeout. Cancelling loses nothing.
    ///
    /// # Errors
    /// `WalRemoved`, `AheadOfServer`, `ServerShuttingDown`, `ConnectionLost`, `Timeout`, `Protocol`: the stream is then of no more use.
    pub async fn next(&mut self) -> Result<WalEvent> {
        loop {
            if self.state == State::Finished {
                return Ok(WalEvent::Closed);
            }
            // The answer to the end of a timeline, above all, without which the server waits.
            self.replication.connection.flush_rest(&self.doing).await?;
            let wait = self.silence.wait(crate::sys::clock::instant());
            match tokio::time::timeout(wait, self.replication.connection.receive(&self.doing)).await {
                Ok(frame) => {
                    self.silence.heard(crate::sys::clock::instant());
                    if let Some(event) = self.take(frame?).await? {
                        return Ok(event);
                    }
                }
                Err(_) => self.endure_silence().await?,
            }
        }
    }

    async fn endure_silence(&mut self) -> Result<()> {
        match self.silence.step(crate::sys::clock::instant()) {
            Step::Wait => Ok(()),
            Step::Probe if self.state == State::Streaming => self.send_status(self.status, true).await,
            Step::Probe => Ok(()),
            Step::GiveUp(after) => Err(self.replication.connection.error(&self.doing, Failure::Timeout(after))),
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<Option<WalEvent>> {
        match (frame, self.state) {
            (Frame::CopyData(bytes), State::Streaming) => self.take_data(bytes).map(Some),
            // After our own CopyDone the rest of what was on its way arrives.
            (Frame::CopyData(_), State::Ending { .. }) => Ok(None),
            (Frame::Message(message), _) => self.take_message(message).await,
            _ => Err(self.protocol_error("a message that does not belong into a stream of WAL")),
        }
    }

    fn take_data(&mut self, bytes: Bytes) -> Result<WalEvent> {
        let event = match message::read(bytes) {
            Ok(StreamMessage::XLogData { start, server_end, sent, bytes }) => {
                let end = start.checked_add(bytes.len() as u64).filter(|_| start == self.expected);
                let Some(end) = end else {
                    return Err(self.protocol_error(format!("WAL from {start} where {} was due", self.expected)));
                };
                self.expected = end;
                WalEvent::XLogData { start, server_end, sent, bytes }
            }
            Ok(StreamMessage::Keepalive { server_end, sent, reply_requested }) => {
                WalEvent::Keepalive { server_end, sent, reply_requested }
            }
            Err(detail) => return Err(self.protocol_error(detail)),
        };
        self.started = true;
        Ok(event)
    }

    async fn take_message(&mut self, message: Message) -> Result<Option<WalEvent>> {
        match (message, self.state) {
            (Message::NoticeResponse(body), _) => self.replication.connection.log_notice(&self.doing, body.fields()),
            (Message::ErrorResponse(body), _) => return Err(self.refusal(body.fields())?),
            (Message::CopyDone, State::Streaming) => {
                self.state = State::Ending { next: None };
                self.send_copy_done().await?;
            }
            (Message::CopyDone | Message::RowDescription(_) | Message::CommandComplete(_), State::Ending { .. }) => {}
            // A server that shuts down says that the copy is complete, and closes the connection.
            (Message::CommandComplete(_), State::Streaming) => {
                self.state = State::Finished;
                return Ok(Some(WalEvent::Closed));
            }
            (Message::DataRow(body), State::Ending { .. }) => {
                let next = Row::read(&body).ok().as_ref().and_then(read_next_timeline);
                let next = next.ok_or_else(|| self.protocol_error("a row that names no next timeline"))?;
                self.state = State::Ending { next: Some(next) };
            }
            (Message::ReadyForQuery(_), State::Ending { next }) => return Ok(Some(self.end(next))),
            _ => return Err(self.protocol_error("a message that does not belong into a stream of WAL")),
        }
        Ok(None)
    }

    fn end(&mut self, next: Option<(TimelineId, Lsn)>) -> WalEvent {
        self.state = State::Finished;
        self.replication.connection.finish();
        next.map_or(WalEvent::Closed, |(next_timeline, start)| WalEvent::TimelineEnd { next_timeline, start })
    }

    fn refusal(&self, fields: postgres_protocol::message::backend::ErrorFields<'_>) -> Result<super::Error> {
        let answer = self.replication.connection.read_error(&self.doing, fields)?;
        let phase = if self.started { Phase::Streaming } else { Phase::StreamStart };
        Ok(self.replication.connection.refused(&self.doing, phase, answer))
    }

    /// Tells the server how far WAL was received and stored. With `reply_requested` the server answers with a keepalive at once.
    /// Does nothing once the stream has ended. Cancelling loses nothing.
    ///
    /// # Errors
    /// `ConnectionLost` and `Timeout`.
    pub async fn send_status(&mut self, status: Status, reply_requested: bool) -> Result<()> {
        self.status = status;
        if self.state != State::Streaming {
            return Ok(());
        }
        let message = message::status(status, crate::sys::clock::now(), reply_requested);
        let copy_data = move |buffer: &mut bytes::BytesMut| {
            frontend::CopyData::new(&message[..])?.write(buffer);
            Ok(())
        };
        self.replication.connection.send(&self.doing, copy_data).await
    }

    async fn send_copy_done(&mut self) -> Result<()> {
        let copy_done = |buffer: &mut bytes::BytesMut| {
            frontend::copy_done(buffer);
            Ok(())
        };
        self.replication.connection.send(&self.doing, copy_done).await
    }

    /// Ends the stream in good order: what is still on its way is dropped, and the connection can be used again. Send the last status
    /// before.
    ///
    /// # Errors
    /// As `next`; `ConnectionLost` if the server has shut down.
    pub async fn stop(mut self) -> Result<ReplicationConnection<S>> {
        if self.state == State::Streaming {
            self.state = State::Ending { next: None };
            self.send_copy_done().await?;
        }
        while self.state != State::Finished {
            self.next().await?;
        }
        self.into_connection()
    }

    /// The connection, after the stream has ended by itself.
    ///
    /// # Errors
    /// `Protocol` if it has not, `ConnectionLost` if the server has shut down.
    pub fn into_connection(mut self) -> Result<ReplicationConnection<S>> {
        if self.replication.connection.start() {
            self.replication.connection.finish();
            return Ok(self.replication);
        }
        let failure = match self.state {
            State::Finished => Failure::ConnectionLost("the server shut down".into()),
            _ => Failure::Protocol("the stream has not ended".into()),
        };
        Err(self.replication.connection.error(&self.doing, failure))
    }

    fn protocol_error(&self, detail: impl Into<String>) -> super::Error {
        self.replication.protocol_error(&self.doing, detail)
    }
}

fn read_next_timeline(row: &Row) -> Option<(TimelineId, Lsn)> {
    Some((TimelineId(row.text(0)?.parse().ok()?), row.text(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests;
