//! The transfer that a replica begins with: `PSYNC ? -1`, and the RDB file in answer.
//!
//! The server makes the file first (with `repl-diskless-sync` it waits for further replicas before), and sends line ends meanwhile. The file then comes with its
//! length in front, or, where no disk is used, between two marks of forty bytes that were not known before.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::connection::Connection;
use super::error::{Error, Result};
use super::message::{self, Opening, Reply};
use crate::repository::RedisPosition;
use crate::sys::clock::Deadline;

/// A server sends a line end every second while it makes the file, and is taken for dead when nothing comes for so long.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// How long it may take until the file begins to come.
const START_LIMIT: Duration = Duration::from_hours(6);
/// How long the mark of the end is.
const MARK_BYTES: usize = 40;
/// What is handed on at once.
const PIECE_BYTES: usize = 1 << 20;

/// What a server is told before. A server that does not know one of them refuses it, which does no harm.
const OPTIONS: [[&str; 2]; 3] = [
    // Marks are understood.
    ["capa", "eof"],
    // Nothing but the file is wanted: no writes are queued for us meanwhile.
    ["rdb-only", "1"],
    // Valkey writes an older form for whoever is not as new as itself, and breaks off where that cannot hold what it has.
    ["version", "255.255.255"],
];

/// A transfer that has begun.
pub(super) struct Transfer {
    connection: Connection,
    /// The state that the file is of.
    position: RedisPosition,
    end: End,
    received: u64,
}

/// How the end shows.
enum End {
    /// So many bytes are still to come.
    After(u64),
    /// These bytes follow the file. What might be their beginning is held back.
    Mark { mark: Bytes, held: BytesMut },
    /// It has come.
    Passed,
}

impl Transfer {
    /// Asks for the file, and waits until it begins to come.
    pub(super) async fn begin(mut connection: Connection) -> Result<Self> {
        for [name, value] in OPTIONS {
            match connection.command(&[b"REPLCONF", name.as_bytes(), value.as_bytes()]).await {
                Ok(_) => {}
                Err(Error::Refused { reply, .. }) if reply.starts_with("ERR") && !reply.contains("unknown command") => {}
                Err(error) => return Err(error),
            }
        }
        let position = ask(&mut connection).await?;
        let end = header(&mut connection).await?;
        Ok(Self { connection, position, end, received: 0 })
    }

    /// How many bytes the file has, where the server has said so.
    pub(super) const fn length(&self) -> Option<u64> {
        match self.end {
            End::After(bytes) => Some(bytes + self.received),
            _ => None,
        }
    }

    /// The next piece of the file; none at its end.
    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            let left = match &self.end {
                End::Passed | End::After(0) => return Ok(None),
                End::After(left) => usize::try_from(*left).unwrap_or(usize::MAX),
                End::Mark { .. } => usize::MAX,
            };
            let piece = self.connection.piece(PIECE_BYTES.min(left), "waiting for the rest of the file", SILENCE_LIMIT).await;
            let piece = piece.map_err(|error| self.cut(error))?;
            let piece = self.end.take(piece);
            self.received += piece.len() as u64;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Ends the connection; whose it was, and the state that the file is of.
    pub(super) fn end(self) -> (String, RedisPosition) {
        (self.connection.server, self.position)
    }

    fn cut(&self, error: Error) -> Error {
        let detail = match error {
            Error::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        Error::Cut { server: self.connection.server.clone(), bytes: self.received, detail }
    }
}

impl End {
    /// Takes what has come; what is certain to belong to the file is returned.
    fn take(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Passed => Bytes::new(),
            Self::After(left) => {
                *left -= piece.len() as u64;
                piece
            }
            Self::Mark { mark, held } => {
                held.extend_from_slice(&piece);
                let certain = held.len().saturating_sub(MARK_BYTES);
                let content = held.split_to(certain).freeze();
                if held == mark {
                    *self = Self::Passed;
                }
                content
            }
        }
    }
}

/// Sends `PSYNC ? -1`.
async fn ask(connection: &mut Connection) -> Result<RedisPosition> {
    let command: [&[u8]; 3] = [b"PSYNC", b"?", b"-1"];
    connection.send_command(&command).await?;
    // Before version 6.2 the line ends come even before the answer.
    let line = nonempty_line(connection).await?;
    let reply = match message::opening(&line) {
        Some(Opening::Whole(Reply::Simple(reply))) => reply,
        Some(Opening::Whole(Reply::Error(reply))) => return Err(connection.refused(&command, reply)),
        _ => return Err(connection.unexpected("it does not answer PSYNC as a server does")),
    };
    let mut words = reply.split(' ');
    let (word, id, offset) = (words.next(), words.next(), words.next().and_then(|offset| offset.parse().ok()));
    match (word, id, offset) {
        (Some("FULLRESYNC"), Some(id), Some(offset)) => Ok(RedisPosition { replication_id: id.to_owned(), offset }),
        _ => Err(connection.unexpected(format!("it answers PSYNC with '{reply}'"))),
    }
}

/// The next line, past the line ends that say that the server lives.
async fn nonempty_line(connection: &mut Connection) -> Result<Bytes> {
    let deadline = Deadline::after(START_LIMIT);
    loop {
        let line = connection.line("waiting for the file", SILENCE_LIMIT).await?;
        if !line.is_empty() {
            return Ok(line);
        }
        if deadline.has_passed() {
            return Err(connection.silent("the server made the file", START_LIMIT));
        }
    }
}

/// Waits for the line before the file.
async fn header(connection: &mut Connection) -> Result<End> {
    let line = nonempty_line(connection).await?;
    if let Some(reply) = line.strip_prefix(b"-") {
        return Err(connection.refused(&[b"PSYNC"], String::from_utf8_lossy(reply).into_owned()));
    }
    if let Some(mark) = line.strip_prefix(b"$EOF:") {
        if mark.len() != MARK_BYTES {
            return Err(connection.unexpected(format!("the mark of the file's end has {} bytes", mark.len())));
        }
        let mark = Bytes::copy_from_slice(mark);
        return Ok(End::Mark { mark, held: BytesMut::new() });
    }
    let bytes = line.strip_prefix(b"$").and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    bytes.map(End::After).ok_or_else(|| connection.unexpected("it sends no length and no mark before the file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that comes out when it is sent in pieces of that size.
    fn taken(sent: &[u8], mark: &'static [u8], piece_bytes: usize) -> (Vec<u8>, bool) {
        let mut end = End::Mark { mark: Bytes::from_static(mark), held: BytesMut::new() };
        let pieces = sent.chunks(piece_bytes).map(|piece| end.take(Bytes::copy_from_slice(piece)));
        let content = pieces.collect::<Vec<_>>().concat();
        (content, matches!(end, End::Passed))
    }

    #[test]
    fn the_mark_of_the_end_is_found_however_the_file_is_cut() {
        let mark: &[u8; MARK_BYTES] = b"0123456789abcdef0123456789abcdef01234567";
        let file = [b"REDIS0011", &mark[..30], &[7; 100], &mark[1..]].concat();
        let sent = [&file[..], mark].concat();
        for piece_bytes in 1..=sent.len() {
            assert_eq!(taken(&sent, mark, piece_bytes), (file.clone(), true), "{piece_bytes}");
        }
        assert!(!taken(&sent[..sent.len() - 1], mark, 7).1, "a file without its mark is not whole");
    }
}
