//! What follows what in a file: the header, then keys, libraries of functions and remarks, then the end.

use std::io::Read;

use super::input::{self, Input, Sink, discard};
use super::lzf;
use super::{Error, Result};

/// The longest name of a key that is kept, in bytes: longer ones are passed over.
const NAME_BYTES_MAX: u64 = 1 << 20;
/// The first version with a checksum.
const FIRST_VERSION_WITH_CHECKSUM: u16 = 5;

/// How a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version of the format.
    pub version: u16,
    /// Whether it is Valkey's own (since version 80), which gives some types another meaning.
    pub valkey: bool,
}

/// A key, before its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The number of its database.
    pub database: u64,
    /// Its name; none where that is longer than a megabyte.
    pub name: Option<Vec<u8>>,
    /// The type of its value.
    pub kind: u8,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// How long it was not used, in seconds.
    pub idle_s: Option<u64>,
    /// How often it is used, on the server's own scale.
    pub frequency: Option<u8>,
}

/// What comes next in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A key. Its value must be taken next, with `Reader::value`.
    Key(Key),
    /// A library of functions. Its text must be taken next, with `Reader::library`.
    Library,
    /// A remark of the server's, such as its version.
    Remark {
        /// What it is about.
        name: Vec<u8>,
        /// What it says.
        value: Vec<u8>,
    },
    /// The end, and the checksum; none where the server was told to write none.
    End {
        /// Whether there is a checksum; it is right.
        checksum: bool,
    },
}

/// Reads a file from its beginning.
pub struct Reader<R> {
    pub(super) input: Input<R>,
    /// How it begins.
    pub header: Header,
    database: u64,
}

/// What stands before a key.
#[derive(Default, Clone, Copy)]
struct Before {
    expires_at_ms: Option<u64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

/// A length, or what stands in its place.
pub(super) enum Length {
    Plain(u64),
    /// A number, or a compressed string.
    Special(u8),
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is none.
    pub fn begin(source: R) -> Result<Self> {
        let mut input = Input::new(source);
        let text: [u8; 9] = input.array("its header")?;
        let (valkey, digits) = if let Some(digits) = text.strip_prefix(b"REDIS") {
            (false, digits)
        } else if let Some(digits) = text.strip_prefix(b"VALKEY") {
            (true, digits)
        } else {
            return Err(Error::Malformed { at: 0, detail: "it does not begin as an RDB file does".to_owned() });
        };
        let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let version = version.ok_or_else(|| Error::Malformed { at: 5, detail: "its version is no number".to_owned() })?;
        Ok(Self { input, header: Header { version, valkey }, database: 0 })
    }

    /// Where it is, in bytes from the beginning.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.input.position()
    }

    /// What comes next.
    ///
    /// # Errors
    /// When it is cut short or malformed, or its checksum is wrong.
    pub fn next_item(&mut self) -> Result<Item> {
        let mut before = Before::default();
        loop {
            match self.input.byte("its values")? {
                0xFF => return self.end(),
                0xFE => self.database = self.number(&mut discard)?,
                0xFD => before.expires_at_ms = Some(u64::from(u32::from_le_bytes(self.input.array("a time")?)) * 1000),
                0xFC => before.expires_at_ms = Some(u64::from_le_bytes(self.input.array("a time")?)),
                // How many keys are to come.
                0xFB => drop((self.number(&mut discard)?, self.number(&mut discard)?)),
                0xFA => return Ok(Item::Remark { name: self.short_string()?, value: self.short_string()? }),
                0xF9 => before.frequency = Some(self.input.byte("a frequency")?),
                0xF8 => before.idle_s = Some(self.number(&mut discard)?),
                0xF7 => self.module_data()?,
                0xF6 => return Err(self.input.malformed("it holds functions in the form of a release candidate of Redis 7")),
                0xF5 => return Ok(Item::Library),
                0xF4 => drop([self.number(&mut discard)?, self.number(&mut discard)?, self.number(&mut discard)?]),
                0xF3 => self.slot_import()?,
                kind => return self.key(kind, before),
            }
        }
    }

    fn key(&mut self, kind: u8, before: Before) -> Result<Item> {
        if !self.knows(kind) {
            return Err(Error::UnknownType { at: self.input.position() - 1, kind });
        }
        let name = self.decoded_string()?;
        let Before { expires_at_ms, idle_s, frequency } = before;
        Ok(Item::Key(Key { database: self.database, name, kind, expires_at_ms, idle_s, frequency }))
    }

