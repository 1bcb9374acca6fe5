//! Where a server refuses replication, as hosted ones do: each key is asked for (`SCAN`, `DUMP`), and the file put together here.
//!
//! The keys are then of different moments. A few are under way at once, so that little waits in the server's memory; a value is
//! passed on while it comes. A key that `SCAN` names twice is taken once, since a server does not load a file that has it twice.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::backup::Intake;
use super::connection::Connection;
use super::error::{Error, Result};
use super::message::{self, Opening, Reply};
use super::rdb::{Assembler, DumpFooter, FOOTER_BYTES, crc};
use super::server::Facts;
use crate::sys::clock;

/// How many keys are asked for at once.
const KEYS_AT_ONCE: usize = 16;
/// So many keys of a database can be told from one another in bounded memory.
const KEYS_MAX: usize = 2_000_000;
/// The version of a file without any value: every server since Redis 5 reads it.
const EMPTY_VERSION: u16 = 9;
/// Values up to this size are checked before they are passed on, in bytes.
const SMALL_BYTES_MAX: u64 = 8 << 20;
const LINE_END_BYTES: usize = 2;
/// How much of a larger value is passed on at once.
const PIECE_BYTES: usize = 256 << 10;

/// A server that is asked for each key.
pub(super) struct Scan<'a> {
    connection: Connection,
    facts: &'a Facts,
    /// Known from the first value.
    assembler: Option<(Assembler, u16)>,
    /// Whether the server says when a key expires; before version 7 it says only how soon.
    tells_times: bool,
    /// What is left out, in sentences.
    pub(super) remarks: Vec<String>,
}

/// When a key expires, or whether it is there at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Gone,
    Never,
    At(u64),
}

/// A key that was asked for.
struct Named<'a> {
    name: &'a [u8],
    expiry: Expiry,
}

/// A database, and whether the file has keys of it.
struct Database {
    number: u64,
    begun: bool,
}

impl<'a> Scan<'a> {
    pub(super) const fn new(connection: Connection, facts: &'a Facts) -> Self {
        Self { connection, facts, assembler: None, tells_times: true, remarks: Vec::new() }
    }

    /// Takes everything that the server has.
    pub(super) async fn run(&mut self, intake: &mut Intake<'_>) -> Result<()> {
        self.functions().await?;
        for database in self.facts.databases().into_keys() {
            self.connection.command(&[b"SELECT", database.to_string().as_bytes()]).await?;
            self.database(database, intake).await?;
        }
        let (assembler, _) = self.assembler.take().unwrap_or_else(|| (self.begin(EMPTY_VERSION), EMPTY_VERSION));
        intake.take(assembler.finish()).await.map(drop)
    }

    fn begin(&self, version: u16) -> Assembler {
        let mut assembler = Assembler::begin(version);
        let (kind, server_version) = self.facts.version();
        assembler.remark(&format!("{kind}-ver"), &server_version);
        assembler
    }

    /// The file, whose version the first value tells: all others have the same.
    fn assembler(&mut self, footer: [u8; FOOTER_BYTES]) -> Result<&mut Assembler> {
        let version = u16::from_le_bytes([footer[0], footer[1]]);
        if self.assembler.is_none() {
            self.assembler = Some((self.begin(version), version));
        }
        match &mut self.assembler {
            Some((assembler, known)) if *known == version => Ok(assembler),
            _ => Err(self.connection.unexpected("its values are of different versions of the RDB format")),
        }
    }

