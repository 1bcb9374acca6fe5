//! From a file to the commands that restore what it holds.

use std::io::Read;

use super::survey::{Large, SMALL_BYTES_MAX, Survey, now_ms};
use super::{Tally, unnamed};
use crate::resources::redis::message::{begin_command, begin_part, command, end_part};
use crate::resources::redis::rdb::{DumpFooter, Error, FOOTER_BYTES, Item, Key, Reader, Result};

/// How much is handed on at once.
const BATCH_BYTES: usize = 512 << 10;
/// So much of a key's name stands in messages.
const SHOWN_CHARS: usize = 60;
/// What stands before a library in a file and in what `FUNCTION RESTORE` takes.
const LIBRARY: u8 = 0xF5;
const HOUR_MS: u64 = 3_600_000;

/// Bytes to send, and the commands that end in them, each by what it is about.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) commands: Vec<String>,
}

/// Makes commands of a file.
struct Encoder<'a> {
    batch: Batch,
    hand_on: &'a mut dyn FnMut(Batch) -> bool,
    database: Option<u64>,
    version: u16,
    tally: Tally,
}

/// Reads a file and hands its commands on; `hand_on` says whether they are still wanted.
pub(super) fn encode(source: impl Read, survey: &Survey, hand_on: &mut dyn FnMut(Batch) -> bool) -> Result<Tally> {
    let mut reader = Reader::begin(source)?;
    let version = reader.header.version;
    let mut encoder = Encoder { batch: Batch::default(), hand_on, database: None, version, tally: Tally::default() };
    let mut number = 0;
    loop {
        match reader.next_item()? {
            Item::Key(key) => {
                encoder.key(&mut reader, &key, survey.large.get(&number).copied())?;
                number += 1;
            }
            Item::Library => encoder.library(&mut reader)?,
            Item::Remark { .. } => {}
            Item::End { .. } => {
                encoder.flush()?;
                return Ok(encoder.tally);
            }
        }
    }
}

impl Encoder<'_> {
    fn key<R: Read>(&mut self, reader: &mut Reader<R>, key: &Key, large: Option<Large>) -> Result<()> {
        let now = now_ms();
        if key.expires_at_ms.is_some_and(|at| at <= now) {
            self.tally.expired += 1;
            return reader.value(key.kind, &mut |_| Ok(())).map(drop);
        }
        if self.database != Some(key.database) {
            self.database = Some(key.database);
            command(&[b"SELECT", key.database.to_string().as_bytes()], &mut self.batch.bytes);
            self.batch.commands.push(format!("SELECT {}", key.database));
        }
        let name = key.name.as_deref().ok_or_else(|| unnamed(reader.position()))?;
        self.tally.keys += 1;
        self.tally.short_lived += u64::from(key.expires_at_ms.is_some_and(|at| at <= now + HOUR_MS));
        self.begin_restore(key, name);
        match large {
            Some(large) => self.large_value(reader, key.kind, large)?,
            None => self.small_value(reader, key.kind)?,
        }
        self.end_restore(key);
        let shown: String = name.escape_ascii().to_string().chars().take(SHOWN_CHARS).collect();
        self.batch.commands.push(format!("RESTORE of key '{shown}' of database {}", key.database));
        if self.batch.bytes.len() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn begin_restore(&mut self, key: &Key, name: &[u8]) {
        let bytes = &mut self.batch.bytes;
        let options = 2 * (usize::from(key.idle_s.is_some()) + usize::from(key.frequency.is_some()));
        begin_command(5 + options, bytes);
        for part in [b"RESTORE", name, key.expires_at_ms.unwrap_or(0).to_string().as_bytes()] {
            begin_part(part.len() as u64, bytes);
            bytes.extend_from_slice(part);
            end_part(bytes);
        }
    }

    fn end_restore(&mut self, key: &Key) {
        let mut options = vec!["ABSTTL".to_owned()];
        options.extend(key.idle_s.into_iter().flat_map(|idle| ["IDLETIME".to_owned(), idle.to_string()]));
        options.extend(key.frequency.into_iter().flat_map(|often| ["FREQ".to_owned(), often.to_string()]));
        for option in options {
            begin_part(option.len() as u64, &mut self.batch.bytes);
            self.batch.bytes.extend_from_slice(option.as_bytes());
            end_part(&mut self.batch.bytes);
        }
    }

    fn small_value<R: Read>(&mut self, reader: &mut Reader<R>, kind: u8) -> Result<()> {
        let mut value = vec![kind];
        reader.value(kind, &mut |bytes| keep(&mut value, bytes))?;
        self.payload(&value);
        Ok(())
    }

    /// Hands on what has come of a value before the rest has.
    fn large_value<R: Read>(&mut self, reader: &mut Reader<R>, kind: u8, large: Large) -> Result<()> {
        begin_part(large.bytes + FOOTER_BYTES as u64, &mut self.batch.bytes);
        self.batch.bytes.push(kind);
        reader.value(kind, &mut |bytes| {
            self.batch.bytes.extend_from_slice(bytes);
            if self.batch.bytes.len() >= BATCH_BYTES { self.flush() } else { Ok(()) }
        })?;
        self.batch.bytes.extend_from_slice(&large.footer);
        end_part(&mut self.batch.bytes);
        Ok(())
    }

    fn library<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<()> {
        let mut library = vec![LIBRARY];
        reader.library(&mut |bytes| keep(&mut library, bytes))?;
        begin_command(3, &mut self.batch.bytes);
        for part in [&b"FUNCTION"[..], b"RESTORE"] {
            begin_part(part.len() as u64, &mut self.batch.bytes);
            self.batch.bytes.extend_from_slice(part);
            end_part(&mut self.batch.bytes);
        }
        self.payload(&library);
        self.batch.commands.push("FUNCTION RESTORE".to_owned());
        self.tally.libraries += 1;
        self.flush()
    }

    /// A value with what follows it.
    fn payload(&mut self, value: &[u8]) {
        let mut footer = DumpFooter::default();
        footer.add(value);
        begin_part((value.len() + FOOTER_BYTES) as u64, &mut self.batch.bytes);
        self.batch.bytes.extend_from_slice(value);
        self.batch.bytes.extend_from_slice(&footer.finish(self.version));
        end_part(&mut self.batch.bytes);
    }

    fn flush(&mut self) -> Result<()> {
        if (self.hand_on)(std::mem::take(&mut self.batch)) { Ok(()) } else { Err(Error::Unwanted) }
    }
}

/// Keeps what fits into memory: the survey has said that it does.
fn keep(value: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    if (value.len() + bytes.len()) as u64 > SMALL_BYTES_MAX {
        return Err(Error::Malformed { at: 0, detail: format!("a library or a value has more than {SMALL_BYTES_MAX} bytes") });
    }
    value.extend_from_slice(bytes);
    Ok(())
}
