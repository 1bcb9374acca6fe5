//! Base backups: `BASE_BACKUP` and everything that the server sends for it, as one stream of events.
//!
//! Servers from 15 on send everything in one copy with a type byte in each message; before, one copy per tablespace and one for the
//! manifest. The events are the same.

mod command;
mod content;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use postgres_protocol::message::backend::Message;
use tokio::io::{AsyncRead, AsyncWrite};

use super::classify::Phase;
use super::error::{Error, Result};
use super::frame::Frame;
use super::{ReplicationConnection, Row, ServerMessage, Stream};
use crate::pg::version::{BaseBackupSyntax, KNOWN};
use crate::pg::{Lsn, TimelineId};
pub use command::{BackupOptions, Checkpoint, ManifestChecksum};
use content::Content;

/// A tablespace beside the data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tablespace {
    /// Its OID, which names its archive and its place in `pg_tblspc`.
    pub oid: u32,
    /// Where it is on the server.
    pub location: String,
    /// Its estimated size, where progress was asked for.
    pub size_kb: Option<u64>,
}

/// Something that came out of a base backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackupEvent {
    /// The checkpoint is done. Always the first event but for notices.
    Start {
        /// Where replay has to begin.
        lsn: Lsn,
        /// On which timeline.
        timeline: TimelineId,
        /// The estimated size of the data directory without the tablespaces, where progress was asked for.
        base_size_kb: Option<u64>,
        /// The tablespaces.
        tablespaces: Vec<Tablespace>,
    },
    /// A tar archive begins; the one before has ended. In any order: usually the data directory is the last.
    Archive {
        /// `base.tar`, or `16384.tar`.
        name: String,
        /// The tablespace that it holds, `None` for the data directory.
        tablespace: Option<u32>,
    },
    /// The next bytes of the archive.
    Data(Bytes),
    /// So many bytes have been sent altogether, as the server counts them.
    Progress(u64),
    /// The manifest begins; the last archive has ended.
    ManifestBegin,
    /// The next bytes of the manifest.
    ManifestData(Bytes),
    /// Everything was sent; replay has to reach this position before the backup is consistent.
    End {
        /// The position.
        lsn: Lsn,
        /// On which timeline.
        timeline: TimelineId,
    },
    /// The server has nothing to complain about: only now is the backup good. The stream is finished.
    Done,
    /// The server remarks something: for example that a page's checksum is wrong, for which it will fail in the end.
    Notice(ServerMessage),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The row with the start position is due.
    Start,
    /// The rows with the tablespaces are due.
    Tablespaces,
    /// A copy, or the row with the end position, is due.
    BetweenCopies,
    Copy,
    /// All was sent; the server's last word is due.
    Completing,
    Finished,
}

/// A running base backup. `next` may be cancelled at any time without loss. Dropping it gives the backup up.
#[derive(Debug)]
pub struct BackupStream<S = Stream> {
    replication: ReplicationConnection<S>,
    options: BackupOptions,
    state: State,
    content: Content,
    start: Option<(Lsn, TimelineId)>,
    base_size_kb: Option<u64>,
    tablespaces: Vec<Tablespace>,
    /// The archives still to come, in the order of the rows.
    archives: VecDeque<Option<u32>>,
    end: Option<(Lsn, TimelineId)>,
}

const DOING: &str = "BASE_BACKUP";

