//! Large content, cut into frames that can each be decompressed alone.
//!
//! The frames one after the other are an ordinary zstd or lz4 file: `zstd -dc` and `lz4 -dc` give the whole content.
//! `FrameIndex` maps a place in the content to the frame that holds it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::compression::{compress, decompress};
use super::{Compression, Error, Part};

/// Compresses `plain` into one frame, which `decompress_frame` opens alone. CPU-heavy.
///
/// # Errors
/// `Compress`.
pub fn compress_frame(plain: &[u8], compression: Compression) -> Result<Vec<u8>, Error> {
    compress(plain, compression, 0)
}

/// The content of one frame, its checksum checked; at most `plain_size_max` bytes. CPU-heavy.
///
/// # Errors
/// `TooLarge`, `Truncated`, `Malformed`.
pub fn decompress_frame(stored: &[u8], plain_size_max: u64) -> Result<Vec<u8>, Error> {
    decompress(stored, plain_size_max)
}

/// Where one frame lies, in the content and in what is stored. All in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The offset of its first byte in the content.
    pub plain_offset: u64,
    /// How much content it holds.
    pub plain_size: u64,
    /// The offset of its first byte in the stored object.
    pub stored_offset: u64,
    /// How many bytes it takes there.
    pub stored_size: u64,
    /// The CRC-32C of those bytes.
    pub crc32c: u32,
}

impl Frame {
    /// Where the frame lies in the stored object.
    #[must_use]
    pub const fn stored_range(&self) -> Range<u64> {
        self.stored_offset..self.stored_offset.saturating_add(self.stored_size)
    }

    /// Where its content lies in the whole.
    #[must_use]
    pub const fn plain_range(&self) -> Range<u64> {
        self.plain_offset..self.plain_offset.saturating_add(self.plain_size)
    }

    /// Decompresses the frame, checked against what the index says of it. CPU-heavy.
    ///
    /// # Errors
    /// `TooLarge` if the index says that it holds more than `plain_size_max` bytes; `Truncated`, `Altered`, `Malformed`.
    pub fn open(&self, stored: &[u8], plain_size_max: u64) -> Result<Vec<u8>, Error> {
        if self.plain_size > plain_size_max {
            return Err(Error::TooLarge { part: Part::Content, size: self.plain_size, size_max: plain_size_max });
        }
        if stored.len() as u64 != self.stored_size {
            return Err(Error::Truncated { expected: self.stored_size, found: stored.len() as u64 });
        }
        let found = crc32c::crc32c(stored);
        if found != self.crc32c {
            let (expected, found) = (format!("{:08x}", self.crc32c), format!("{found:08x}"));
            return Err(Error::Altered { part: Part::Stored, expected, found });
        }
        let plain = decompress(stored, self.plain_size)?;
        if plain.len() as u64 != self.plain_size {
            return Err(Error::Truncated { expected: self.plain_size, found: plain.len() as u64 });
        }
        Ok(plain)
    }
}

/// The frames of one object, in order and without holes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrameIndex {
    frames: Vec<Frame>,
}

impl FrameIndex {
    /// Adds the next frame: `stored` is what `compress_frame` made of `plain_size` bytes.
    pub fn push(&mut self, plain_size: u64, stored: &[u8]) {
        self.frames.push(Frame {
            plain_offset: self.plain_size(),
            plain_size,
            stored_offset: self.stored_size(),
            stored_size: stored.len() as u64,
            crc32c: crc32c::crc32c(stored),
        });
    }

    /// All frames.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The size of the content.
    #[must_use]
    pub fn plain_size(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.plain_range().end)
    }

    /// The size of all frames as they are stored.
    #[must_use]
    pub fn stored_size(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.stored_range().end)
    }

    /// Whether the frames lie without holes and overlaps from offset zero on, as all that were made by `push` do.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let starts = |frame: &Frame| (frame.plain_offset, frame.stored_offset);
        let ends = |frame: &Frame| (frame.plain_range().end, frame.stored_range().end);
        let expected = std::iter::once((0, 0)).chain(self.frames.iter().map(ends));
        self.frames.iter().map(starts).zip(expected).all(|(start, end)| start == end)
    }

    /// The frames that hold some of the content in `plain`.
    #[must_use]
    pub fn covering(&self, plain: &Range<u64>) -> &[Frame] {
        let first = self.frames.partition_point(|frame| frame.plain_range().end <= plain.start);
        let end = self.frames.partition_point(|frame| frame.plain_offset < plain.end);
        self.frames.get(first..end).unwrap_or_default()
    }
}

/// Cuts content that arrives in pieces into frames of one size, the last one smaller.
pub struct FrameWriter {
    compression: Compression,
    frame_size: usize,
    pending: Vec<u8>,
    index: FrameIndex,
}

impl FrameWriter {
    /// How much content a frame holds by default.
    pub const FRAME_SIZE: usize = 4 << 20;

