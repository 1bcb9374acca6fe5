//! The two compressors: how one is chosen, and one frame of each.

use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Part};
use crate::sys::buffer::buffer;

/// How content is compressed. Written `zstd`, `zstd:3` or `lz4`.
///
/// zstd at level 1 is the default: on WAL it stores a third less than lz4 at the same speed, and higher levels gain nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Zstandard; the level is from -7 (fast) to 19 (small), and not 0.
    Zstd {
        /// The level.
        level: i32,
    },
    /// LZ4 frames.
    Lz4,
}

impl Compression {
    /// How the names of compressed files end: `zst` or `lz4`.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Zstd { .. } => "zst",
            Self::Lz4 => "lz4",
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd { level: 1 }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd { level: 1 } => f.write_str("zstd"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
            Self::Lz4 => f.write_str("lz4"),
        }
    }
}

/// Text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a compression; write zstd, zstd:LEVEL with a level from -7 to 19 but not 0, or lz4")]
pub struct ParseCompressionError(pub String);

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = |digits: &str| digits.parse().ok().filter(|level| *level != 0 && (-7..=19).contains(level));
        let found = match text.split_once(':') {
            None if text == "zstd" => Some(Self::default()),
            None if text == "lz4" => Some(Self::Lz4),
            Some(("zstd", digits)) => level(digits).map(|level| Self::Zstd { level }),
            _ => None,
        };
        found.ok_or_else(|| ParseCompressionError(text.to_owned()))
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

thread_local! {
    /// A context holds tables of a few megabytes, whose making costs more than compressing a small slice.
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses `plain` into one frame that states its plain size and carries a checksum of it. The first `room` bytes of what is
/// returned are zeros, for the caller to fill.
pub(super) fn compress(plain: &[u8], compression: Compression, room: usize) -> Result<Vec<u8>, Error> {
    match compression {
        Compression::Zstd { level } => compress_zstd(plain, level, room),
        Compression::Lz4 => compress_lz4(plain, room),
    }
    .map_err(|error| Error::Compress { reason: error.to_string() })
}

fn compress_zstd(plain: &[u8], level: i32, room: usize) -> std::io::Result<Vec<u8>> {
    let mut object = buffer(room + zstd::zstd_safe::compress_bound(plain.len()));
    object.resize(room, 0);
    let mut behind = std::io::Cursor::new(object);
    behind.set_position(room as u64);
    COMPRESSOR.with_borrow_mut(|slot| match slot {
        Some((found, compressor)) if *found == level => compressor.compress_to_buffer(plain, &mut behind),
        _ => slot.insert((level, zstd_compressor(level)?)).1.compress_to_buffer(plain, &mut behind),
    })?;
    Ok(behind.into_inner())
}

fn zstd_compressor(level: i32) -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    Ok(compressor)
}

fn compress_lz4(plain: &[u8], room: usize) -> std::io::Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max256KB)
        .block_mode(BlockMode::Independent)
        .content_size(Some(plain.len() as u64))
        .content_checksum(true);
    let mut object = buffer(room + plain.len() / 2 + 64);
    object.resize(room, 0);
    let mut encoder = FrameEncoder::with_frame_info(info, object);
    encoder.write_all(plain)?;
    Ok(encoder.finish()?)
}

const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const LZ4_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

/// The plain content of one frame, which must fill `stored` exactly; at most `size_max` bytes.
pub(super) fn decompress(stored: &[u8], size_max: u64) -> Result<Vec<u8>, Error> {
    match stored.first_chunk() {
        Some(&ZSTD_MAGIC) => decompress_zstd(stored, size_max),
        Some(&LZ4_MAGIC) => decompress_lz4(stored, size_max),
        Some(_) => Err(malformed("neither zstd nor lz4")),
        None => Err(Error::Truncated { expected: 4, found: stored.len() as u64 }),
    }
}

