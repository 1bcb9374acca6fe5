//! WAL segments: sizes, numbers, and the names of the files that PostgreSQL archives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Lsn, TimelineId};

/// `wal_segment_size`: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SegmentSize(u64);

/// A number of bytes that no `wal_segment_size` can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes is no WAL segment size (a power of two from 1 MiB to 1 GiB)")]
pub struct SegmentSizeError(pub u64);

impl SegmentSize {
    /// What `initdb` chooses by default.
    pub const DEFAULT: Self = Self(16 << 20);

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// How many segments share the first sixteen digits of their names (`XLogSegmentsPerXLogId`).
    #[must_use]
    pub const fn segments_per_log(self) -> u64 {
        0x1_0000_0000 / self.0
    }

    /// How far into its segment a position lies.
    #[must_use]
    pub const fn offset(self, lsn: Lsn) -> u64 {
        lsn.0 % self.0
    }
}

impl TryFrom<u64> for SegmentSize {
    type Error = SegmentSizeError;

    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        let fits = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        if fits { Ok(Self(bytes)) } else { Err(SegmentSizeError(bytes)) }
    }
}

impl From<SegmentSize> for u64 {
    fn from(size: SegmentSize) -> Self {
        size.0
    }
}

/// The number of a segment: its start position divided by the segment size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The segment in which the byte at `lsn` lies.
    #[must_use]
    pub const fn containing(lsn: Lsn, size: SegmentSize) -> Self {
        Self(lsn.0 / size.0)
    }

    /// The segment that holds the last byte before `end` (`XLByteToPrevSeg`).
    #[must_use]
    pub const fn before(end: Lsn, size: SegmentSize) -> Self {
        Self(end.0.saturating_sub(1) / size.0)
    }

    /// Where the segment begins.
    #[must_use]
    pub const fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.0.wrapping_mul(size.0))
    }

    /// Where the segment ends: the position after its last byte.
    #[must_use]
    pub const fn end(self, size: SegmentSize) -> Lsn {
        self.next().start(size)
    }

    /// The segment after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One segment of one timeline, named as PostgreSQL names its file.
///
/// The name needs the segment size to be turned into a position, so the two halves are kept as they stand in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    timeline: TimelineId,
    log: u32,
    segment: u32,
}

impl SegmentName {
    /// The name of segment `number` of `timeline`.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // 64-bit positions give at most 2^32 logs of at most 2^12 segments
    pub const fn new(timeline: TimelineId, number: SegmentNumber, size: SegmentSize) -> Self {
        let per_log = size.segments_per_log();
        Self { timeline, log: (number.0 / per_log) as u32, segment: (number.0 % per_log) as u32 }
    }

    /// The timeline in the name.
    #[must_use]
    pub const fn timeline(self) -> TimelineId {
        self.timeline
    }

    /// The number of the segment, or `None` if a cluster of this segment size has no such name.
    #[must_use]
    pub fn number(self, size: SegmentSize) -> Option<SegmentNumber> {
        let (segment, per_log) = (u64::from(self.segment), size.segments_per_log());
        (segment < per_log).then(|| SegmentNumber(u64::from(self.log) * per_log + segment))
    }

    /// The first sixteen digits, which a run of neighbouring segments shares.
    #[must_use]
    pub fn group(self) -> String {
        format!("{:08X}{:08X}", self.timeline.0, self.log)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.0, self.log, self.segment)
    }
}

impl fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The four kinds of names that `archive_command` and `restore_command` are called with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WalFileName {
    /// `000000010000000A00000028`
    Segment(SegmentName),
    /// `000000010000000A00000028.partial`: the unfinished last segment of a timeline that a promotion ended.
    Partial(SegmentName),
    /// `000000010000000A00000028.00000060.backup`: the backup history file, with the offset of the start position.
    Backup(SegmentName, u32),
    /// `00000002.history`
    History(TimelineId),
}

/// A file name that PostgreSQL's archiver never uses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the name of a WAL file (a segment, .partial, .backup or .history file)")]
pub struct ParseWalFileNameError(pub String);

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => write!(f, "{name}"),
            Self::Partial(name) => write!(f, "{name}.partial"),
            Self::Backup(name, offset) => write!(f, "{name}.{offset:08X}.backup"),
            Self::History(timeline) => f.write_str(&timeline.history_file_name()),
        }
    }
}

