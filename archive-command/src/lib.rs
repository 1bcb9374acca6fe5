//! The protocol between the two shims and Holdfast, and the exit codes by which PostgreSQL hears the outcome.
//!
//! A shim connects to a Unix socket, sends one request, and reads one verdict. Both are a frame: the four bytes `HFSH`, the version,
//! a kind, the length of the rest as four bytes (little-endian), and the rest. A request's kind is the operation, its rest a list of
//! byte strings, each behind its length. A verdict's kind is the exit code, its rest a text for the server's log.
//!
//! Invariants: std only. A frame that is not understood is an error, never a success.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// The exit codes of the shims, of `wal push` and of `wal fetch`.
///
/// PostgreSQL takes 1 to 125 from `restore_command` as "there is no such file", which ends recovery, and anything above as a failure
/// that stops it (`RestoreArchivedFile` in `access/transam/xlogarchive.c`). From `archive_command` it takes anything above 125 as a
/// reason to restart the archiver (`pgarch_archiveXlog` in `postmaster/pgarch.c`), so plain failures are 1 there.
pub mod exit {
    /// The file is stored, durably; or delivered, whole and checked.
    pub const DONE: u8 = 0;
    /// `archive_command`: the file is not stored, and PostgreSQL asks again.
    pub const NOT_STORED: u8 = 1;
    /// `restore_command`: it is proven that there is no such file and no WAL behind that place.
    pub const ABSENT: u8 = 1;
    /// `restore_command`: anything that has no code of its own.
    pub const FAILED: u8 = 126;
    /// `restore_command`: WAL is missing, and there is more behind it.
    pub const HOLE: u8 = 200;
    /// `restore_command`: what is stored is damaged, or is not what its name says.
    pub const DAMAGED: u8 = 201;
    /// `restore_command`: the store cannot be reached, or refuses.
    pub const STORE: u8 = 202;
    /// `restore_command`: what is stored is encrypted, and the right key is not at hand.
    pub const LOCKED: u8 = 203;
    /// Only between shim and server: the server serves something else; ask without it.
    pub const NOT_MINE: u8 = 255;
}

/// The version of the protocol.
pub const VERSION: u8 = 1;
/// The length of what stands before the rest of a frame.
pub const HEADER_BYTES: usize = 10;
/// No frame's rest is longer.
pub const REST_BYTES_MAX: usize = 64 << 10;

const MAGIC: [u8; 4] = *b"HFSH";

/// What a shim asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Store a file. Fields: resource (may be empty), absolute path.
    Push,
    /// Deliver a file. Fields: resource, lineage, configuration (each may be empty), name, absolute path.
    Fetch,
}

/// The beginning of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The operation or the exit code.
    pub kind: u8,
    /// The length of the rest, in bytes.
    pub rest_bytes: usize,
}

/// A shim's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What is asked for.
    pub operation: Operation,
    /// Its arguments.
    pub fields: Vec<Vec<u8>>,
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What the shim exits with.
    pub code: u8,
    /// What it says on standard error; nothing where it is empty.
    pub message: String,
}

impl Operation {
    const fn kind(self) -> u8 {
        match self {
            Self::Push => 1,
            Self::Fetch => 2,
        }
    }

    fn of(kind: u8) -> io::Result<Self> {
        match kind {
            1 => Ok(Self::Push),
            2 => Ok(Self::Fetch),
            _ => Err(malformed("an operation that this version does not know")),
        }
    }
}

impl Header {
    /// Reads the beginning of a frame.
    ///
    /// # Errors
    /// When it is no frame, one of another version, or one that is too long.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> io::Result<Self> {
        let [m0, m1, m2, m3, version, kind, l0, l1, l2, l3] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(malformed("no message of a Holdfast shim"));
        }
        if version != VERSION {
            return Err(malformed("another version of the protocol: install shims and holdfast of one version"));
        }
        let rest_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if rest_bytes > REST_BYTES_MAX {
            return Err(malformed("a message that is too long"));
        }
        Ok(Self { kind, rest_bytes })
    }
}

