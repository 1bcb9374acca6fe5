//! What is stored along the way to a timeline.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentNumber, SegmentSize, TimelineId};

/// The history files that are stored, by the timeline that they tell of.
pub type Histories = BTreeMap<TimelineId, TimelineHistory>;

/// What is stored of each timeline: stretches without a hole, in ascending order.
pub type StoredWal = BTreeMap<TimelineId, Vec<Range<Lsn>>>;

/// The way to `timeline`. Without a stored history it is taken for one that has no ancestors.
#[must_use]
pub fn path_to(timeline: TimelineId, histories: &Histories) -> TimelineHistory {
    histories.get(&timeline).cloned().unwrap_or(TimelineHistory::without_ancestors(timeline))
}

/// What is stored along a path: stretches without a hole, in ascending order. Of a timeline that was left, what lies behind that
/// place does not count; nor does what it wrote before to the segment in which it was left, since a server on its way along the path reads the
/// child's segment, which begins with a copy of that.
#[must_use]
pub fn stretches(path: &TimelineHistory, stored: &StoredWal, size: SegmentSize) -> Vec<Range<Lsn>> {
    let segment_of = |lsn| SegmentNumber::containing(lsn, size).start(size);
    let mut pieces: Vec<Range<Lsn>> = Vec::new();
    for span in path.spans() {
        for stretch in stored.get(&span.timeline).map_or(&[][..], Vec::as_slice) {
            let start = stretch.start.max(segment_of(span.start));
            let end = span.end.map_or(stretch.end, |leaves| segment_of(leaves).min(stretch.end));
            pieces.extend((start < end).then_some(start..end));
        }
    }
    merged(pieces)
}

fn merged(mut pieces: Vec<Range<Lsn>>) -> Vec<Range<Lsn>> {
    pieces.sort_by_key(|piece| piece.start);
    let mut merged: Vec<Range<Lsn>> = Vec::new();
    for piece in pieces {
        match merged.last_mut() {
            Some(last) if piece.start <= last.end => last.end = last.end.max(piece.end),
            _ => merged.push(piece),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(timeline: u32, content: &str) -> TimelineHistory {
        TimelineHistory::parse(TimelineId(timeline), content.as_bytes()).unwrap()
    }

    const SEGMENT: u64 = 1 << 20;

    fn segments(range: Range<u64>) -> Range<Lsn> {
        Lsn(range.start * SEGMENT)..Lsn(range.end * SEGMENT)
    }

    fn along(path: &TimelineHistory, stored: &StoredWal) -> Vec<Range<Lsn>> {
        stretches(path, stored, SegmentSize::try_from(SEGMENT).unwrap())
    }

    #[test]
    fn wal_that_a_timeline_wrote_after_it_was_left_does_not_count() {
        let stored = StoredWal::from([(TimelineId(1), vec![segments(0..50)]), (TimelineId(4), vec![segments(20..30)])]);
        assert_eq!(along(&path(4, "1\t0/1400100\tx\n"), &stored), [segments(0..30)]);
        assert_eq!(along(&path(3, "1\t0/1400000\tx\n2\t0/1E00000\tx\n"), &stored), [segments(0..20)]);
    }

    #[test]
    fn the_segment_in_which_a_timeline_was_left_is_its_childs() {
        let left_in_20 = path(2, "1\t0/1400100\tx\n");
        let stored = |of_child| StoredWal::from([(TimelineId(1), vec![segments(0..50)]), (TimelineId(2), vec![of_child])]);
        assert_eq!(along(&left_in_20, &stored(segments(20..22))), [segments(0..22)]);
        assert_eq!(
            along(&left_in_20, &stored(segments(21..22))),
            [segments(0..20), segments(21..22)],
            "the child's is not stored"
        );
        let twice = path(3, "1\t0/1400100\tx\n2\t0/1400200\tx\n");
        let both = StoredWal::from([(TimelineId(1), vec![segments(0..50)]), (TimelineId(3), vec![segments(20..22)])]);
        assert_eq!(along(&twice, &both), [segments(0..22)], "nothing is read of a timeline that was left where it began");
    }

    proptest! {
        #[test]
        fn a_byte_is_in_a_stretch_if_and_only_if_a_piece_holds_it(pieces in prop::collection::vec((0_u64..60, 0_u64..9), 0..12)) {
            let ranges: Vec<Range<Lsn>> = pieces.iter().filter(|(_, size)| *size > 0).map(|(at, size)| Lsn(*at)..Lsn(at + size)).collect();
            let stretches = merged(ranges.clone());
            for byte in (0..80).map(Lsn) {
                let held = ranges.iter().any(|range| range.contains(&byte));
                prop_assert_eq!(stretches.iter().filter(|range| range.contains(&byte)).count(), usize::from(held));
            }
            prop_assert!(stretches.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
