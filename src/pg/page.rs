//! WAL pages: their headers, and the check of a whole segment by them.
//!
//! Sources: `XLogPageHeaderData` and `XLogLongPageHeaderData` in PostgreSQL's `access/xlog_internal.h`.

use super::bytes::{u16_at, u32_at, u64_at};
use super::version::{UnsupportedVersion, Version};
use super::{Lsn, SegmentName, SegmentSize, SystemId, TimelineId};

/// `XLOG_BLCKSZ`. It can only be changed by compiling another server, which nobody does.
pub const PAGE_BYTES: usize = 8192;
/// A page header, padded to a multiple of eight.
pub const HEADER_BYTES: usize = 24;
/// The header of a segment's first page.
pub const LONG_HEADER_BYTES: usize = 40;

/// `XLP_FIRST_IS_CONTRECORD`: the page begins with the rest of a record.
const FLAG_CONTINUED: u16 = 0x0001;
/// `XLP_LONG_HEADER`.
const FLAG_LONG: u16 = 0x0002;

/// The header that every page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Which version wrote it.
    pub magic: u16,
    /// The flags, `xlp_info`.
    pub flags: u16,
    /// The timeline of the page's first record; in the first pages after a switch it can be the parent's.
    pub timeline: TimelineId,
    /// The page's position.
    pub address: Lsn,
    /// How many bytes of a record that began on an earlier page follow.
    pub remaining: u32,
}

impl PageHeader {
    /// Reads the header at the beginning of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            magic: u16_at(bytes, 0)?,
            flags: u16_at(bytes, 2)?,
            timeline: TimelineId(u32_at(bytes, 4)?),
            address: Lsn(u64_at(bytes, 8)?),
            remaining: u32_at(bytes, 16)?,
        })
    }

    /// Whether the page begins with the rest of a record.
    #[must_use]
    pub const fn is_continued(&self) -> bool {
        self.flags & FLAG_CONTINUED != 0
    }

    /// Whether the long header follows, as on the first page of a segment.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.flags & FLAG_LONG != 0
    }

    /// The length of the whole header in bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        if self.is_long() { LONG_HEADER_BYTES } else { HEADER_BYTES }
    }
}

/// What the long header adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader {
    /// Which cluster wrote it.
    pub system_id: SystemId,
    /// `wal_segment_size` in bytes.
    pub segment_bytes: u32,
    /// `XLOG_BLCKSZ` in bytes.
    pub page_bytes: u32,
}

impl LongHeader {
    /// Reads it from the beginning of a page that has one; `None` if the bytes are too few.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        Some(Self { system_id: SystemId(u64_at(page, 24)?), segment_bytes: u32_at(page, 32)?, page_bytes: u32_at(page, 36)? })
    }
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFacts {
    /// The cluster that wrote it.
    pub system_id: SystemId,
    /// The major version of the server that wrote it.
    pub major_version: u32,
    /// The timeline in its first page: that of the name, or a parent's.
    pub timeline: TimelineId,
    /// How many pages from the first on belong to this segment. What follows was never written: zeros, or what a
    /// recycled file held before.
    pub pages: u64,
}

/// Bytes that are not the segment that their name says. Each says what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// A file of the wrong length.
    #[error("segment {name} has {found} bytes instead of {expected}")]
    WrongSize {
        /// The segment.
        name: SegmentName,
        /// `wal_segment_size` in bytes.
        expected: u64,
        /// The bytes there are.
        found: u64,
    },
    /// A name that no segment of this size has.
    #[error("a cluster with WAL segments of {} bytes has no segment {name}", size.bytes())]
    NoSuchName {
        /// The name.
        name: SegmentName,
        /// `wal_segment_size`.
        size: SegmentSize,
    },
    /// Not WAL, or that of a version that Holdfast does not know.
    #[error("segment {name}: {source}")]
    Version {
        /// The segment.
        name: SegmentName,
        /// What was found.
        source: UnsupportedVersion,
    },
    /// The first page of a segment has a long header, and this one has not.
    #[error("segment {name} does not begin with the header of a segment")]
    NoLongHeader {
        /// The segment.
        name: SegmentName,
    },
    /// Another cluster's WAL.
    #[error("segment {name} was written by the cluster with system identifier {found}, not by {expected}")]
    OtherSystem {
        /// The segment.
        name: SegmentName,
        /// The cluster whose WAL is stored here.
        expected: SystemId,
        /// The cluster that wrote the segment.
        found: SystemId,
    },
    /// The header's `wal_segment_size` or `XLOG_BLCKSZ` differs.
    #[error("segment {name} says {what} {found} instead of {expected}")]
    OtherSize {
        /// The segment.
        name: SegmentName,
        /// Which of the two.
        what: &'static str,
        /// Bytes.
        expected: u64,
        /// Bytes.
        found: u32,
    },
    /// Some other segment's content.
    #[error("segment {name} begins with the page of {found} instead of {expected}")]
    WrongAddress {
        /// The segment.
        name: SegmentName,
        /// Where the segment begins.
        expected: Lsn,
        /// What its first page says.
        found: Lsn,
    },
    /// A timeline that came into being after the one in the name.
    #[error("segment {name} begins with a page of timeline {found}, which is later than its name's")]
    LaterTimeline {
        /// The segment.
        name: SegmentName,
        /// What its first page says.
        found: TimelineId,
    },
}

