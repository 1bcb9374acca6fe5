//! What is stored of the segment in which a stream begins: it is compared with what the server sends before anything is built on it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::coverage::{contiguous_end, minimal_chain};
use super::piece::{piece_bytes, piece_start};
use super::slicing::StoredSlice;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize};
use crate::repository::{Result, Slice, WalArchive};

use super::start::Begin;

/// Slices that an earlier stream stored.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Those still to be compared, in order.
    unconfirmed: VecDeque<StoredSlice>,
    /// The end of what they cover without a hole from where the stream begins.
    end: Lsn,
    /// Where all of it can be compared without being read.
    compared_from: Lsn,
    /// Those that others stand for, by the piece whose storing makes them superfluous.
    leftover: BTreeMap<Lsn, Vec<Slice>>,
}

impl Known {
    /// Lists what is stored of the segment in which a stream begins.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(archive: &WalArchive, begin: Begin) -> Result<Self> {
        let size = archive.segment_size();
        let segment = SegmentName::new(begin.timeline, SegmentNumber::containing(begin.lsn, size), size);
        Ok(Self::of(&archive.slices(segment).await?, begin.lsn, size))
    }

    /// From the stored slices of the segment in which a stream begins at `begin`.
    fn of(slices: &[Slice], begin: Lsn, size: SegmentSize) -> Self {
        let (offset, segment) = (size.offset(begin), begin.0 - size.offset(begin));
        let later: Vec<&Slice> = slices.iter().filter(|slice| slice.bytes.start >= offset).collect();
        let ranges: Vec<Range<u64>> = later.iter().map(|slice| slice.bytes.start - offset..slice.bytes.end - offset).collect();
        let end = contiguous_end(&ranges, 0);
        let chain = minimal_chain(&ranges, end).unwrap_or_default();
        let at = |range: &Range<u64>| Lsn(begin.0 + range.start)..Lsn(begin.0 + range.end);
        let whole = |range: &Range<Lsn>| range.end.bytes_since(range.start) >= piece_bytes(size);
        let unconfirmed = chain.iter().map(at).filter(|range| !whole(range));
        let unconfirmed = unconfirmed.map(|range| StoredSlice { range, level: 0, activity: Activity::default() }).collect();
        let mut leftover: BTreeMap<Lsn, Vec<Slice>> = BTreeMap::new();
        for (slice, range) in later.into_iter().zip(&ranges).filter(|(_, range)| !chain.contains(range) && !whole(&at(range))) {
            let piece = piece_start(Lsn(segment + slice.bytes.start), size);
            debug_assert!(range.start < range.end);
            leftover.entry(piece).or_default().push(slice.clone());
        }
        let compared_from = if overlap_in_part(&ranges) { Lsn(begin.0 + end) } else { Lsn::INVALID };
        Self { unconfirmed, end: Lsn(begin.0 + end), compared_from, leftover }
    }

    /// The end of what was stored before.
    pub const fn end(&self) -> Lsn {
        self.end
    }

    /// Up to where the server's WAL has to be there before anything is compared. Slices that overlap in part can be compared by their hashes only
    /// where all bytes of both are there; who cannot read them has no other way.
    pub const fn compared_from(&self) -> Lsn {
        self.compared_from
    }

    /// The next position past `position` at which bytes are to be cut; that is where a slice ends.
    pub fn next_end(&self, position: Lsn) -> Lsn {
        let ends = self.unconfirmed.iter().map(|slice| slice.range.end);
        ends.filter(|end| *end > position).min().unwrap_or(Lsn(u64::MAX))
    }

    /// Whether a slice ends there.
    pub fn ends_at(&self, position: Lsn) -> bool {
        self.unconfirmed.iter().any(|slice| slice.range.end == position)
    }

    /// Notes what happens in the slice that ends there.
    pub fn happened(&mut self, end: Lsn, activity: &Activity) {
        self.unconfirmed.iter_mut().filter(|slice| slice.range.end == end).for_each(|slice| slice.activity = activity.clone());
    }

    /// The next slice to be compared.
    pub fn next_to_confirm(&self) -> Option<&StoredSlice> {
        self.unconfirmed.front()
    }

    /// Notes that a slice holds what the server sent.
    pub fn confirmed(&mut self, range: &Range<Lsn>) {
        if self.unconfirmed.front().is_some_and(|slice| slice.range == *range) {
            self.unconfirmed.pop_front();
        }
    }

    /// Whether nothing before `end` is left to be compared.
    pub fn is_confirmed_before(&self, end: Lsn) -> bool {
        self.unconfirmed.front().is_none_or(|slice| slice.range.start >= end)
    }

    /// The slices of a piece that others stand for.
    pub fn take_leftover(&mut self, piece: Lsn) -> Vec<Slice> {
        self.leftover.remove(&piece).unwrap_or_default()
    }
}

/// Whether any two of them overlap, and neither holds the other.
fn overlap_in_part(ranges: &[Range<u64>]) -> bool {
    let in_part = |a: &Range<u64>, b: &Range<u64>| a.start < b.start && b.start < a.end && a.end < b.end;
    ranges.iter().any(|a| ranges.iter().any(|b| in_part(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::TimelineId;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn slices(ranges: &[Range<u64>]) -> Vec<Slice> {
        let segment = SegmentName::new(TimelineId(1), SegmentNumber(3), SIZE);
        ranges.iter().map(|bytes| Slice { segment, bytes: bytes.clone() }).collect()
    }

    #[test]
    fn what_a_merge_left_behind_is_not_compared_again() {
        let begin = SegmentNumber(3).start(SIZE);
        let mut known = Known::of(&slices(&[0..100, 0..10, 10..100, 100..200, 300..400]), begin, SIZE);
        assert_eq!(known.end(), Lsn(begin.0 + 200));
        assert_eq!(known.unconfirmed.iter().map(|slice| slice.range.end.0 - begin.0).collect::<Vec<_>>(), [100, 200]);
        assert_eq!(known.take_leftover(begin), slices(&[0..10, 10..100, 300..400]));
        assert_eq!(known.compared_from(), Lsn::INVALID);
        let first = begin..Lsn(begin.0 + 100);
        assert!(!known.is_confirmed_before(Lsn(begin.0 + 50)));
        known.confirmed(&first);
        assert!(known.is_confirmed_before(Lsn(begin.0 + 50)) && !known.is_confirmed_before(Lsn(begin.0 + 150)));
    }

    #[test]
    fn slices_that_overlap_in_part_are_compared_when_all_of_them_has_come() {
        let begin = SegmentNumber(3).start(SIZE);
        let known = Known::of(&slices(&[0..100, 50..150, 100..200, 300..400]), begin, SIZE);
        assert_eq!(known.compared_from(), Lsn(begin.0 + 200));
    }

    #[test]
    fn whole_pieces_of_a_large_segment_are_compared_when_they_are_stored_again() {
        let size = SegmentSize::try_from(64 << 20).unwrap();
        let piece = 16 << 20;
        let known = Known::of(&slices(&[0..piece, piece..2 * piece, 2 * piece..2 * piece + 5]), Lsn(0), size);
        assert_eq!(known.end(), Lsn(2 * piece + 5));
        assert_eq!(known.unconfirmed.len(), 1);
    }
}
