//! The piece of a segment that is being filled, in memory: the unit in which WAL is stored for good. Pure.
//!
//! A segment of up to 16 MiB is one piece; a larger one consists of pieces of 16 MiB, each stored as a slice, so that memory does not
//! grow with `wal_segment_size`.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId};
use crate::repository::Slice;
use crate::sys::buffer::{buffer, into_bytes};

/// No piece is larger.
const PIECE_BYTES_MAX: u64 = 16 << 20;

/// The size of the pieces of a cluster's segments.
pub(super) const fn piece_bytes(size: SegmentSize) -> u64 {
    if size.bytes() < PIECE_BYTES_MAX { size.bytes() } else { PIECE_BYTES_MAX }
}

/// Where the piece with the byte at `lsn` begins.
pub(super) const fn piece_start(lsn: Lsn, size: SegmentSize) -> Lsn {
    Lsn(lsn.0 - lsn.0 % piece_bytes(size))
}

/// The slice of `segment` that holds the WAL of `range`.
pub(super) const fn slice_of(segment: SegmentName, range: &Range<Lsn>, size: SegmentSize) -> Slice {
    let start = size.offset(range.start);
    Slice { segment, bytes: start..start + range.end.bytes_since(range.start) }
}

/// The bytes of a piece.
#[derive(Debug)]
enum Content {
    Filling(Vec<u8>),
    Full(Bytes),
}

/// A piece, full or not.
#[derive(Debug)]
pub(super) struct Piece {
    /// The timeline that it is streamed on.
    pub timeline: TimelineId,
    start: Lsn,
    size: SegmentSize,
    content: Content,
    /// When the first byte arrived of which no slice was made.
    unsliced_since: Option<Instant>,
    /// The end of what slices were made of, whether they are stored yet or not.
    sliced: Lsn,
    /// What happens in it.
    activity: Activity,
    /// The part of it of which no slice was made.
    fresh: Activity,
}

impl Piece {
    /// The empty piece that begins at `start`.
    pub fn new(timeline: TimelineId, start: Lsn, size: SegmentSize) -> Self {
        let (content, activity, fresh) = (Content::Filling(Vec::new()), Activity::default(), Activity::default());
        Self { timeline, start, size, content, unsliced_since: None, sliced: start, activity, fresh }
    }

    /// Where it begins.
    pub const fn start(&self) -> Lsn {
        self.start
    }

    /// The end of what it holds.
    pub fn received(&self) -> Lsn {
        Lsn(self.start.0 + self.len() as u64)
    }

    /// Where it ends when it is full.
    pub const fn end(&self) -> Lsn {
        Lsn(self.start.0 + piece_bytes(self.size))
    }

    /// Whether it is full.
    pub fn is_full(&self) -> bool {
        self.received() == self.end()
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        match &self.content {
            Content::Filling(bytes) => bytes.len(),
            Content::Full(bytes) => bytes.len(),
        }
    }

    /// Whether it is a whole segment when it is full.
    pub const fn is_segment(&self) -> bool {
        piece_bytes(self.size) == self.size.bytes()
    }

    /// Whether its segment begins with it.
    pub const fn begins_segment(&self) -> bool {
        self.size.offset(self.start) == 0
    }

    /// The segment that it belongs to.
    pub fn segment(&self) -> SegmentName {
        SegmentName::new(self.timeline, SegmentNumber::containing(self.start, self.size), self.size)
    }

    /// Takes as many bytes as it has room for, and says how many.
    pub fn take(&mut self, bytes: &[u8], now: Instant) -> usize {
        let room = usize::try_from(self.end().bytes_since(self.received())).unwrap_or(usize::MAX);
        let taken = room.min(bytes.len());
        let Content::Filling(content) = &mut self.content else { return 0 };
        if content.is_empty() {
            *content = buffer(room);
        }
        content.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.content = Content::Full(into_bytes(std::mem::take(content)));
        }
        if self.received() > self.sliced {
            self.unsliced_since.get_or_insert(now);
        }
        taken
    }

    /// Notes what happens in the bytes that were just taken.
    pub fn happened(&mut self, activity: Activity) {
        self.activity.extend(activity.clone());
        self.fresh.extend(activity);
    }

    /// What happens since the last time that this was asked: for a slice that ends here.
    pub fn take_fresh_activity(&mut self) -> Activity {
        std::mem::take(&mut self.fresh)
    }

    /// When the first byte arrived of which no slice was made.
    pub const fn unsliced_since(&self) -> Option<Instant> {
        self.unsliced_since
    }

    /// What no slice was made of yet.
    pub fn unsliced(&self) -> Option<Range<Lsn>> {
        (self.sliced < self.received()).then(|| self.sliced..self.received())
    }

    /// Notes that a slice was made of everything up to `end`; of what is known to be stored that can lie ahead of what was received.
    pub fn sliced_to(&mut self, end: Lsn) {
        self.sliced = self.sliced.max(end);
        if self.sliced >= self.received() {
            self.unsliced_since = None;
        }
    }

    /// Some of its bytes; `None` if they are not all here. Of a full piece this is no copy.
    pub fn part(&self, range: &Range<Lsn>) -> Option<Bytes> {
        let offset = |lsn: Lsn| usize::try_from(lsn.0.checked_sub(self.start.0)?).ok();
        let (start, end) = (offset(range.start)?, offset(range.end)?);
        match &self.content {
            Content::Filling(bytes) => bytes.get(start..end).map(copy),
            Content::Full(bytes) => (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end)),
        }
    }

    /// What happens in all of it.
    pub const fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The name of a slice of it.
    pub fn slice(&self, range: &Range<Lsn>) -> Slice {
        slice_of(self.segment(), range, self.size)
    }
}

fn copy(bytes: &[u8]) -> Bytes {
    let mut copied = buffer(bytes.len());
    copied.extend_from_slice(bytes);
    into_bytes(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slice_is_named_after_its_place_in_the_segment() {
        let size = SegmentSize::try_from(64 << 20).unwrap();
        let piece = Piece::new(TimelineId(1), Lsn(0x5000_0000 + (16 << 20)), size);
        let slice = piece.slice(&(Lsn(0x5100_0000)..Lsn(0x5100_1000)));
        assert_eq!(slice.segment.to_string(), "000000010000000000000014");
        assert_eq!(slice.bytes, 0x100_0000..0x100_1000);
        assert!(!piece.is_segment() && !piece.begins_segment());
    }

    proptest! {
        #[test]
        fn a_piece_takes_what_fits_and_gives_it_back(chunks in prop::collection::vec(1_usize..300_000, 0..30)) {
            let size = SegmentSize::try_from(1 << 20).unwrap();
            let mut piece = Piece::new(TimelineId(1), Lsn(3 << 20), size);
            let mut all = Vec::new();
            for (number, length) in chunks.into_iter().enumerate() {
                let chunk = vec![u8::try_from(number).unwrap(); length];
                let taken = piece.take(&chunk, crate::sys::clock::instant());
                prop_assert!(taken == length || piece.is_full());
                all.extend_from_slice(&chunk[..taken]);
            }
            prop_assert_eq!(piece.part(&(piece.start()..Lsn(piece.received().0 + 1))), None);
            prop_assert_eq!(piece.unsliced().is_some(), !all.is_empty());
            prop_assert_eq!(piece.part(&(piece.start()..piece.received())), Some(Bytes::from(all)));
        }
    }
}
