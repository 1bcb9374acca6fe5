//! The simple query protocol: a command out, rows back.

use bytes::Bytes;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::classify::Phase;
use super::connection::Connection;
use super::error::{Error, Result};
use super::frame::Frame;
use super::message::ServerMessage;

/// The most that the rows of one answer may hold together.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The rows that one statement returned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResultSet {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// One row: each column's value in text form, `None` for NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub Vec<Option<Bytes>>);

impl Row {
    /// The value of a column as text; `None` for NULL, for a column that is not there and for bytes that are no UTF-8.
    #[must_use]
    pub fn text(&self, column: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes(column)?).ok()
    }

    /// The value of a column.
    #[must_use]
    pub fn bytes(&self, column: usize) -> Option<&Bytes> {
        self.0.get(column)?.as_ref()
    }

    pub(super) fn read(body: &DataRowBody) -> std::io::Result<Self> {
        let buffer = body.buffer_bytes();
        body.ranges().map(|range| Ok(range.map(|range| buffer.slice(range)))).collect().map(Self)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Runs a command and collects what it returns, until the server is ready for the next.
    pub(super) async fn query(&mut self, doing: &str, phase: Phase, command: &str) -> Result<Vec<ResultSet>> {
        self.begin(doing, command).await?;
        let mut answer = Answer::default();
        loop {
            let frame = match (self.receive_answer(doing).await, answer.error.take()) {
                // After a FATAL error the server closes the connection; what it said before counts.
                (Err(_), Some(error)) => return Err(error),
                (Err(error), None) => return Err(error),
                (Ok(frame), error) => {
                    answer.error = error;
                    frame
                }
            };
            match frame {
                Frame::Message(Message::ReadyForQuery(_)) => {
                    self.finish();
                    return answer.error.map_or(Ok(answer.results), Err);
                }
                Frame::Message(Message::ErrorResponse(body)) => {
                    let message = self.read_error(doing, body.fields())?;
                    answer.error = Some(self.refused(doing, phase, message));
                }
                Frame::Message(message) => answer.take(message).map_err(|detail| self.protocol_error(doing, detail))?,
                _ => return Err(self.protocol_error(doing, "copy data in answer to a query")),
            }
        }
    }

    /// Sends a command; the server must be ready for one.
    pub(super) async fn begin(&mut self, doing: &str, command: &str) -> Result<()> {
        if !self.start() {
            return Err(self.protocol_error(doing, "the connection is still in the middle of an earlier command"));
        }
        self.send(doing, |buffer| frontend::query(command, buffer)).await
    }

    /// What an ErrorResponse says.
    pub(super) fn read_error(
        &self,
        doing: &str,
        fields: postgres_protocol::message::backend::ErrorFields<'_>,
    ) -> Result<ServerMessage> {
        ServerMessage::read(fields).map_err(|error| self.protocol_error(doing, error.to_string()))
    }
}

/// What has come so far.
#[derive(Default)]
struct Answer {
    results: Vec<ResultSet>,
    bytes: usize,
    error: Option<Error>,
}

impl Answer {
    fn take(&mut self, message: Message) -> std::result::Result<(), String> {
        match message {
            Message::RowDescription(body) => {
                let columns = body.fields().map(|field| Ok(field.name().to_owned())).collect().map_err(|e| e.to_string())?;
                self.results.push(ResultSet { columns, rows: Vec::new() });
            }
            Message::DataRow(body) => {
                self.bytes = self.bytes.saturating_add(body.buffer().len());
                if self.bytes > ANSWER_BYTES_MAX {
                    return Err(format!("an answer of more than {ANSWER_BYTES_MAX} bytes"));
                }
                let row = Row::read(&body).map_err(|e| e.to_string())?;
                self.results.last_mut().ok_or("a row without a description")?.rows.push(row);
            }
            Message::CommandComplete(_) | Message::EmptyQueryResponse => {}
            _ => return Err("an unexpected message in answer to a query".into()),
        }
        Ok(())
    }
}
