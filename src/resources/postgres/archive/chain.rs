//! The server's history as a chain of branches: which timeline a position belongs to. Pure.

use std::ops::Range;

use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId};

/// The part of one timeline that belongs to the history of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Branch {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it begins: where its parent ends.
    pub begin: Lsn,
    /// Where its child begins; `None` for the timeline that the server is on.
    pub end: Option<Lsn>,
}

impl Branch {
    /// Its end, or the end of all positions.
    pub fn limit(&self) -> Lsn {
        self.end.unwrap_or(Lsn(u64::MAX))
    }
}

/// All ancestors of a timeline and itself, the oldest first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain(Vec<Branch>);

impl Chain {
    /// The chain of `current`, from the (timeline, switch position) pairs of its history file.
    pub fn new(current: TimelineId, ancestors: impl IntoIterator<Item = (TimelineId, Lsn)>) -> Self {
        let (mut branches, mut begin) = (Vec::new(), Lsn::INVALID);
        for (timeline, switch) in ancestors {
            branches.push(Branch { timeline, begin, end: Some(switch) });
            begin = switch;
        }
        branches.push(Branch { timeline: current, begin, end: None });
        Self(branches)
    }

    /// The chain that a history tells of.
    pub fn of(history: &TimelineHistory) -> Self {
        Self::new(history.timeline(), history.ancestors().iter().map(|ancestor| (ancestor.timeline, ancestor.end)))
    }

    /// The branches, the oldest first.
    pub fn branches(&self) -> &[Branch] {
        &self.0
    }

    /// The timeline that the server is on.
    pub fn newest(&self) -> TimelineId {
        self.0.last().expect("a chain has at least one branch").timeline
    }

    /// The branch with the byte at `lsn`.
    pub fn at(&self, lsn: Lsn) -> Branch {
        let found = self.0.iter().find(|branch| branch.begin <= lsn && lsn < branch.limit());
        *found.or(self.0.last()).expect("a chain has at least one branch")
    }

    /// The branches that begin at or before `lsn`, the newest first.
    pub fn back_from(&self, lsn: Lsn) -> impl Iterator<Item = Branch> {
        self.0.iter().rev().copied().filter(move |branch| branch.begin <= lsn)
    }

    /// The parts of a range, by timeline.
    pub fn split(&self, range: &Range<Lsn>) -> Vec<(TimelineId, Range<Lsn>)> {
        let part = |branch: &Branch| branch.begin.max(range.start)..branch.limit().min(range.end);
        let parts = self.0.iter().map(|branch| (branch.timeline, part(branch)));
        parts.filter(|(_, part)| part.start < part.end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        Chain::new(TimelineId(5), [(TimelineId(1), Lsn(100)), (TimelineId(3), Lsn(250))])
    }

    #[test]
    fn a_switch_position_belongs_to_the_child() {
        for (lsn, timeline) in [(0, 1), (99, 1), (100, 3), (249, 3), (250, 5), (u64::MAX, 5)] {
            assert_eq!(chain().at(Lsn(lsn)).timeline, TimelineId(timeline), "{lsn}");
        }
        assert_eq!(chain().back_from(Lsn(120)).map(|branch| branch.timeline.0).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn a_range_is_split_where_timelines_change() {
        let parts = chain().split(&(Lsn(50)..Lsn(260)));
        let parts: Vec<_> = parts.into_iter().map(|(timeline, part)| (timeline.0, part.start.0, part.end.0)).collect();
        assert_eq!(parts, [(1, 50, 100), (3, 100, 250), (5, 250, 260)]);
        assert_eq!(chain().split(&(Lsn(120)..Lsn(120))), []);
    }
}