/// Eight upper-case hexadecimal digits, as PostgreSQL prints them; it never reads lower case in these names.
fn eight_digits(text: &str) -> Option<u32> {
    let upper = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    let fits = text.len() == 8 && text.bytes().all(upper);
    fits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

fn segment_name(text: &str) -> Option<SegmentName> {
    if text.len() != 24 || !text.is_ascii() {
        return None;
    }
    let timeline = TimelineId(eight_digits(&text[..8])?);
    Some(SegmentName { timeline, log: eight_digits(&text[8..16])?, segment: eight_digits(&text[16..])? })
}

fn wal_file_name(text: &str) -> Option<WalFileName> {
    let Some((stem, extension)) = text.split_once('.') else {
        return segment_name(text).map(WalFileName::Segment);
    };
    match extension {
        "history" => eight_digits(stem).map(|number| WalFileName::History(TimelineId(number))),
        "partial" => segment_name(stem).map(WalFileName::Partial),
        _ => {
            let offset = eight_digits(extension.strip_suffix(".backup")?)?;
            Some(WalFileName::Backup(segment_name(stem)?, offset))
        }
    }
}

impl FromStr for WalFileName {
    type Err = ParseWalFileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        wal_file_name(text).ok_or_else(|| ParseWalFileNameError(text.to_owned()))
    }
}

impl FromStr for SegmentName {
    type Err = ParseWalFileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        segment_name(text).ok_or_else(|| ParseWalFileNameError(text.to_owned()))
    }
}

impl Serialize for SegmentName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SegmentName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes() -> impl Strategy<Value = SegmentSize> {
        (20_u32..=30).prop_map(|exponent| SegmentSize(1 << exponent))
    }

    #[test]
    fn the_names_that_postgresql_archives() {
        let name = "0000000A0000000B000000FF";
        for text in [name.to_owned(), format!("{name}.partial"), format!("{name}.00000028.backup"), "0000001F.history".into()] {
            assert_eq!(text.parse::<WalFileName>().map(|name| name.to_string()), Ok(text));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "",
            ".",
            "0000001f.history",
            "1.history",
            "0000000A0000000B000000FF.backup",
            "0000000A0000000B000000FF.tmp",
            "0000000A0000000B000000F",
            "0000000a0000000B000000FF",
            "../0000000B000000FF000000",
            "é000000A0000000B000000F",
        ] {
            assert!(text.parse::<WalFileName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_segment_size_is_a_power_of_two_in_range() {
        assert_eq!(SegmentSize::try_from(16 << 20), Ok(SegmentSize::DEFAULT));
        for bytes in [0, 1, 1 << 19, 3 << 20, 1 << 31] {
            assert_eq!(SegmentSize::try_from(bytes), Err(SegmentSizeError(bytes)));
        }
    }

    #[test]
    fn a_name_beyond_the_segment_size_has_no_number() {
        let name: SegmentName = "000000010000000000000100".parse().expect("a valid name");
        assert_eq!(name.number(SegmentSize::DEFAULT), None);
        assert_eq!(name.number(SegmentSize(1 << 20)), Some(SegmentNumber(0x100)));
    }

    proptest! {
        #[test]
        fn name_and_number_agree(timeline: u32, lsn: u64, size in sizes()) {
            let number = SegmentNumber::containing(Lsn(lsn), size);
            let name = SegmentName::new(TimelineId(timeline), number, size);
            prop_assert_eq!(name.to_string().parse::<SegmentName>(), Ok(name));
            prop_assert_eq!(name.number(size), Some(number));
            prop_assert!(number.start(size).0 <= lsn);
            prop_assert_eq!(size.offset(number.start(size)), 0);
        }

        #[test]
        fn names_sort_as_positions_do(a in 0_u64..u64::MAX / 2, b in 0_u64..u64::MAX / 2, size in sizes()) {
            let name = |lsn| SegmentName::new(TimelineId(1), SegmentNumber::containing(Lsn(lsn), size), size);
            let number = |lsn| SegmentNumber::containing(Lsn(lsn), size);
            prop_assert_eq!(name(a).cmp(&name(b)), number(a).cmp(&number(b)));
            prop_assert_eq!(name(a).to_string().cmp(&name(b).to_string()), number(a).cmp(&number(b)));
        }
    }
}
