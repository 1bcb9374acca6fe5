//! An encrypted object that is opened while it comes in, from its first byte to its last.

use std::ops::Range;

use super::sealed::{CHUNK_BYTES, STORED_CHUNK_BYTES};
use super::{Identities, Unlocked};
use crate::codec::Error;

/// Opens an object piece by piece. Every byte that it gives out is what was encrypted in that place; that the object ends where it was
/// ended is for the caller to compare, with its size.
pub struct Decrypting {
    unlocked: Unlocked,
    /// What was taken from `start` on and is still needed.
    held: Vec<u8>,
    start: u64,
    /// How much content was given out.
    done: u64,
}

impl Decrypting {
    /// Begins with the first bytes of the object, `Unlocked::BEGINNING_BYTES` of them or all; they still have to be pushed.
    ///
    /// # Errors
    /// As `Unlocked::new`.
    pub fn begin(beginning: &[u8], identities: &Identities) -> Result<Self, Error> {
        let (_, unlocked) = Unlocked::new(beginning, identities)?;
        Ok(Self { unlocked, held: Vec::new(), start: 0, done: 0 })
    }

    /// Takes the next bytes; the content of every chunk that is complete with them. CPU-heavy.
    ///
    /// # Errors
    /// `Malformed` where a byte was changed.
    pub fn push(&mut self, stored: &[u8]) -> Result<Vec<u8>, Error> {
        self.held.extend_from_slice(stored);
        let complete = self.behind_header() / STORED_CHUNK_BYTES;
        self.read(self.done..complete * CHUNK_BYTES)
    }

    /// Ends the object: the content of the last chunk, if that is not a full one. CPU-heavy.
    ///
    /// # Errors
    /// `Malformed` where a byte was changed or is missing.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        let rest = self.behind_header() % STORED_CHUNK_BYTES;
        let plain = rest.saturating_sub(STORED_CHUNK_BYTES - CHUNK_BYTES);
        self.read(self.done..self.done + plain)
    }

    /// How many bytes of chunks were taken.
    fn behind_header(&self) -> u64 {
        (self.start + self.held.len() as u64).saturating_sub(self.unlocked.header_bytes())
    }

    fn read(&mut self, plain: Range<u64>) -> Result<Vec<u8>, Error> {
        if plain.is_empty() {
            return Ok(Vec::new());
        }
        let offset = |needed: u64, held: &[u8]| usize::try_from(needed - self.start).unwrap_or(held.len()).min(held.len());
        let from = offset(self.unlocked.stored_range(&plain).start, &self.held);
        let content = self.unlocked.read(&plain, &self.held[from..])?;
        self.done = plain.end;
        let next = self.unlocked.stored_range(&(plain.end..plain.end + 1)).start;
        let kept = self.held.split_off(offset(next, &self.held));
        (self.held, self.start) = (kept, next);
        Ok(content)
    }
}
