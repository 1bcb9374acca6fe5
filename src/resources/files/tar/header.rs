//! The blocks that stand before each member: fields of fixed width, numbers in octal.

use super::BLOCK;

/// Where the fields lie.
pub(super) mod field {
    use std::ops::Range;
    pub const NAME: Range<usize> = 0..100;
    pub const MODE: Range<usize> = 100..108;
    pub const UID: Range<usize> = 108..116;
    pub const GID: Range<usize> = 116..124;
    pub const SIZE: Range<usize> = 124..136;
    pub const MTIME: Range<usize> = 136..148;
    pub const CHECKSUM: Range<usize> = 148..156;
    pub const KIND: usize = 156;
    pub const LINK: Range<usize> = 157..257;
    pub const MAGIC: Range<usize> = 257..265;
    pub const USER: Range<usize> = 265..297;
    pub const GROUP: Range<usize> = 297..329;
    pub const PREFIX: Range<usize> = 345..500;
}

use field::{CHECKSUM, KIND, MAGIC};

/// One block of a header.
pub(super) struct Header(pub [u8; BLOCK]);

impl Header {
    /// A header of a kind, all fields empty.
    pub(super) fn new(kind: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header.0[MAGIC].copy_from_slice(b"ustar\x0000");
        header.0[KIND] = kind;
        header
    }

    /// Writes text, cut where the field ends.
    pub(super) fn text(&mut self, field: std::ops::Range<usize>, text: &[u8]) {
        let length = text.len().min(field.len());
        self.0[field][..length].copy_from_slice(&text[..length]);
    }

    /// Writes a number, or zero where the field has no room for it: then a pax record has it.
    pub(super) fn number(&mut self, field: std::ops::Range<usize>, number: u64) {
        let digits = field.len() - 1;
        let fits = u32::try_from(digits * 3).is_ok_and(|bits| number.checked_shr(bits).unwrap_or(0) == 0);
        let number = if fits { number } else { 0 };
        let text = format!("{number:0digits$o}");
        self.0[field][..digits].copy_from_slice(text.as_bytes());
    }

    /// The whole block, with its checksum.
    pub(super) fn finish(mut self) -> [u8; BLOCK] {
        let sum = self.sum();
        self.0[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }

    /// The sum of all bytes, those of the checksum taken as spaces.
    pub(super) fn sum(&self) -> u64 {
        let others = self.0.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at));
        others.map(|(_, byte)| u64::from(*byte)).sum::<u64>() + CHECKSUM.len() as u64 * u64::from(b' ')
    }

    /// A text field up to its first zero.
    pub(super) fn read_text(&self, field: std::ops::Range<usize>) -> &[u8] {
        let bytes = &self.0[field];
        bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
    }

    /// A number: octal digits, or (GNU) binary where the first bit is set.
    pub(super) fn read_number(&self, field: std::ops::Range<usize>) -> Option<u64> {
        let bytes = &self.0[field];
        if bytes[0] & 0x80 != 0 {
            let number = bytes[1..].iter().try_fold(0_u64, |number, byte| Some(number.checked_mul(256)? | u64::from(*byte)));
            return number.filter(|_| bytes[0] == 0x80);
        }
        let text = std::str::from_utf8(bytes).ok()?.trim_matches(['\0', ' ']);
        if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
    }
}