impl Request {
    /// The request as a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        for field in &self.fields {
            rest.extend(length(field.len()));
            rest.extend(field);
        }
        frame(self.operation.kind(), &rest)
    }

    /// Reads a request whose frame has this header and rest.
    ///
    /// # Errors
    /// When it is not one that this version knows.
    pub fn decode(header: Header, rest: &[u8]) -> io::Result<Self> {
        let mut fields = Vec::new();
        let mut left = rest;
        while let Some((prefix, after)) = left.split_first_chunk::<4>() {
            let end = u32::from_le_bytes(*prefix) as usize;
            let field = after.get(..end).ok_or_else(|| malformed("a message that ends early"))?;
            fields.push(field.to_vec());
            left = &after[end..];
        }
        if !left.is_empty() {
            return Err(malformed("a message that ends early"));
        }
        Ok(Self { operation: Operation::of(header.kind)?, fields })
    }
}

impl Verdict {
    /// The verdict as a frame. A message that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let end = self.message.floor_char_boundary(REST_BYTES_MAX.min(self.message.len()));
        frame(self.code, &self.message.as_bytes()[..end])
    }

    /// Reads a verdict whose frame has this header and rest.
    #[must_use]
    pub fn decode(header: Header, rest: &[u8]) -> Self {
        Self { code: header.kind, message: String::from_utf8_lossy(rest).into_owned() }
    }
}

/// Sends a request over a connection and waits for the verdict.
///
/// # Errors
/// When the other side ends, or sends what is no verdict: then nothing is known about the outcome.
pub fn ask(connection: &mut (impl Read + Write), request: &Request) -> io::Result<Verdict> {
    connection.write_all(&request.encode())?;
    let mut header = [0; HEADER_BYTES];
    connection.read_exact(&mut header)?;
    let header = Header::parse(&header)?;
    let mut rest = vec![0; header.rest_bytes];
    connection.read_exact(&mut rest)?;
    Ok(Verdict::decode(header, &rest))
}

/// The program `holdfast`: beside this one, or else wherever `PATH` leads.
#[must_use]
pub fn holdfast() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("holdfast"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("holdfast"))
}

/// The value of an option given as `--name value` or `--name=value`; `None` if `argument` is not this option.
///
/// # Errors
/// When the value is missing.
pub fn option_value(
    name: &str,
    argument: &OsString,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<Option<OsString>, String> {
    if argument == name {
        return rest.next().map(Some).ok_or_else(|| format!("{name} needs a value"));
    }
    let inline = argument.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('='));
    Ok(inline.map(OsString::from))
}

fn frame(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = MAGIC.to_vec();
    frame.extend([VERSION, kind]);
    frame.extend(length(rest.len()));
    frame.extend(rest);
    frame
}

/// A length that is too large for the frame becomes one that no reader accepts.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(frame: &[u8]) -> io::Result<Request> {
        let (header, rest) = frame.split_first_chunk().expect("a frame has a header");
        Request::decode(Header::parse(header)?, rest)
    }

    #[test]
    fn a_request_and_a_verdict_arrive_as_they_were_sent() {
        let request = Request { operation: Operation::Fetch, fields: vec![b"a b".to_vec(), vec![], vec![0xFF, 0]] };
        assert_eq!(decoded(&request.encode()).expect("a good request"), request);
        let verdict = Verdict { code: exit::HOLE, message: "a hole".to_owned() };
        let frame = verdict.encode();
        let (header, rest) = frame.split_first_chunk().expect("a frame has a header");
        assert_eq!(Verdict::decode(Header::parse(header).expect("a good header"), rest), verdict);
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        let good = Request { operation: Operation::Push, fields: vec![b"path".to_vec()] }.encode();
        for cut in HEADER_BYTES + 1..good.len() {
            assert!(decoded(&good[..cut]).is_err(), "cut at {cut}");
        }
        for (at, byte) in [(0, b'X'), (4, 2), (5, 9), (8, 1)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(decoded(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_option_has_its_value_behind_it_or_behind_an_equals_sign() {
        let value =
            |argument: &str, next: &[&str]| option_value("--config", &argument.into(), &mut next.iter().map(OsString::from));
        assert_eq!(value("--config", &["a"]), Ok(Some("a".into())));
        assert_eq!(value("--config=a b", &[]), Ok(Some("a b".into())));
        assert_eq!(value("--configure", &["a"]), Ok(None));
        assert!(value("--config", &[]).is_err());
    }

    #[test]
    fn a_long_message_is_cut_and_still_arrives() {
        let frame = Verdict { code: 1, message: "é".repeat(REST_BYTES_MAX) }.encode();
        assert!(frame.len() <= HEADER_BYTES + REST_BYTES_MAX);
    }
}