    /// The libraries of functions, which stand before the keys.
    async fn functions(&mut self) -> Result<()> {
        let dumped = match self.connection.command(&[b"FUNCTION", b"DUMP"]).await {
            Ok(Reply::Bulk(Some(dumped))) => dumped,
            Ok(_) => return Ok(()),
            // A server that does not know the command has no functions.
            Err(Error::Refused { reply, .. }) if reply.starts_with("ERR") => return Ok(()),
            Err(error) if error.is_refusal_of_command() => {
                self.remarks.push("functions are left out: the user may not FUNCTION DUMP".to_owned());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some((libraries, footer)) = dumped.split_last_chunk::<FOOTER_BYTES>() else {
            return Err(self.connection.unexpected("what it answers to FUNCTION DUMP is too short"));
        };
        self.verify_footer(&dumped)?;
        self.assembler(*footer)?.raw(libraries);
        Ok(())
    }

    fn verify_footer(&self, dumped: &[u8]) -> Result<()> {
        let right = dumped.split_last_chunk::<8>().is_some_and(|(content, sum)| crc(content) == u64::from_le_bytes(*sum));
        if right { Ok(()) } else { Err(self.connection.unexpected("the checksum of a value is wrong")) }
    }

    async fn database(&mut self, number: u64, intake: &mut Intake<'_>) -> Result<()> {
        let (mut cursor, mut seen, hasher) = (b"0".to_vec(), HashSet::new(), RandomState::new());
        let mut database = Database { number, begun: false };
        loop {
            let (next, mut keys) = self.names(&cursor).await?;
            keys.retain(|key| seen.insert(hasher.hash_one(key)));
            if seen.len() > KEYS_MAX {
                let why = "keys, which cannot be told apart in bounded memory; grant +psync +replconf";
                let detail = format!("it refuses PSYNC, and database {number} has more than {KEYS_MAX} {why}");
                return Err(self.connection.unexpected(detail));
            }
            for some in keys.chunks(KEYS_AT_ONCE) {
                self.values(some, &mut database, intake).await?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Some names of keys, and where to go on.
    async fn names(&mut self, cursor: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
        let reply = self.connection.command(&[b"SCAN", cursor, b"COUNT", b"200"]).await?;
        let Reply::Array(parts) = reply else {
            return Err(self.connection.unexpected("it does not answer SCAN as a server does"));
        };
        match <[Reply; 2]>::try_from(parts) {
            Ok([Reply::Bulk(Some(next)), Reply::Array(names)]) => {
                let bytes = |name| if let Reply::Bulk(name) = name { name } else { None };
                Ok((next, names.into_iter().filter_map(bytes).collect()))
            }
            _ => Err(self.connection.unexpected("it does not answer SCAN as a server does")),
        }
    }

    /// Asks for some keys at once, and takes them as they come.
    async fn values(&mut self, keys: &[Vec<u8>], database: &mut Database, intake: &mut Intake<'_>) -> Result<()> {
        let expiries = self.expiries(keys).await?;
        let mut sent = Vec::new();
        for key in keys {
            message::command(&[b"DUMP", key], &mut sent);
        }
        self.connection.send(&sent).await?;
        let mut again = Vec::new();
        for (name, expiry) in keys.iter().zip(expiries) {
            match self.connection.opening().await? {
                // Gone since.
                Opening::Whole(Reply::Bulk(None)) => {}
                Opening::Whole(Reply::Error(reply)) => return Err(self.connection.refused(&[b"DUMP"], reply)),
                Opening::Bulk(bytes) if bytes > SMALL_BYTES_MAX && self.assembler.is_none() => {
                    self.learn_version(bytes).await?;
                    again.push(name.clone());
                }
                Opening::Bulk(bytes) => self.value(&Named { name, expiry }, bytes, database, intake).await?,
                _ => return Err(self.connection.unexpected("it does not answer DUMP as a server does")),
            }
        }
        match again.is_empty() {
            true => Ok(()),
            false => Box::pin(self.values(&again, database, intake)).await,
        }
    }

    /// Begins the file with the version of a value that is too large to be kept until its end, where that stands. It has to be asked for again.
    async fn learn_version(&mut self, bytes: u64) -> Result<()> {
        let mut footer = DumpFooter::default();
        let mut left = bytes - FOOTER_BYTES as u64;
        while left > 0 {
            let piece = self.connection.some(usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES)).await?;
            left -= piece.len() as u64;
            footer.add(&piece);
        }
        let stored = self.connection.exact(FOOTER_BYTES + LINE_END_BYTES).await?;
        let version = u16::from_le_bytes([stored[0], stored[1]]);
        if stored[..FOOTER_BYTES] != footer.finish(version) {
            return Err(self.connection.unexpected("the checksum of a value is wrong"));
        }
        self.assembler = Some((self.begin(version), version));
        Ok(())
    }

    async fn expiries(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Expiry>> {
        let command: &[u8] = if self.tells_times { b"PEXPIRETIME" } else { b"PTTL" };
        let mut sent = Vec::new();
        for key in keys {
            message::command(&[command, key], &mut sent);
        }
        let now = u64::try_from(clock::now().as_millisecond()).unwrap_or(0);
        self.connection.send(&sent).await?;
        let (mut expiries, mut refused) = (Vec::new(), None);
        for _ in keys {
            match self.connection.reply().await? {
                Reply::Integer(-2) => expiries.push(Expiry::Gone),
                Reply::Integer(at) => match u64::try_from(at) {
                    Err(_) => expiries.push(Expiry::Never),
                    Ok(at) => expiries.push(Expiry::At(if self.tells_times { at } else { now + at })),
                },
                Reply::Error(reply) => refused = Some(self.connection.refused(&[command], reply)),
                _ => return Err(self.connection.unexpected("it does not say when a key expires")),
            }
        }
        match refused {
            None => Ok(expiries),
            Some(error) if self.tells_times && error.is_refusal_of_command() => {
                self.tells_times = false;
                Box::pin(self.expiries(keys)).await
            }
            Some(error) => Err(error),
        }
    }

    /// Takes a value of so many bytes: its type, what it is, and its footer.
    async fn value(&mut self, key: &Named<'_>, bytes: u64, database: &mut Database, intake: &mut Intake<'_>) -> Result<()> {
        if bytes > SMALL_BYTES_MAX {
            return self.large_value(key, bytes, database, intake).await;
        }
        let Reply::Bulk(Some(dumped)) = self.connection.bulk(bytes).await? else { return Ok(()) };
        self.verify_footer(&dumped)?;
        let Some((value, footer)) = dumped.split_last_chunk::<FOOTER_BYTES>() else { return Ok(()) };
        let Some((kind, value)) = value.split_first() else { return Err(self.connection.unexpected("a value has no type")) };
        let assembler = self.assembler(*footer)?;
        if begin_key(assembler, key, *kind, database) {
            assembler.raw(value);
        }
        pass_on(assembler, intake).await
    }

    /// Passes a value on while it comes. The version stands at its end: it has to be known before.
    async fn large_value(&mut self, key: &Named<'_>, bytes: u64, database: &mut Database, intake: &mut Intake<'_>) -> Result<()> {
        let Some((assembler, version)) = &mut self.assembler else {
            return Err(self.connection.unexpected("the version of its values is not known"));
        };
        let kind = self.connection.exact(1).await?;
        let mut footer = DumpFooter::default();
        footer.add(&kind);
        let wanted = begin_key(assembler, key, kind[0], database);
        let mut left = bytes - 1 - FOOTER_BYTES as u64;
        while left > 0 {
            let piece = self.connection.some(usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES)).await?;
            left -= piece.len() as u64;
            footer.add(&piece);
            if wanted {
                assembler.raw(&piece);
                pass_on(assembler, intake).await?;
            }
        }
        let stored = self.connection.exact(FOOTER_BYTES + LINE_END_BYTES).await?;
        if stored[..FOOTER_BYTES] != footer.finish(*version) {
            return Err(self.connection.unexpected("the checksum or the version of a value is wrong"));
        }
        Ok(())
    }
}

/// Writes what stands before a value; false where the key is left out, because it came to be after its expiry was asked for.
fn begin_key(assembler: &mut Assembler, key: &Named<'_>, kind: u8, database: &mut Database) -> bool {
    let expires_at_ms = match key.expiry {
        Expiry::Gone => return false,
        Expiry::Never => None,
        Expiry::At(at) => Some(at),
    };
    if !std::mem::replace(&mut database.begun, true) {
        assembler.database(database.number);
    }
    assembler.key(key.name, kind, expires_at_ms);
    true
}

async fn pass_on(assembler: &mut Assembler, intake: &mut Intake<'_>) -> Result<()> {
    match assembler.piece() {
        Some(piece) => intake.take(piece).await.map(drop),
        None => Ok(()),
    }
}
