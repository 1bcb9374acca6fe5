//! age files: made at once or piece by piece, opened at once or at any place.
//!
//! Behind the header lie chunks of 64 KiB of content, each encrypted and authenticated by itself with its number (age's STREAM): so any
//! part can be read with the chunks that hold it.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use age_core::format::{FileKey, Stanza};

use super::identity::{Capture, copy};
use super::{Identities, Preface, Recipients, words};
use crate::codec::{Error, Part};
use crate::sys::buffer::buffer;

/// How much content a chunk holds.
pub(super) const CHUNK_BYTES: u64 = 64 << 10;
/// What a chunk takes in the file: the content and a tag.
pub(super) const STORED_CHUNK_BYTES: u64 = CHUNK_BYTES + 16;
/// Between the header and the first chunk.
const NONCE_BYTES: usize = 16;
/// The last line of a header begins with this.
const HEADER_END: &[u8] = b"\n--- ";
/// Enough for the preface and the stanzas of as many RSA keys as there may be recipients.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// Encrypts `plain` to `recipients`. CPU-heavy.
///
/// # Errors
/// `TooLarge` if the preface is; `Encrypt`.
pub fn encrypt(plain: &[u8], preface: &Preface, recipients: &Recipients) -> Result<Vec<u8>, Error> {
    let chunks = plain.len() / (64 << 10) + 1;
    let object = buffer(plain.len() + chunks * 16 + HEADER_BYTES_MAX);
    let mut writer = encryptor(preface, recipients)?.wrap_output(object).map_err(refused)?;
    writer.write_all(plain).map_err(refused)?;
    writer.finish().map_err(refused)
}

fn encryptor(preface: &Preface, recipients: &Recipients) -> Result<age::Encryptor, Error> {
    let preface = preface.stanza()?;
    let first = std::iter::once(&preface as &dyn age::Recipient);
    age::Encryptor::with_recipients(first.chain(recipients.keys())).map_err(|_| refused("these recipients do not go together"))
}

#[allow(clippy::needless_pass_by_value)] // the signature that map_err calls
fn refused(error: impl ToString) -> Error {
    Error::Encrypt { reason: error.to_string() }
}

/// An age file that is made piece by piece.
pub struct Encrypting {
    writer: age::stream::StreamWriter<Outlet>,
    outlet: Outlet,
}

/// Where age writes to, and what it wrote is taken from.
#[derive(Clone, Default)]
struct Outlet(Arc<Mutex<Vec<u8>>>);

impl Outlet {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encrypting {
    /// Begins an object.
    ///
    /// # Errors
    /// As `encrypt`.
    pub fn begin(preface: &Preface, recipients: &Recipients) -> Result<Self, Error> {
        let outlet = Outlet::default();
        let writer = encryptor(preface, recipients)?.wrap_output(outlet.clone()).map_err(refused)?;
        Ok(Self { writer, outlet })
    }

    /// Takes the next piece of content; what is to be stored next, which is about as much. CPU-heavy.
    ///
    /// # Errors
    /// `Encrypt`.
    pub fn write(&mut self, plain: &[u8]) -> Result<Vec<u8>, Error> {
        self.writer.write_all(plain).map_err(refused)?;
        Ok(self.outlet.take())
    }

    /// Ends the object: what is to be stored last. Without it the object cannot be opened.
    ///
    /// # Errors
    /// `Encrypt`.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        self.writer.finish().map_err(refused)?;
        Ok(self.outlet.take())
    }
}

/// Opens a whole encrypted object. CPU-heavy.
///
/// # Errors
/// As `Unlocked::new`, and `Malformed` where a byte of it was changed or is missing.
pub fn decrypt(stored: &[u8], identities: &Identities) -> Result<(Preface, Vec<u8>), Error> {
    let (preface, unlocked) = Unlocked::new(stored, identities)?;
    let mut reader = unlocked.reader(stored)?;
    let mut plain = buffer(stored.len());
    reader.read_to_end(&mut plain).map_err(damaged)?;
    Ok((preface, plain))
}

/// An encrypted object of which any part can be read.
pub struct Unlocked {
    /// Everything before the first chunk.
    header: Vec<u8>,
    key: FileKey,
}

impl Unlocked {
    /// So many bytes from the beginning of an object, or all of it, are enough to unlock it.
    pub const BEGINNING_BYTES: u64 = (HEADER_BYTES_MAX + NONCE_BYTES) as u64;

    /// Unlocks the object that begins with `beginning`.
    ///
    /// # Errors
    /// `Locked` where none of the identities opens it; `Identity` where they cannot be read; as `Preface::read`, and `Malformed` where the
    /// header was altered.
    pub fn new(beginning: &[u8], identities: &Identities) -> Result<(Preface, Self), Error> {
        let preface = Preface::read(beginning)?;
        let end = header_end(beginning)?;
        let header = beginning[..end].to_vec();
        let identities = identities.all().map_err(|error| Error::Identity { source: error })?;
        let capture = Capture { identities: &identities, key: RefCell::default() };
        let decryptor = age::Decryptor::new_buffered(&header[..]).map_err(|error| damaged(words(&error)))?;
        let opened = decryptor.decrypt(std::iter::once(&capture as &dyn age::Identity));
        match (opened, capture.key.into_inner()) {
            (Ok(_), Some(key)) => Ok((preface, Self { header, key })),
            (Err(age::DecryptError::NoMatchingKeys), _) => {
                let available: Vec<String> = identities.iter().map(|identity| identity.name().to_owned()).collect();
                // With the right key at hand, what does not open is not what was written.
                if available.iter().any(|name| preface.recipients.contains(name)) {
                    return Err(damaged("its keys were altered"));
                }
                Err(Error::Locked { needed: preface.recipients, available })
            }
            (Err(error), _) => Err(damaged(words(&error))),
            (Ok(_), None) => Err(damaged("no key came out of it")),
        }
    }

