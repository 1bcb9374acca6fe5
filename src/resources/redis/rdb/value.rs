//! Values of all types, passed over without being understood.

use std::io::Read;

use super::input::{Sink, discard};
use super::reader::Reader;
use super::{Error, Result};

/// A value whose type a module defines.
pub const MODULE_2: u8 = 7;
/// The letters that the names of modules are made of, six bits each.
const MODULE_LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const STREAM_ID_BYTES: u64 = 16;
const TIME_BYTES: u64 = 8;

/// What a value is made of.
#[derive(Clone, Copy)]
enum Shape {
    /// One string, whatever is packed into it.
    String,
    /// So many strings, after their number; times the second number.
    Strings(u64),
    /// Members with a score in text.
    TextScores,
    /// Members with a score of eight bytes.
    Scores,
    /// Nodes of a list: how it is packed, and a string.
    Nodes,
    /// Fields that expire, as Redis stores them.
    ExpiringFields,
    /// The same, packed.
    PackedExpiringFields,
    /// The same as Valkey stores them.
    ValkeyExpiringFields,
    /// A stream, and the version of its form.
    Stream(u8),
    Module,
}

const fn shape(kind: u8, valkey: bool) -> Option<Shape> {
    Some(match kind {
        0 | 9..=13 | 16 | 17 | 20 => Shape::String,
        1 | 2 | 14 => Shape::Strings(1),
        3 => Shape::TextScores,
        4 => Shape::Strings(2),
        5 => Shape::Scores,
        MODULE_2 => Shape::Module,
        15 => Shape::Stream(1),
        18 => Shape::Nodes,
        19 => Shape::Stream(2),
        21 => Shape::Stream(3),
        22 if valkey => Shape::ValkeyExpiringFields,
        24 if !valkey => Shape::ExpiringFields,
        25 if !valkey => Shape::PackedExpiringFields,
        _ => return None,
    })
}

/// The name of the module with that id.
#[must_use]
pub fn module_name(id: u64) -> String {
    let letter = |place: u32| char::from(MODULE_LETTERS[(id >> (10 + 6 * place) & 0x3F) as usize]);
    (0..9).rev().map(letter).collect()
}

impl<R: Read> Reader<R> {
    /// Whether values of that type can be passed over.
    pub(super) fn knows(&self, kind: u8) -> bool {
        shape(kind, self.header.valkey).is_some()
    }

    /// Passes a value over, as it stands in the file; for one that a module defines, the module's id is returned.
    ///
    /// # Errors
    /// When it is cut short, malformed or of an unknown type, and those of `sink`.
    pub fn value(&mut self, kind: u8, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Option<u64>> {
        let shape = shape(kind, self.header.valkey).ok_or_else(|| Error::UnknownType { at: self.position(), kind })?;
        match shape {
            Shape::String => self.string(sink)?,
            Shape::Strings(each) => {
                let number = self.number(sink)?;
                for _ in 0..number.checked_mul(each).ok_or_else(|| self.input.malformed("too many elements"))? {
                    self.string(sink)?;
                }
            }
            Shape::TextScores => self.each(sink, Self::text_score)?,
            Shape::Scores => self.each(sink, |it, sink| {
                it.string(sink)?;
                it.input.pass(8, "a score", sink)
            })?,
            Shape::Nodes => self.each(sink, |it, sink| {
                it.number(sink)?;
                it.string(sink)
            })?,
            Shape::ExpiringFields => self.expiring_fields(sink)?,
            Shape::PackedExpiringFields => {
                self.input.pass(TIME_BYTES, "a time", sink)?;
                self.string(sink)?;
            }
            Shape::ValkeyExpiringFields => self.each(sink, |it, sink| {
                it.string(sink)?;
                it.string(sink)?;
                it.input.pass(TIME_BYTES, "a time", sink)
            })?,
            Shape::Stream(version) => self.stream(version, sink)?,
            Shape::Module => return self.module(sink).map(Some),
        }
        Ok(None)
    }

    /// Passes a number over, and then so many elements.
    fn each(&mut self, sink: &mut Sink<'_>, element: impl Fn(&mut Self, &mut Sink<'_>) -> Result<()>) -> Result<()> {
        for _ in 0..self.number(sink)? {
            element(self, sink)?;
        }
        Ok(())
    }

    fn text_score(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        self.string(sink)?;
        let length = self.input.byte("a score")?;
        sink(&[length])?;
        // 253 to 255: not a number, and the two infinities.
        if length < 253 { self.input.pass(u64::from(length), "a score", sink) } else { Ok(()) }
    }

    fn expiring_fields(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        self.input.pass(TIME_BYTES, "a time", sink)?;
        self.each(sink, |it, sink| {
            it.number(sink)?;
            it.string(sink)?;
            it.string(sink)
        })
    }

    fn stream(&mut self, version: u8, sink: &mut Sink<'_>) -> Result<()> {
        self.each(sink, |it, sink| {
            it.string(sink)?;
            it.string(sink)
        })?;
        // The length and the last id; since version 2 the first id, the greatest that was deleted, and how many were added.
        for _ in 0..if version >= 2 { 8 } else { 3 } {
            self.number(sink)?;
        }
        self.each(sink, |it, sink| it.consumer_group(version, sink))
    }

    fn consumer_group(&mut self, version: u8, sink: &mut Sink<'_>) -> Result<()> {
        self.string(sink)?;
        for _ in 0..if version >= 2 { 3 } else { 2 } {
            self.number(sink)?;
        }
        self.each(sink, |it, sink| {
            it.input.pass(STREAM_ID_BYTES + TIME_BYTES, "a pending entry", sink)?;
            it.number(sink).map(drop)
        })?;
        self.each(sink, |it, sink| {
            it.string(sink)?;
            it.input.pass(if version >= 3 { 2 * TIME_BYTES } else { TIME_BYTES }, "a consumer", sink)?;
            it.each(sink, |it, sink| it.input.pass(STREAM_ID_BYTES, "a pending entry", sink))
        })
    }

    fn module(&mut self, sink: &mut Sink<'_>) -> Result<u64> {
        let id = self.number(sink)?;
        loop {
            match self.number(sink)? {
                0 => return Ok(id),
                1 | 2 => drop(self.number(sink)?),
                3 => self.input.pass(4, "a number of a module", sink)?,
                4 => self.input.pass(8, "a number of a module", sink)?,
                5 => self.string(sink)?,
                other => return Err(self.input.malformed(format!("a module's value has the unknown part {other}"))),
            }
        }
    }

    /// What a module has stored besides values.
    pub(super) fn module_data(&mut self) -> Result<()> {
        self.module(&mut discard).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::module_name;

    #[test]
    fn a_module_has_a_name() {
        // "ReJSON-RL", version 3.
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = |letter: u8| letters.iter().position(|known| *known == letter).expect("a letter") as u64;
        let id = b"ReJSON-RL".iter().fold(0, |id, letter| id << 6 | value(*letter)) << 10 | 3;
        assert_eq!(module_name(id), "ReJSON-RL");
    }
}
