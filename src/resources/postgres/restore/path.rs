//! What is stored along the way to a timeline.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId};

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
/// place does not count; the first segment of its child holds a copy of what lies before.
#[must_use]
pub fn stretches(path: &TimelineHistory, stored: &StoredWal) -> Vec<Range<Lsn>> {
    let mut pieces: Vec<Range<Lsn>> = Vec::new();
    for span in path.spans() {
        for stretch in stored.get(&span.timeline).map_or(&[][..], Vec::as_slice) {
            let end = span.end.map_or(stretch.end, |leaves| leaves.min(stretch.end));
            pieces.extend((stretch.start < end).then_some(stretch.start..end));
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

    #[test]
    fn wal_that_a_timeline_wrote_after_it_was_left_does_not_count() {
        let stored = StoredWal::from([(TimelineId(1), vec![Lsn(0)..Lsn(500)]), (TimelineId(4), vec![Lsn(200)..Lsn(300)])]);
        assert_eq!(stretches(&path(4, "1\t0/FA\tx\n"), &stored), [Lsn(0)..Lsn(300)]);
        assert_eq!(stretches(&path(3, "1\t0/15E\tx\n2\t0/208\tx\n"), &stored), [Lsn(0)..Lsn(350)]);
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