    /// Begins an object whose frames hold `frame_size` bytes each.
    ///
    /// # Panics
    /// If `frame_size` is zero.
    #[must_use]
    pub fn new(compression: Compression, frame_size: usize) -> Self {
        assert!(frame_size > 0, "a frame holds at least one byte");
        Self { compression, frame_size, pending: Vec::new(), index: FrameIndex::default() }
    }

    /// Takes the next piece of content and hands every frame that it completes to `sink`, in order. CPU-heavy.
    ///
    /// # Errors
    /// `Compress`.
    pub fn write(&mut self, mut plain: &[u8], mut sink: impl FnMut(Vec<u8>)) -> Result<(), Error> {
        while self.pending.len() + plain.len() >= self.frame_size {
            let (head, rest) = plain.split_at(self.frame_size - self.pending.len());
            plain = rest;
            if self.pending.is_empty() {
                sink(self.frame(head)?);
            } else {
                self.pending.extend_from_slice(head);
                sink(self.flush()?);
            }
        }
        self.pending.extend_from_slice(plain);
        Ok(())
    }

    /// Ends the object: hands the last frame, if there is content left, to `sink` and returns the index.
    ///
    /// # Errors
    /// `Compress`.
    pub fn finish(mut self, mut sink: impl FnMut(Vec<u8>)) -> Result<FrameIndex, Error> {
        if !self.pending.is_empty() {
            sink(self.flush()?);
        }
        Ok(self.index)
    }

    fn flush(&mut self) -> Result<Vec<u8>, Error> {
        let mut pending = std::mem::take(&mut self.pending);
        let stored = self.frame(&pending)?;
        pending.clear();
        self.pending = pending;
        Ok(stored)
    }

    fn frame(&mut self, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let stored = compress_frame(plain, self.compression)?;
        self.index.push(plain.len() as u64, &stored);
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn framed(pieces: &[&[u8]], frame_size: usize, compression: Compression) -> (Vec<u8>, FrameIndex) {
        let mut stored = Vec::new();
        let mut writer = FrameWriter::new(compression, frame_size);
        for piece in pieces {
            writer.write(piece, |frame| stored.extend(frame)).unwrap();
        }
        let index = writer.finish(|frame| stored.extend(frame)).unwrap();
        (stored, index)
    }

    fn read(stored: &[u8], index: &FrameIndex, plain: &Range<u64>) -> Vec<u8> {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let mut content = Vec::new();
        for frame in index.covering(plain) {
            let range = frame.stored_range();
            let opened = frame.open(&stored[at(range.start)..at(range.end)], frame.plain_size).unwrap();
            let from = plain.start.saturating_sub(frame.plain_offset);
            let to = plain.end.min(frame.plain_range().end) - frame.plain_offset;
            content.extend_from_slice(&opened[at(from)..at(to)]);
        }
        content
    }

    #[test]
    fn the_public_programs_open_the_frames_together() {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for (compression, program) in [(Compression::default(), "zstd"), (Compression::Lz4, "lz4")] {
            let (stored, index) = framed(&[&plain], 70_000, compression);
            assert_eq!(index.frames().len(), 6);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &stored).unwrap();
            let output = Command::new(program).arg("-dc").stdin(file.reopen().unwrap()).output().unwrap();
            assert!(output.status.success() && output.stdout == plain, "{program}");
        }
    }

    #[test]
    fn no_content_makes_no_frame() {
        let (stored, index) = framed(&[b""], 10, Compression::default());
        assert!(stored.is_empty() && index.frames().is_empty() && index.covering(&(0..10)).is_empty());
    }

    #[test]
    fn a_changed_bit_of_a_frame_is_detected() {
        for compression in [Compression::default(), Compression::Lz4] {
            let (stored, index) = framed(&[&[7; 500]], 1000, compression);
            for bit in 0..stored.len() * 8 {
                let mut changed = stored.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(index.frames()[0].open(&changed, 1000).is_err(), "{compression}, bit {bit}");
            }
            assert!(index.frames()[0].open(&stored, 499).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_range_can_be_read_whatever_the_pieces(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            frame_size in 1_usize..400,
            range in (0_u64..4000, 0_u64..4000),
            lz4: bool,
        ) {
            let plain = pieces.concat();
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let compression = if lz4 { Compression::Lz4 } else { Compression::default() };
            let (stored, index) = framed(&slices, frame_size, compression);
            prop_assert_eq!(index.plain_size(), plain.len() as u64);
            prop_assert_eq!(index.stored_size(), stored.len() as u64);
            prop_assert!(index.frames().iter().rev().skip(1).all(|frame| frame.plain_size == frame_size as u64));
            let end = range.0.max(range.1).min(plain.len() as u64);
            let range = range.0.min(range.1).min(end)..end;
            let expected = &plain[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            prop_assert_eq!(read(&stored, &index, &range), expected);
        }
    }
}
