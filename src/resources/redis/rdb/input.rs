//! The bytes of a file as they are read, with their checksum.

use std::io::Read;

use crc::{Digest, Table};

use super::payload::CRC;
use super::{Error, Result};

const BUFFER_BYTES: usize = 128 << 10;
/// The opcode of the end and the checksum.
const END_BYTES: usize = 9;
/// What ends a file, before the checksum.
pub(super) const EOF: u8 = 0xFF;

/// Takes the bytes that are passed over.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// For bytes that nobody wants.
pub(super) fn discard(_: &[u8]) -> Result<()> {
    Ok(())
}

/// A source with its checksum and position.
pub(super) struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    /// What is read and not taken.
    unread: std::ops::Range<usize>,
    /// Where in the buffer the bytes begin that were taken and are not in the checksum.
    undigested: usize,
    digest: Digest<'static, u64, Table<16>>,
    /// How much was read from the source before what is in the buffer.
    before: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: vec![0; BUFFER_BYTES], unread: 0..0, undigested: 0, digest: CRC.digest(), before: 0 }
    }

    /// How many bytes were taken.
    pub(super) fn position(&self) -> u64 {
        self.before + self.unread.start as u64
    }

    pub(super) fn malformed(&self, detail: impl Into<String>) -> Error {
        Error::Malformed { at: self.position(), detail: detail.into() }
    }

    /// Makes sure that something is unread; false at the end.
    fn fill(&mut self) -> Result<bool> {
        if !self.unread.is_empty() {
            return Ok(true);
        }
        self.digest_taken();
        self.before += self.unread.end as u64;
        (self.unread, self.undigested) = (0..0, 0);
        let read = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.unread = 0..read;
        Ok(read > 0)
    }

    fn digest_taken(&mut self) {
        self.digest.update(&self.buffer[self.undigested..self.unread.start]);
        self.undigested = self.unread.start;
    }

    pub(super) fn byte(&mut self, within: &'static str) -> Result<u8> {
        if !self.fill()? {
            return Err(Error::Cut { at: self.position(), within });
        }
        let byte = self.buffer[self.unread.start];
        self.unread.start += 1;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N]> {
        let mut array = [0; N];
        for byte in &mut array {
            *byte = self.byte(within)?;
        }
        Ok(array)
    }

    /// Passes so many bytes over to `sink`.
    pub(super) fn pass(&mut self, mut bytes: u64, within: &'static str, sink: &mut Sink<'_>) -> Result<()> {
        while bytes > 0 {
            if !self.fill()? {
                return Err(Error::Cut { at: self.position(), within });
            }
            let taken = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.unread.len());
            let start = self.unread.start;
            sink(&self.buffer[start..start + taken])?;
            self.unread.start += taken;
            bytes -= taken as u64;
        }
        Ok(())
    }

    /// The checksum of all that was taken.
    pub(super) fn checksum(&mut self) -> u64 {
        self.digest_taken();
        self.digest.clone().finalize()
    }

    /// Whether everything was taken.
    pub(super) fn is_at_end(&mut self) -> Result<bool> {
        Ok(!self.fill()?)
    }

    /// Takes everything up to the checksum without looking at it. What comes before the checksum must be the mark of the end.
    pub(super) fn pass_to_checksum(&mut self) -> Result<u64> {
        let mut tail: Vec<u8> = Vec::with_capacity(2 * BUFFER_BYTES);
        let mut digest = {
            self.digest_taken();
            self.digest.clone()
        };
        while self.fill()? {
            tail.extend_from_slice(&self.buffer[self.unread.clone()]);
            // Not digested here: the checksum must not cover itself.
            (self.unread.start, self.undigested) = (self.unread.end, self.unread.end);
            let passed = tail.len().saturating_sub(END_BYTES);
            digest.update(&tail[..passed]);
            tail.drain(..passed);
        }
        let Some((end, checksum)) = tail.split_last_chunk::<8>() else {
            return Err(Error::Cut { at: self.position(), within: "its end" });
        };
        if end.last() != Some(&EOF) {
            return Err(Error::Cut { at: self.position(), within: "its values" });
        }
        digest.update(end);
        compare(u64::from_le_bytes(*checksum), digest.finalize())
    }
}

/// Compares a stored checksum, of which 0 means that there is none, and returns it.
pub(super) fn compare(stored: u64, computed: u64) -> Result<u64> {
    if stored != 0 && stored != computed {
        return Err(Error::Checksum { stored, computed });
    }
    Ok(stored)
}