fn malformed(reason: impl fmt::Display) -> Error {
    Error::Malformed { part: Part::Stored, reason: reason.to_string() }
}

/// The size as something that can be allocated, if it is within the limit.
fn capacity(size: u64, size_max: u64) -> Result<usize, Error> {
    let too_large = Error::TooLarge { part: Part::Content, size, size_max };
    if size > size_max { Err(too_large) } else { usize::try_from(size).map_err(|_| too_large) }
}

fn decompress_zstd(stored: &[u8], size_max: u64) -> Result<Vec<u8>, Error> {
    let size = match zstd::zstd_safe::get_frame_content_size(stored) {
        Ok(Some(size)) => size,
        Ok(None) => return Err(malformed("the zstd frame does not state its size")),
        Err(_) => return Err(malformed("the zstd frame's header is damaged")),
    };
    let mut plain = buffer(capacity(size, size_max)?);
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(malformed)?),
        };
        decompressor.decompress_to_buffer(stored, &mut plain).map_err(malformed)
    })?;
    Ok(plain)
}

fn decompress_lz4(stored: &[u8], size_max: u64) -> Result<Vec<u8>, Error> {
    let size = lz4_frame(stored)?;
    let mut plain = buffer(capacity(size, size_max)?);
    FrameDecoder::new(stored).take(size + 1).read_to_end(&mut plain).map_err(malformed)?;
    if plain.len() as u64 != size {
        return Err(malformed(format_args!("{} bytes where the lz4 frame says {size}", plain.len())));
    }
    Ok(plain)
}

/// Version 1, independent blocks without checksums, content size, content checksum, no dictionary: what `compress_lz4` writes.
const LZ4_FLAGS: u8 = 0b0110_1100;
/// Magic, flags, block size, content size, header checksum.
const LZ4_HEADER_BYTES: usize = 15;

/// Walks the blocks of an lz4 frame and returns the plain size that it states.
///
/// The decoder takes a frame without its end mark, and so without its checksum, for a complete one: the walk does not.
fn lz4_frame(stored: &[u8]) -> Result<u64, Error> {
    let u32_at = |at: usize| stored.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
    let size = stored.get(6..LZ4_HEADER_BYTES).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes));
    let truncated = |at: usize| Error::Truncated { expected: at as u64 + 4, found: stored.len() as u64 };
    let size = size.ok_or_else(|| truncated(LZ4_HEADER_BYTES))?;
    if stored[4] != LZ4_FLAGS {
        return Err(malformed("an lz4 frame with other flags than Holdfast writes"));
    }
    let mut at = LZ4_HEADER_BYTES;
    loop {
        let block = u32_at(at).ok_or_else(|| truncated(at))?;
        at += 4;
        if block == 0 {
            u32_at(at).ok_or_else(|| truncated(at))?;
            return if stored.len() == at + 4 { Ok(size) } else { Err(malformed("bytes after the lz4 frame")) };
        }
        at = at.saturating_add((block & 0x7FFF_FFFF) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_is_written_as_it_is_read() {
        for text in ["zstd", "zstd:3", "zstd:-7", "zstd:19", "lz4"] {
            assert_eq!(text.parse::<Compression>().map(|found| found.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("zstd:1".parse(), Ok(Compression::default()));
    }

    #[test]
    fn what_is_no_compression_is_refused_with_what_is() {
        for text in ["", "none", "gzip", "zstd:", "zstd:0", "zstd:20", "zstd:-8", "zstd:x", "lz4:1", "ZSTD"] {
            let error = text.parse::<Compression>().expect_err(text);
            assert!(error.to_string().contains("zstd:LEVEL"), "{error}");
        }
    }

    #[test]
    fn one_thread_may_use_several_levels() {
        let plain = vec![7; 100_000];
        for level in [1, 3, 1, -5] {
            let stored = compress(&plain, Compression::Zstd { level }, 0).unwrap();
            assert_eq!(decompress(&stored, 100_000).unwrap(), plain);
        }
    }
}