    fn end(&mut self) -> Result<Item> {
        let mut stored = 0;
        if self.header.version >= FIRST_VERSION_WITH_CHECKSUM {
            let computed = self.input.checksum();
            stored = input::compare(u64::from_le_bytes(self.input.array("its checksum")?), computed)?;
        }
        if !self.input.is_at_end()? {
            return Err(self.input.malformed("something follows its end"));
        }
        Ok(Item::End { checksum: stored != 0 })
    }

    /// Takes the rest of a file of which something is not known, and compares its checksum; whether it has one.
    ///
    /// # Errors
    /// When it does not end as a file does, or its checksum is wrong.
    pub fn skip_to_end(&mut self) -> Result<bool> {
        Ok(self.input.pass_to_checksum()? != 0)
    }

    /// Passes a library of functions over, as it stands in the file.
    ///
    /// # Errors
    /// When it is cut short or malformed, and those of `sink`.
    pub fn library(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.string(sink)
    }

    /// The slots of a cluster that are on their way to the server.
    fn slot_import(&mut self) -> Result<()> {
        self.string(&mut discard)?;
        for _ in 0..self.number(&mut discard)? {
            self.number(&mut discard)?;
            self.number(&mut discard)?;
        }
        Ok(())
    }

    pub(super) fn length(&mut self, sink: &mut Sink<'_>) -> Result<Length> {
        let first = self.input.byte("a length")?;
        sink(&[first])?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first & 0x3F)),
            1 => {
                let second = self.input.byte("a length")?;
                sink(&[second])?;
                Length::Plain(u64::from(first & 0x3F) << 8 | u64::from(second))
            }
            2 if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.passed(sink)?))),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.passed(sink)?)),
            2 => return Err(self.input.malformed(format!("0x{first:02x} is no length"))),
            _ => Length::Special(first & 0x3F),
        })
    }

    /// Bytes that are looked at and passed over as well.
    fn passed<const N: usize>(&mut self, sink: &mut Sink<'_>) -> Result<[u8; N]> {
        let bytes = self.input.array("a length")?;
        sink(&bytes)?;
        Ok(bytes)
    }

    pub(super) fn number(&mut self, sink: &mut Sink<'_>) -> Result<u64> {
        match self.length(sink)? {
            Length::Plain(number) => Ok(number),
            Length::Special(_) => Err(self.input.malformed("a string stands where a number belongs")),
        }
    }

    /// Passes a string over, as it is stored.
    pub(super) fn string(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        match self.length(sink)? {
            Length::Plain(bytes) => self.input.pass(bytes, "a string", sink),
            Length::Special(kind @ 0..=2) => self.input.pass(1 << kind, "a number", sink),
            Length::Special(3) => {
                let compressed = self.number(sink)?;
                self.number(sink)?;
                self.input.pass(compressed, "a compressed string", sink)
            }
            Length::Special(kind) => Err(self.input.malformed(format!("a string has the unknown encoding {kind}"))),
        }
    }

    /// A string as it is meant; none where it is too long.
    fn decoded_string(&mut self) -> Result<Option<Vec<u8>>> {
        match self.length(&mut discard)? {
            Length::Plain(bytes) => self.kept(bytes),
            Length::Special(0) => Ok(Some(i8::from_le_bytes(self.input.array("a number")?).to_string().into_bytes())),
            Length::Special(1) => Ok(Some(i16::from_le_bytes(self.input.array("a number")?).to_string().into_bytes())),
            Length::Special(2) => Ok(Some(i32::from_le_bytes(self.input.array("a number")?).to_string().into_bytes())),
            Length::Special(3) => self.decompressed(),
            Length::Special(kind) => Err(self.input.malformed(format!("a string has the unknown encoding {kind}"))),
        }
    }

    fn decompressed(&mut self) -> Result<Option<Vec<u8>>> {
        let (compressed, plain) = (self.number(&mut discard)?, self.number(&mut discard)?);
        if plain > NAME_BYTES_MAX {
            self.input.pass(compressed, "a compressed string", &mut discard)?;
            return Ok(None);
        }
        let Some(bytes) = self.kept(compressed)? else { return Ok(None) };
        let plain = usize::try_from(plain).unwrap_or(usize::MAX);
        let decompressed = lzf::decompress(&bytes, plain);
        decompressed.map(Some).ok_or_else(|| self.input.malformed("a compressed string cannot be decompressed"))
    }

    fn kept(&mut self, bytes: u64) -> Result<Option<Vec<u8>>> {
        if bytes > NAME_BYTES_MAX {
            self.input.pass(bytes, "a string", &mut discard)?;
            return Ok(None);
        }
        let mut kept = Vec::new();
        self.input.pass(bytes, "a string", &mut |piece| {
            kept.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(Some(kept))
    }

    fn short_string(&mut self) -> Result<Vec<u8>> {
        Ok(self.decoded_string()?.unwrap_or_default())
    }
}
