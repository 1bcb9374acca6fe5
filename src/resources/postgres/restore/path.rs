//! The way through the timelines: which timeline's WAL is replayed from where to where.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::pg::{Lsn, TimelineId};

/// One line of a history file: on `timeline`, WAL is followed up to `end`, and then its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The ancestor.
    pub timeline: TimelineId,
    /// Where its child leaves it.
    pub end: Lsn,
}

/// The history files that are stored, by the timeline that they tell of. Each names all ancestors, the eldest first.
pub type Histories = BTreeMap<TimelineId, Vec<Switch>>;

/// What is stored of each timeline: stretches without a hole, in ascending order.
pub type StoredWal = BTreeMap<TimelineId, Vec<Range<Lsn>>>;

/// One timeline of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it begins: where it left its parent.
    pub start: Lsn,
    /// Where it is left; none for the last one.
    pub end: Option<Lsn>,
}

/// The way to a timeline from its eldest ancestor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelinePath {
    legs: Vec<Leg>,
}

impl TimelinePath {
    /// The way to `timeline`. Without a stored history it is taken for one that has no ancestors.
    #[must_use]
    pub fn to(timeline: TimelineId, histories: &Histories) -> Self {
        let mut legs = Vec::new();
        let mut start = Lsn::INVALID;
        for switch in histories.get(&timeline).map_or(&[][..], Vec::as_slice) {
            legs.push(Leg { timeline: switch.timeline, start, end: Some(switch.end) });
            start = switch.end;
        }
        legs.push(Leg { timeline, start, end: None });
        Self { legs }
    }

    /// Its timelines, the eldest first.
    #[must_use]
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// The timeline that it leads to.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.legs.last().expect("a path is made with at least one leg").timeline
    }

    /// Whether WAL of `timeline` up to `end` lies on it.
    #[must_use]
    pub fn includes(&self, timeline: TimelineId, end: Lsn) -> bool {
        let leg = self.legs.iter().find(|leg| leg.timeline == timeline);
        leg.is_some_and(|leg| leg.end.is_none_or(|leaves| end <= leaves))
    }

    /// The timeline whose file PostgreSQL asks for first for a segment that begins at `start` and ends at `end`: the youngest that
    /// begins before its end (`XLogFileReadAnyTLI`).
    #[must_use]
    pub fn timeline_of(&self, segment: &Range<Lsn>) -> TimelineId {
        let begun = self.legs.iter().rfind(|leg| leg.start < segment.end);
        begun.map_or(TimelineId::FIRST, |leg| leg.timeline)
    }

    /// What is stored along it: stretches without a hole, in ascending order. Of a timeline that was left, what lies behind that
    /// place does not count; the first segment of its child holds a copy of what lies before.
    #[must_use]
    pub fn stretches(&self, stored: &StoredWal) -> Vec<Range<Lsn>> {
        let mut pieces: Vec<Range<Lsn>> = Vec::new();
        for leg in &self.legs {
            for stretch in stored.get(&leg.timeline).map_or(&[][..], Vec::as_slice) {
                let end = leg.end.map_or(stretch.end, |leaves| leaves.min(stretch.end));
                pieces.extend((stretch.start < end).then_some(stretch.start..end));
            }
        }
        merged(pieces)
    }
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

    fn histories() -> Histories {
        let switch = |timeline: u32, end: u64| Switch { timeline: TimelineId(timeline), end: Lsn(end) };
        Histories::from([
            (TimelineId(2), vec![switch(1, 350)]),
            (TimelineId(3), vec![switch(1, 350), switch(2, 520)]),
            (TimelineId(4), vec![switch(1, 250)]),
        ])
    }

    #[test]
    fn a_path_follows_the_history_of_its_timeline() {
        let path = TimelinePath::to(TimelineId(3), &histories());
        let legs: Vec<(u32, u64, Option<u64>)> =
            path.legs().iter().map(|leg| (leg.timeline.0, leg.start.0, leg.end.map(|end| end.0))).collect();
        assert_eq!(legs, [(1, 0, Some(350)), (2, 350, Some(520)), (3, 520, None)]);
        assert!(path.includes(TimelineId(1), Lsn(350)) && !path.includes(TimelineId(1), Lsn(351)));
        assert!(!path.includes(TimelineId(4), Lsn(260)));
    }

    #[test]
    fn wal_that_a_timeline_wrote_after_it_was_left_does_not_count() {
        let stored = StoredWal::from([(TimelineId(1), vec![Lsn(0)..Lsn(500)]), (TimelineId(4), vec![Lsn(200)..Lsn(300)])]);
        assert_eq!(TimelinePath::to(TimelineId(4), &histories()).stretches(&stored), [Lsn(0)..Lsn(300)]);
        assert_eq!(TimelinePath::to(TimelineId(3), &histories()).stretches(&stored), [Lsn(0)..Lsn(350)]);
    }

    #[test]
    fn a_segment_with_a_switch_in_it_is_read_from_the_younger_timeline() {
        let path = TimelinePath::to(TimelineId(3), &histories());
        let timeline = |segment: u64| path.timeline_of(&(Lsn(segment * 100)..Lsn(segment * 100 + 100))).0;
        assert_eq!([0, 2, 3, 4, 5, 6].map(timeline), [1, 1, 2, 2, 3, 3]);
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
