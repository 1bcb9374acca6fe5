//! What is stored of the segments from the one on in which a stream begins: it is compared with what the server sends before anything is
//! built on it. Where the slot was set back (the server crashed, another one was promoted) that can be several segments.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::coverage::{contiguous_end, minimal_chain};
use super::piece::{piece_bytes, piece_start, slice_of};
use super::slicing::StoredSlice;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, WalFileName};
use crate::repository::{Result, Slice, WalArchive, WalObject};

use super::start::Begin;

/// How many keys one listing asks for: what stores give at most.
const PAGE_ENTRIES: usize = 1000;

/// Slices that an earlier stream stored.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Those still to be compared, in order.
    unconfirmed: VecDeque<StoredSlice>,
    /// What they cover, by where the segment begins, or the stream in it.
    covered: BTreeMap<Lsn, Covered>,
    /// Those that others stand for, by the piece whose storing makes them superfluous.
    leftover: BTreeMap<Lsn, Vec<Slice>>,
}

/// What the slices of one segment cover.
#[derive(Debug, Clone, Copy)]
struct Covered {
    /// The end of what they cover without a hole.
    end: Lsn,
    /// Where all of it can be compared without being read.
    compared_from: Lsn,
}

impl Known {
    /// Lists what is stored of the segment in which a stream begins, and of the later ones that are not stored whole. `limit`: where the
    /// timeline ends in the server's history, if it does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(archive: &WalArchive, begin: Begin, limit: Option<Lsn>) -> Result<Self> {
        let size = archive.segment_size();
        let first = SegmentNumber::containing(begin.lsn, size);
        let name = |number: SegmentNumber| SegmentName::new(begin.timeline, number, size);
        let mut known = Self::default();
        let slices = archive.slices(name(first)).await?;
        known.add(&slices, begin.lsn, limit, size);
        let later = slices_from(archive, name(first.next())).await?;
        for slices in later.chunk_by(|one, other| one.segment == other.segment) {
            if let Some(number) = slices.first().and_then(|slice| slice.segment.number(size)) {
                known.add(slices, number.start(size), limit, size);
            }
        }
        Ok(known)
    }

    /// Adds the stored slices of a segment, from `begin` on. What reaches beyond `limit` comes from another history, and the server never sends
    /// all of it: it is left alone.
    fn add(&mut self, slices: &[Slice], begin: Lsn, limit: Option<Lsn>, size: SegmentSize) {
        let (offset, segment) = (size.offset(begin), begin.0 - size.offset(begin));
        let is_sent = |slice: &Slice| limit.is_none_or(|limit| segment + slice.bytes.end <= limit.0);
        let later: Vec<&Slice> = slices.iter().filter(|slice| slice.bytes.start >= offset && is_sent(slice)).collect();
        let ranges: Vec<Range<u64>> = later.iter().map(|slice| slice.bytes.start - offset..slice.bytes.end - offset).collect();
        let end = contiguous_end(&ranges, 0);
        let chain = minimal_chain(&ranges, end).unwrap_or_default();
        let at = |range: &Range<u64>| Lsn(begin.0 + range.start)..Lsn(begin.0 + range.end);
        let whole = |range: &Range<Lsn>| range.end.bytes_since(range.start) >= piece_bytes(size);
        let unconfirmed = chain.iter().map(at).filter(|range| !whole(range));
        self.unconfirmed.extend(unconfirmed.map(|range| StoredSlice { range, level: 0, activity: Activity::default() }));
        for (slice, range) in later.into_iter().zip(&ranges).filter(|(_, range)| !chain.contains(range) && !whole(&at(range))) {
            let piece = piece_start(Lsn(segment + slice.bytes.start), size);
            debug_assert!(range.start < range.end);
            self.leftover.entry(piece).or_default().push(slice.clone());
        }
        let compared_from = if overlap_in_part(&ranges) { Lsn(begin.0 + end) } else { Lsn::INVALID };
        self.covered.insert(begin, Covered { end: Lsn(begin.0 + end), compared_from });
    }

    /// What is covered of the segment with the byte at `lsn`, or of the last one before it of which anything is.
    fn around(&self, lsn: Lsn) -> Option<Covered> {
        self.covered.range(..=lsn).next_back().map(|(_, covered)| *covered)
    }

    /// The end of what was stored before of the segment with the byte at `lsn`; not past `lsn` where nothing of it was.
    pub fn end(&self, lsn: Lsn) -> Lsn {
        self.around(lsn).map_or(Lsn::INVALID, |covered| covered.end)
    }

    /// Up to where the server's WAL has to be there before anything of the segment with the byte at `lsn` is compared. Slices that overlap in
    /// part can be compared by their hashes only where all bytes of both are there; who cannot read them has no other way.
    pub fn compared_from(&self, lsn: Lsn) -> Lsn {
        self.around(lsn).map_or(Lsn::INVALID, |covered| covered.compared_from)
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

    /// Leaves a slice and those of its piece to the whole segment, which is stored as well, and compared when all of it has come: until
    /// then none of them is.
    pub fn leave_to_whole(&mut self, piece: &Range<Lsn>, slice: Slice, size: SegmentSize) {
        let segment = slice.segment;
        let (left, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unconfirmed).into_iter().partition(|slice| piece.contains(&slice.range.start));
        self.unconfirmed = kept.into();
        let left = left.into_iter().map(|slice| slice_of(segment, &slice.range, size)).chain([slice]);
        self.leftover.entry(piece.start).or_default().extend(left);
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

/// The slices of the segments from `from` on that are not stored whole, in order. Those of whole ones are compared with these.
async fn slices_from(archive: &WalArchive, from: SegmentName) -> Result<Vec<Slice>> {
    let (mut slices, mut whole) = (Vec::new(), None);
    let mut page = archive.list_from(from, PAGE_ENTRIES).await?;
    loop {
        for stored in &page {
            match &stored.object {
                WalObject::File(WalFileName::Segment(name)) => whole = Some(*name),
                WalObject::Slice(slice) if whole != Some(slice.segment) => slices.push(slice.clone()),
                _ => {}
            }
        }
        match page.last() {
            Some(last) if page.len() >= PAGE_ENTRIES => page = archive.list_after(&last.object, PAGE_ENTRIES).await?,
            _ => return Ok(slices),
        }
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

    fn slices(number: u64, ranges: &[Range<u64>]) -> Vec<Slice> {
        let segment = SegmentName::new(TimelineId(1), SegmentNumber(number), SIZE);
        ranges.iter().map(|bytes| Slice { segment, bytes: bytes.clone() }).collect()
    }

    /// What is known of segments, by their slices; the first one from its beginning on.
    fn known(segments: &[(u64, &[Range<u64>])], limit: Option<Lsn>) -> Known {
        let mut known = Known::default();
        for (number, ranges) in segments {
            known.add(&slices(*number, ranges), SegmentNumber(*number).start(SIZE), limit, SIZE);
        }
        known
    }

    fn ends(known: &Known, begin: Lsn) -> Vec<u64> {
        known.unconfirmed.iter().map(|slice| slice.range.end.0 - begin.0).collect()
    }

    #[test]
    fn what_a_merge_left_behind_is_not_compared_again() {
        let begin = SegmentNumber(3).start(SIZE);
        let mut known = known(&[(3, &[0..100, 0..10, 10..100, 100..200, 300..400])], None);
        assert_eq!(known.end(begin), Lsn(begin.0 + 200));
        assert_eq!(ends(&known, begin), [100, 200]);
        assert_eq!(known.take_leftover(begin), slices(3, &[0..10, 10..100, 300..400]));
        assert_eq!(known.compared_from(begin), Lsn::INVALID);
        let first = begin..Lsn(begin.0 + 100);
        assert!(!known.is_confirmed_before(Lsn(begin.0 + 50)));
        known.confirmed(&first);
        assert!(known.is_confirmed_before(Lsn(begin.0 + 50)) && !known.is_confirmed_before(Lsn(begin.0 + 150)));
    }

    #[test]
    fn slices_that_overlap_in_part_are_compared_when_all_of_them_has_come() {
        let begin = SegmentNumber(3).start(SIZE);
        let known = known(&[(3, &[0..100, 50..150, 100..200, 300..400])], None);
        assert_eq!(known.compared_from(begin), Lsn(begin.0 + 200));
    }

    #[test]
    fn each_segment_is_known_by_its_own_slices() {
        let [third, fourth, fifth] = [3, 4, 5].map(|number| SegmentNumber(number).start(SIZE));
        let known = known(&[(3, &[0..60, 60..100]), (4, &[0..100, 50..150])], None);
        assert_eq!(
            [third, Lsn(fourth.0 - 1), fourth].map(|lsn| known.end(lsn)),
            [Lsn(third.0 + 100), Lsn(third.0 + 100), Lsn(fourth.0 + 150)]
        );
        assert!(known.end(fifth) < fifth, "nothing of it is stored");
        assert_eq!([third, fourth].map(|lsn| known.compared_from(lsn)), [Lsn::INVALID, Lsn(fourth.0 + 150)]);
        assert!(!known.is_confirmed_before(fourth) && known.next_end(fourth) == Lsn(fourth.0 + 100));
    }

    #[test]
    fn what_reaches_beyond_the_end_of_the_timeline_is_left_alone() {
        let begin = SegmentNumber(3).start(SIZE);
        let mut known = known(&[(3, &[0..100, 100..300, 120..160])], Some(Lsn(begin.0 + 200)));
        assert_eq!((known.end(begin), ends(&known, begin)), (Lsn(begin.0 + 100), vec![100]));
        assert_eq!(known.take_leftover(begin), slices(3, std::slice::from_ref(&(120..160))));
    }

    #[test]
    fn whole_pieces_of_a_large_segment_are_compared_when_they_are_stored_again() {
        let size = SegmentSize::try_from(64 << 20).unwrap();
        let piece = 16 << 20;
        let mut known = Known::default();
        known.add(&slices(0, &[0..piece, piece..2 * piece, 2 * piece..2 * piece + 5]), Lsn(0), None, size);
        assert_eq!(known.end(Lsn(0)), Lsn(2 * piece + 5));
        assert_eq!(known.unconfirmed.len(), 1);
    }
}
