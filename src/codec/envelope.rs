//! The envelope: one object, its header first.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::compression::{compress, decompress};
use super::{Compression, Error, Hash, Part};
use crate::sys::buffer::into_bytes;

/// The newest format that this program knows, and the one that it writes.
pub const FORMAT: u32 = 1;

/// No header is longer, so this many bytes from the beginning of an object are enough for `read_header`.
pub const HEADER_BYTES: usize = 4096;

/// Of the sixteen magic numbers that zstd and lz4 skip, the one Holdfast uses.
const MAGIC: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
/// The magic number and the length.
const PREFIX_BYTES: usize = 8;
/// How the JSON ends: `,"check":"0123abcd"}`, the CRC-32C of the object's first byte up to the comma.
/// Its place and meaning never change, whatever the format.
pub(super) const CHECK_BYTES: usize = 20;

/// Every envelope is larger, encrypted or not.
pub const OBJECT_BYTES_MIN: u64 = (PREFIX_BYTES + CHECK_BYTES) as u64;

/// What an object is, in JSON at its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format of the object; see `FORMAT`.
    pub format: u32,
    /// What kind of object it is: `segment`, `slice`, `history`, ...
    pub kind: String,
    /// The name of its content: that of the WAL file, for one.
    pub name: String,
    /// The content's size in bytes.
    pub size: u64,
    /// The content's BLAKE3 hash, as `b3sum` gives it.
    pub blake3: Hash,
    /// What follows the header.
    pub stored: Stored,
    /// What else is known of the content; its shape depends on the kind.
    pub about: serde_json::Value,
}

/// The compressed bytes behind the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// How many there are.
    pub size: u64,
    /// Their CRC-32C. It finds changed bits that no decoder minds, and checks an object without decompressing it.
    pub crc32c: u32,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Makes an object of `plain`, and returns its header beside it.
///
/// # Errors
/// `TooLarge` if the header, in which only `name` and `about` vary, would exceed `HEADER_BYTES`; `Compress`.
pub fn seal(
    kind: &str,
    name: &str,
    about: &impl Serialize,
    plain: &[u8],
    compression: Compression,
) -> Result<(Bytes, Header), Error> {
    // The header, which is known only afterwards, gets its place in front.
    let object = compress(plain, compression, HEADER_BYTES)?;
    let body = &object[HEADER_BYTES..];
    let malformed = |error: serde_json::Error| Error::Malformed { part: Part::Header, reason: error.to_string() };
    let header = Header {
        format: FORMAT,
        kind: kind.to_owned(),
        name: name.to_owned(),
        size: plain.len() as u64,
        blake3: Hash::of(plain),
        stored: Stored { size: body.len() as u64, crc32c: crc32c::crc32c(body) },
        about: serde_json::to_value(about).map_err(malformed)?,
    };
    let json = serde_json::to_vec(&header).map_err(malformed)?;
    let framed = frame_header(&json)?;
    Ok((put_in_front(&framed, object), header))
}

fn frame_header(json: &[u8]) -> Result<Vec<u8>, Error> {
    let open_json = json.strip_suffix(b"}").unwrap_or(json);
    let length = open_json.len() + CHECK_BYTES;
    let too_large = |size| Error::TooLarge { part: Part::Header, size, size_max: HEADER_BYTES as u64 };
    let length_field = u32::try_from(length).map_err(|_| too_large(length as u64))?;
    if PREFIX_BYTES + length > HEADER_BYTES {
        return Err(too_large((PREFIX_BYTES + length) as u64));
    }
    let mut header = Vec::with_capacity(PREFIX_BYTES + length);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&length_field.to_le_bytes());
    header.extend_from_slice(open_json);
    let check = check_text(&header);
    header.extend_from_slice(check.as_bytes());
    Ok(header)
}

/// Places the header right before the body, which begins `HEADER_BYTES` into `object`.
fn put_in_front(header: &[u8], mut object: Vec<u8>) -> Bytes {
    let start = HEADER_BYTES - header.len();
    object[start..HEADER_BYTES].copy_from_slice(header);
    into_bytes(object).slice(start..)
}

