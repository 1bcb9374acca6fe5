//! Reads the tar archives that PostgreSQL sends, as they arrive.
//!
//! PostgreSQL writes plain POSIX ustar headers (`tarCreateHeader` in src/port/tar.c): names of at most 99 bytes and no prefix, sizes
//! octal or in base 256, types file, directory and symbolic link. Anything else is refused.

use bytes::{Buf, Bytes};

use crate::repository::{EntryKind, EntryPath};

/// The size of a block.
pub const BLOCK: usize = 512;
/// The end of an archive: two blocks of zeros.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// As it was sent.
    pub raw: [u8; BLOCK],
    /// The name, without the slash at the end of a directory's.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Its permissions.
    pub mode: u32,
    /// When it was changed, in seconds since 1970.
    pub modified: u64,
    /// How many bytes of content follow.
    pub size: u64,
}

/// What an archive consists of.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// An entry begins.
    Entry(Box<Header>),
    /// The next bytes of its content; never empty.
    Content(Bytes),
    /// All of its content was read. Comes for every entry.
    EntryEnd,
}

/// An archive on its way in.
#[derive(Debug)]
pub struct TarReader {
    state: State,
    block: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Content { rest: u64, padding: usize },
    Padding { rest: usize },
    Trailer,
}

impl TarReader {
    /// Begins an archive.
    pub const fn new() -> Self {
        Self { state: State::Header, block: Vec::new() }
    }

    /// Takes the next piece out of `input`; `None` when all of it is used up.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, String> {
        while !input.is_empty() || self.state == (State::Content { rest: 0, padding: 0 }) || self.is_empty_content() {
            match self.state {
                State::Header => {
                    let missing = (BLOCK - self.block.len()).min(input.len());
                    self.block.extend_from_slice(&input.split_to(missing));
                    if self.block.len() == BLOCK
                        && let Some(header) = self.take_header()?
                    {
                        return Ok(Some(Piece::Entry(Box::new(header))));
                    }
                }
                State::Content { rest: 0, padding } => {
                    self.state = State::Padding { rest: padding };
                    return Ok(Some(Piece::EntryEnd));
                }
                State::Content { rest, padding } => {
                    let content = input.split_to(usize::try_from(rest).unwrap_or(usize::MAX).min(input.len()));
                    self.state = State::Content { rest: rest - content.len() as u64, padding };
                    return Ok(Some(Piece::Content(content)));
                }
                State::Padding { rest } => {
                    let padding = rest.min(input.len());
                    input.advance(padding);
                    self.state = if padding == rest { State::Header } else { State::Padding { rest: rest - padding } };
                }
                State::Trailer if input.iter().all(|byte| *byte == 0) => input.clear(),
                State::Trailer => return Err("content follows its end".into()),
            }
        }
        Ok(None)
    }

    const fn is_empty_content(&self) -> bool {
        matches!(self.state, State::Content { rest: 0, .. })
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When it is not complete.
    pub fn finish(&self) -> Result<(), String> {
        if self.state == State::Trailer { Ok(()) } else { Err("it ends before its end mark".into()) }
    }

    fn take_header(&mut self) -> Result<Option<Header>, String> {
        let block = std::mem::take(&mut self.block);
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::Trailer;
            return Ok(None);
        }
        let raw: [u8; BLOCK] = block.try_into().map_err(|_| "a header of another size")?;
        let header = Header::read(raw)?;
        let padding = (BLOCK as u64 - header.size % BLOCK as u64) % BLOCK as u64;
        self.state = State::Content { rest: header.size, padding: usize::try_from(padding).unwrap_or(0) };
        Ok(Some(header))
    }
}

impl Header {
    fn read(raw: [u8; BLOCK]) -> Result<Self, String> {
        if &raw[257..262] != b"ustar" || checksum(&raw) != number(&raw[148..156])? {
            return Err("a header that is no ustar header".into());
        }
        let name =
            if raw[345] == 0 { text(&raw[..100]).to_vec() } else { [text(&raw[345..500]), b"/", text(&raw[..100])].concat() };
        let kind = match raw[156] {
            b'0' | 0 => EntryKind::File,
            b'5' => EntryKind::Directory,
            b'2' => EntryKind::Link(EntryPath(text(&raw[157..257]).to_vec())),
            other => return Err(format!("an entry of type {:?}", char::from(other))),
        };
        let size = number(&raw[124..136])?;
        if kind != EntryKind::File && size != 0 {
            return Err(format!("{} has content and is no file", name.escape_ascii()));
        }
        let mode = u32::try_from(number(&raw[100..108])?).map_err(|_| "a mode that is none")? & 0o7777;
        Ok(Self { raw, path: relative(&name)?, kind, mode, modified: number(&raw[136..148])?, size })
    }
}

/// A path below the directory that the archive is of. The directories in `pg_wal`, whose content is not sent, begin with `./`.
fn relative(name: &[u8]) -> Result<EntryPath, String> {
    let path = name.strip_prefix(b"./").unwrap_or(name);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    if path.split(|byte| *byte == b'/').all(plain) {
        return Ok(EntryPath(path.to_vec()));
    }
    Err(format!("the path '{}' does not lie below the directory", name.escape_ascii()))
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The sum of all bytes, the checksum's own taken as spaces.
fn checksum(raw: &[u8; BLOCK]) -> u64 {
    let others = raw[..148].iter().chain(&raw[156..]);
    others.map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ')
}

/// A number: octal digits, or, where the first bit is set, the bytes themselves.
fn number(field: &[u8]) -> Result<u64, String> {
    if field.first() == Some(&0x80) {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let low: Option<&[u8; 8]> = low.first_chunk().filter(|_| high[1..].iter().all(|byte| *byte == 0));
        return low.map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| "a number that is too large".into());
    }
    let digits = text(field).trim_ascii();
    let value = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
    value.ok_or_else(|| format!("'{}' where a number should be", field.escape_ascii()))
}