    pub(super) const fn header_bytes(&self) -> u64 {
        self.header.len() as u64
    }

    /// Where the chunks lie in the object that hold the content in `plain`; past the object's end where that is past the content's.
    #[must_use]
    pub fn stored_range(&self, plain: &Range<u64>) -> Range<u64> {
        let (first, end) = chunks(plain);
        let header = self.header_bytes();
        header + first * STORED_CHUNK_BYTES..header + end * STORED_CHUNK_BYTES
    }

    /// The content in `plain`, from the bytes of the object in `stored_range(plain)`. CPU-heavy.
    ///
    /// # Errors
    /// `Malformed` where a byte of it was changed, `Truncated` where the content ends before.
    pub fn read(&self, plain: &Range<u64>, stored: &[u8]) -> Result<Vec<u8>, Error> {
        let expected = plain.end.saturating_sub(plain.start);
        let size = usize::try_from(expected).map_err(damaged)?;
        let mut content = buffer(size.min(stored.len()));
        let window = Window { unlocked: self, start: self.stored_range(plain).start, stored, position: 0 };
        let mut reader = self.reader(window)?;
        skip_to(&mut reader, plain.start).map_err(damaged)?;
        reader.take(expected).read_to_end(&mut content).map_err(damaged)?;
        let found = content.len() as u64;
        if found == expected { Ok(content) } else { Err(Error::Truncated { expected, found }) }
    }

    fn reader<R: BufRead>(&self, stored: R) -> Result<age::stream::StreamReader<R>, Error> {
        let decryptor = age::Decryptor::new_buffered(stored).map_err(|error| damaged(words(&error)))?;
        decryptor.decrypt(std::iter::once(self as &dyn age::Identity)).map_err(|error| damaged(words(&error)))
    }
}

/// The number of the first chunk that is needed for a range, and the one after the last. age seeks to the first byte of a chunk only with
/// the object's end at hand, so that there the chunk before is needed too: its last byte is read and dropped.
const fn chunks(plain: &Range<u64>) -> (u64, u64) {
    (plain.start.saturating_sub(1) / CHUNK_BYTES, plain.end.div_ceil(CHUNK_BYTES))
}

fn skip_to(reader: &mut (impl Read + Seek), start: u64) -> io::Result<()> {
    if start.is_multiple_of(CHUNK_BYTES) && start > 0 {
        reader.seek(SeekFrom::Start(start - 1))?;
        return reader.read_exact(&mut [0]);
    }
    reader.seek(SeekFrom::Start(start)).map(drop)
}

impl age::Identity for Unlocked {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        Some(Ok(copy(&self.key)))
    }
}

/// Where the chunks begin.
fn header_end(beginning: &[u8]) -> Result<usize, Error> {
    let searched = &beginning[..beginning.len().min(HEADER_BYTES_MAX)];
    let mark = searched.windows(HEADER_END.len()).position(|bytes| bytes == HEADER_END);
    let line = mark.and_then(|at| searched[at + 1..].iter().position(|byte| *byte == b'\n').map(|length| at + 1 + length + 1));
    let end = line.map(|end| end + NONCE_BYTES).filter(|end| *end <= beginning.len());
    let found = beginning.len() as u64;
    end.ok_or(Error::Truncated { expected: found + 1, found })
}

#[allow(clippy::needless_pass_by_value)] // the signature that map_err calls
fn damaged(reason: impl ToString) -> Error {
    Error::Malformed { part: Part::Encrypted, reason: reason.to_string() }
}

/// An object of which only the header and a part are here, as a file that age can seek in.
struct Window<'a> {
    unlocked: &'a Unlocked,
    /// Where the part begins.
    start: u64,
    stored: &'a [u8],
    position: u64,
}

impl BufRead for Window<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let from = |bytes: &'_ [u8], offset: u64| usize::try_from(offset).unwrap_or(bytes.len()).min(bytes.len());
        let header = &self.unlocked.header;
        if self.position < header.len() as u64 {
            return Ok(&header[from(header, self.position)..]);
        }
        let offset = self.position.checked_sub(self.start);
        let offset = offset.ok_or_else(|| io::Error::other("a part of the object that was not fetched"))?;
        Ok(&self.stored[from(self.stored, offset)..])
    }

    fn consume(&mut self, bytes: usize) {
        self.position += bytes as u64;
    }
}

impl Read for Window<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.fill_buf()?.read(into)?;
        self.consume(size);
        Ok(size)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?,
            SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests;