pub(super) fn check_text(covered: &[u8]) -> String {
    format!(",\"check\":\"{:08x}\"}}", crc32c::crc32c(covered))
}

/// Reads the header from the first bytes of an object; `HEADER_BYTES` of them, or the whole object, are always enough.
///
/// # Errors
/// `NotAnEnvelope`, `Truncated`, `Altered`, `NewerFormat`, `Malformed`.
pub fn read_header(prefix: &[u8]) -> Result<Header, Error> {
    split(prefix).map(|(header, _)| header)
}

/// Opens an object: returns its header and its content, both checked.
///
/// # Errors
/// Those of `read_header`, and `TooLarge` if the content has more than `size_max` bytes.
pub fn open(object: &[u8], size_max: u64) -> Result<(Header, Vec<u8>), Error> {
    let (header, body) = split(object)?;
    check_stored(&header.stored, body)?;
    if header.size > size_max {
        return Err(Error::TooLarge { part: Part::Content, size: header.size, size_max });
    }
    let plain = decompress(body, header.size)?;
    if plain.len() as u64 != header.size {
        return Err(Error::Truncated { expected: header.size, found: plain.len() as u64 });
    }
    let found = Hash::of(&plain);
    if found != header.blake3 {
        return Err(altered(Part::Content, &header.blake3, &found));
    }
    Ok((header, plain))
}

fn altered(part: Part, expected: &impl ToString, found: &impl ToString) -> Error {
    Error::Altered { part, expected: expected.to_string(), found: found.to_string() }
}

fn check_stored(stored: &Stored, body: &[u8]) -> Result<(), Error> {
    let found = body.len() as u64;
    if found < stored.size {
        return Err(Error::Truncated { expected: stored.size, found });
    }
    if found > stored.size {
        let reason = format!("{} bytes follow its end", found - stored.size);
        return Err(Error::Malformed { part: Part::Stored, reason });
    }
    let crc32c = crc32c::crc32c(body);
    if crc32c != stored.crc32c {
        return Err(altered(Part::Stored, &format_args!("{:08x}", stored.crc32c), &format_args!("{crc32c:08x}")));
    }
    Ok(())
}

/// The header, and the bytes behind it.
fn split(bytes: &[u8]) -> Result<(Header, &[u8]), Error> {
    let truncated = |expected: usize| Error::Truncated { expected: expected as u64, found: bytes.len() as u64 };
    let magic = bytes.first_chunk::<4>().ok_or_else(|| truncated(PREFIX_BYTES))?;
    if *magic != MAGIC {
        return Err(Error::NotAnEnvelope { reason: "it does not begin with a header" });
    }
    let length = bytes[4..].first_chunk().map(|field| u32::from_le_bytes(*field)).ok_or_else(|| truncated(PREFIX_BYTES))?;
    let end = PREFIX_BYTES + usize::try_from(length).unwrap_or(HEADER_BYTES).min(HEADER_BYTES);
    if !(PREFIX_BYTES + CHECK_BYTES..=HEADER_BYTES).contains(&end) {
        return Err(Error::NotAnEnvelope { reason: "no header is as long as the one it claims to have" });
    }
    let header = bytes.get(..end).ok_or_else(|| truncated(end))?;
    Ok((parse_header(header)?, &bytes[end..]))
}

fn parse_header(header: &[u8]) -> Result<Header, Error> {
    let (covered, recorded) = header.split_at(header.len() - CHECK_BYTES);
    let computed = check_text(covered);
    if recorded != computed.as_bytes() {
        return Err(altered(Part::Header, &String::from_utf8_lossy(recorded), &computed));
    }
    let malformed = |error: serde_json::Error| Error::Malformed { part: Part::Header, reason: error.to_string() };
    let json = &header[PREFIX_BYTES..];
    let FormatOnly { format } = serde_json::from_slice(json).map_err(malformed)?;
    if format > FORMAT {
        return Err(Error::NewerFormat { found: format, known: FORMAT });
    }
    serde_json::from_slice(json).map_err(malformed)
}

#[cfg(test)]
mod tests;