impl SegmentError {
    /// What a person can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherSystem { .. } => {
                "give each cluster a resource of its own; after initdb or pg_upgrade a new lineage begins"
            }
            Self::Version { .. } => "see that the file is WAL, and that its server's version is supported",
            _ => "the file is damaged or is not what its name says; compare it with the one in the server's pg_wal",
        }
    }
}

/// Checks the first page of a segment against its name. `bytes` begin where the segment begins, and are at least a header.
///
/// # Errors
/// See `SegmentError`.
pub fn check_first_page(
    bytes: &[u8],
    name: SegmentName,
    size: SegmentSize,
    system: Option<SystemId>,
) -> Result<SegmentFacts, SegmentError> {
    let start = name.number(size).ok_or(SegmentError::NoSuchName { name, size })?.start(size);
    let short = SegmentError::WrongSize { name, expected: size.bytes(), found: bytes.len() as u64 };
    let (Some(page), Some(long)) = (PageHeader::parse(bytes), LongHeader::parse(bytes)) else { return Err(short) };
    let version = Version::of_page_magic(page.magic).map_err(|source| SegmentError::Version { name, source })?;
    if !page.is_long() {
        return Err(SegmentError::NoLongHeader { name });
    }
    check_sizes(name, size, long)?;
    match system {
        Some(expected) if expected != long.system_id => {
            return Err(SegmentError::OtherSystem { name, expected, found: long.system_id });
        }
        _ => {}
    }
    if page.address != start {
        return Err(SegmentError::WrongAddress { name, expected: start, found: page.address });
    }
    if page.timeline > name.timeline() {
        return Err(SegmentError::LaterTimeline { name, found: page.timeline });
    }
    Ok(SegmentFacts { system_id: long.system_id, major_version: version.major, timeline: page.timeline, pages: 1 })
}

fn check_sizes(name: SegmentName, size: SegmentSize, long: LongHeader) -> Result<(), SegmentError> {
    let check = |what, expected: u64, found: u32| {
        let same = expected == u64::from(found);
        if same { Ok(()) } else { Err(SegmentError::OtherSize { name, what, expected, found }) }
    };
    check("wal_segment_size", size.bytes(), long.segment_bytes)?;
    check("XLOG_BLCKSZ", PAGE_BYTES as u64, long.page_bytes)
}

/// Checks that `bytes` are the segment `name`: its length, its first page, and which of its pages were written.
///
/// A segment that ended early has a tail that was never written: zeros after a switch, old pages in a recycled file.
/// That is normal and shows in `SegmentFacts::pages`.
///
/// # Errors
/// See `SegmentError`.
pub fn check_segment(
    bytes: &[u8],
    name: SegmentName,
    size: SegmentSize,
    system: Option<SystemId>,
) -> Result<SegmentFacts, SegmentError> {
    let found = bytes.len() as u64;
    if found != size.bytes() {
        return Err(SegmentError::WrongSize { name, expected: size.bytes(), found });
    }
    let mut facts = check_first_page(bytes, name, size, system)?;
    facts.pages = written_pages(bytes);
    Ok(facts)
}

/// How many pages, from the first on, follow one another.
fn written_pages(bytes: &[u8]) -> u64 {
    let mut pages = bytes.chunks_exact(PAGE_BYTES).map_while(PageHeader::parse);
    let Some(first) = pages.next() else { return 0 };
    let follows =
        |at: &(u64, PageHeader)| at.1.magic == first.magic && at.1.address.0 == first.address.0 + at.0 * PAGE_BYTES as u64;
    1 + (1_u64..).zip(pages).take_while(follows).count() as u64
}

#[cfg(test)]
mod tests;