impl<S: AsyncRead + AsyncWrite + Unpin> ReplicationConnection<S> {
    /// Begins a base backup. Returns at once; the first event waits for the checkpoint.
    ///
    /// # Errors
    /// What may befall any connection.
    pub async fn base_backup(mut self, options: BackupOptions) -> Result<BackupStream<S>> {
        let syntax = syntax(self.server_version().major());
        self.connection.begin(DOING, &options.command(syntax)).await?;
        let content = if syntax == BaseBackupSyntax::Words { Content::untyped() } else { Content::typed() };
        Ok(BackupStream {
            replication: self,
            options,
            state: State::Start,
            content,
            start: None,
            base_size_kb: None,
            tablespaces: Vec::new(),
            archives: VecDeque::new(),
            end: None,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> BackupStream<S> {
    /// The next event. After `Done` it is `Done` for ever. Cancelling loses nothing.
    ///
    /// # Errors
    /// Whatever the server reports, also after everything was sent: without `Done` there is no backup. `Timeout`, `ConnectionLost`,
    /// `Protocol`: the stream is then of no more use.
    pub async fn next(&mut self) -> Result<BackupEvent> {
        loop {
            if self.state == State::Finished {
                return Ok(BackupEvent::Done);
            }
            let frame = self.replication.connection.receive_within(DOING, self.deadline()).await?;
            if let Some(event) = self.take(frame)? {
                return Ok(event);
            }
        }
    }

    const fn deadline(&self) -> Duration {
        match self.state {
            State::Start | State::Tablespaces => self.options.start_deadline,
            // With WAIT the server waits for its archiver before the row with the end position.
            _ if self.options.wait_for_archive => self.options.start_deadline,
            _ => self.options.silence_deadline,
        }
    }

    /// The connection, after `Done`.
    ///
    /// # Errors
    /// `Protocol` before.
    pub fn into_connection(self) -> Result<ReplicationConnection<S>> {
        if self.state == State::Finished { Ok(self.replication) } else { Err(self.protocol_error("the backup is not done")) }
    }

    fn protocol_error(&self, detail: impl Into<String>) -> Error {
        self.replication.protocol_error(DOING, detail)
    }

    fn take(&mut self, frame: Frame) -> Result<Option<BackupEvent>> {
        match (frame, self.state) {
            (Frame::CopyData(bytes), State::Copy) => self.take_data(bytes),
            (Frame::Message(message), _) => self.take_message(message),
            _ => Err(self.protocol_error("a message that does not belong into a base backup")),
        }
    }

    fn take_data(&mut self, bytes: Bytes) -> Result<Option<BackupEvent>> {
        let event = self.content.take(bytes).map_err(|detail| self.protocol_error(detail))?;
        if let Some(BackupEvent::Archive { tablespace, name }) = &event {
            let announced = self.archives.iter().position(|announced| announced == tablespace);
            let unknown = || self.replication.protocol_error(DOING, format!("{name} was not announced, or came before"));
            self.archives.remove(announced.ok_or_else(unknown)?);
        }
        Ok(event)
    }

    fn take_message(&mut self, message: Message) -> Result<Option<BackupEvent>> {
        match (message, self.state) {
            (Message::NoticeResponse(body), _) => {
                let notice = self.replication.connection.read_error(DOING, body.fields())?;
                return Ok(Some(BackupEvent::Notice(notice)));
            }
            (Message::ErrorResponse(body), _) => {
                let answer = self.replication.connection.read_error(DOING, body.fields())?;
                return Err(self.replication.connection.refused(DOING, Phase::Command, answer));
            }
            (Message::RowDescription(_), State::Start | State::Tablespaces | State::BetweenCopies) => {}
            (Message::DataRow(body), _) => {
                let row = Row::read(&body).map_err(|error| self.protocol_error(error.to_string()))?;
                self.take_row(&row).ok_or_else(|| self.protocol_error(format!("an unexpected row {row:?}")))?;
            }
            (Message::CommandComplete(_), _) => return self.complete(),
            (Message::CopyOutResponse(_), State::BetweenCopies) => {
                self.state = State::Copy;
                return self.begin_copy();
            }
            (Message::CopyDone, State::Copy) => self.state = State::BetweenCopies,
            (Message::ReadyForQuery(_), State::Completing) => {
                self.state = State::Finished;
                self.replication.connection.finish();
                return Ok(Some(BackupEvent::Done));
            }
            _ => return Err(self.protocol_error("a message that does not belong into a base backup")),
        }
        Ok(None)
    }

    fn take_row(&mut self, row: &Row) -> Option<()> {
        match self.state {
            State::Start => self.start = Some(read_position(row)?),
            State::Tablespaces => self.take_tablespace(row)?,
            State::BetweenCopies => self.end = Some(read_position(row)?),
            _ => return None,
        }
        Some(())
    }

    /// The data directory is the row without an OID.
    fn take_tablespace(&mut self, row: &Row) -> Option<()> {
        let size_kb = row.text(2).map(str::parse).transpose().ok()?;
        let oid = row.text(0).map(str::parse).transpose().ok()?;
        self.archives.push_back(oid);
        match oid {
            Some(oid) => self.tablespaces.push(Tablespace { oid, location: row.text(1)?.to_owned(), size_kb }),
            None => self.base_size_kb = size_kb,
        }
        Some(())
    }

    fn complete(&mut self) -> Result<Option<BackupEvent>> {
        let (state, event) = match (self.state, self.start, self.end) {
            (State::Start, Some(_), _) => (State::Tablespaces, None),
            (State::Tablespaces, Some((lsn, timeline)), _) => {
                let tablespaces = std::mem::take(&mut self.tablespaces);
                let base_size_kb = self.base_size_kb;
                (State::BetweenCopies, Some(BackupEvent::Start { lsn, timeline, base_size_kb, tablespaces }))
            }
            (State::BetweenCopies, _, Some((lsn, timeline))) => {
                self.require_everything()?;
                (State::Completing, Some(BackupEvent::End { lsn, timeline }))
            }
            (State::Completing, ..) => (State::Completing, None),
            _ => return Err(self.protocol_error("a part of the answer is missing")),
        };
        self.state = state;
        Ok(event)
    }

    /// Before 15 each copy is one archive, in the order of the rows, and the one after the last is the manifest.
    fn begin_copy(&mut self) -> Result<Option<BackupEvent>> {
        if self.content.is_typed() {
            return Ok(None);
        }
        match self.archives.pop_front() {
            Some(tablespace) => Ok(Some(archive(tablespace))),
            None => self.content.begin_manifest().map(Some).map_err(|detail| self.protocol_error(detail)),
        }
    }

    /// Before the end: every archive that was announced has come, and the manifest if one was asked for.
    fn require_everything(&self) -> Result<()> {
        match self.archives.front() {
            Some(missing) => Err(self.protocol_error(format!(
                "no archive for {}",
                missing.map_or("the data directory".into(), |oid| format!("tablespace {oid}"))
            ))),
            None if self.content.in_manifest() != self.options.manifest.is_some() => {
                Err(self.protocol_error("a manifest that was not asked for, or none that was"))
            }
            None => Ok(()),
        }
    }
}

fn syntax(major: u32) -> BaseBackupSyntax {
    let known = KNOWN.iter().find(|version| version.major == major);
    known.map_or(BaseBackupSyntax::Parenthesised, |version| version.base_backup)
}

fn archive(tablespace: Option<u32>) -> BackupEvent {
    let name = tablespace.map_or_else(|| "base.tar".into(), |oid| format!("{oid}.tar"));
    BackupEvent::Archive { name, tablespace }
}

fn read_position(row: &Row) -> Option<(Lsn, TimelineId)> {
    Some((row.text(0)?.parse().ok()?, TimelineId(row.text(1)?.parse().ok()?)))
}

#[cfg(test)]
mod tests;
