//! Timeline histories: how a timeline descends from its ancestors, and whether a position lies on that way.
//!
//! Sources: `readTimeLineHistory`, `tliOfPointInHistory` and `tliSwitchPoint` in PostgreSQL's `access/transam/timeline.c`.

use super::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId};

/// Where a timeline left its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// The ancestor.
    pub timeline: TimelineId,
    /// Its WAL counts up to here; from here on, that of the next does.
    pub end: Lsn,
    /// What PostgreSQL wrote as the reason: `before 2026-11-22 09:00:00+00`, `no recovery target specified`.
    pub reason: String,
}

/// A timeline with all its ancestors, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: TimelineId,
    ancestors: Vec<Ancestor>,
}

/// A stretch of WAL on one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first position; invalid for the oldest timeline, whose beginning the history does not tell.
    pub start: Lsn,
    /// The position after the last; `None` if the timeline goes on.
    pub end: Option<Lsn>,
}

/// A history file that PostgreSQL would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the history of timeline {timeline}: {reason}")]
pub struct HistoryError {
    /// The timeline whose history it is.
    pub timeline: TimelineId,
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl TimelineHistory {
    /// A timeline without ancestors: the first of a cluster, which has no history file.
    #[must_use]
    pub const fn without_ancestors(timeline: TimelineId) -> Self {
        Self { timeline, ancestors: Vec::new() }
    }

    /// Reads the content of the history file of `timeline`.
    ///
    /// # Errors
    /// A line that is not an ancestor with its switch position, or timelines or positions that do not rise.
    pub fn parse(timeline: TimelineId, content: &[u8]) -> Result<Self, HistoryError> {
        let mut ancestors: Vec<Ancestor> = Vec::new();
        for (line, text) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            let error = |reason| HistoryError { timeline, line, reason };
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let ancestor = parse_line(text).ok_or_else(|| error("not a timeline and the position where it was left"))?;
            let last = ancestors.last();
            if ancestor.timeline >= timeline || last.is_some_and(|last| ancestor.timeline <= last.timeline) {
                return Err(error("timelines must rise, and stay below the one whose history it is"));
            }
            if last.is_some_and(|last| ancestor.end < last.end) {
                return Err(error("positions must not fall"));
            }
            ancestors.push(ancestor);
        }
        Ok(Self { timeline, ancestors })
    }

    /// The timeline whose history it is.
    #[must_use]
    pub const fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// Its ancestors, oldest first.
    #[must_use]
    pub fn ancestors(&self) -> &[Ancestor] {
        &self.ancestors
    }

    /// The timeline that it left directly.
    #[must_use]
    pub fn parent(&self) -> Option<&Ancestor> {
        self.ancestors.last()
    }

    /// The stretches of WAL that lead to the timeline, oldest first, the timeline itself last.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let starts = std::iter::once(Lsn::INVALID).chain(self.ancestors.iter().map(|ancestor| ancestor.end));
        let ends = self.ancestors.iter().map(|ancestor| (ancestor.timeline, Some(ancestor.end)));
        let ends = ends.chain(std::iter::once((self.timeline, None)));
        starts.zip(ends).map(|(start, (timeline, end))| Span { timeline, start, end }).collect()
    }

    /// Whether `timeline` is this timeline or one of its ancestors.
    #[must_use]
    pub fn includes(&self, timeline: TimelineId) -> bool {
        timeline == self.timeline || self.ancestors.iter().any(|ancestor| ancestor.timeline == timeline)
    }

    /// Where this history left `timeline`; `None` if it did not, because it is the timeline itself or no ancestor.
    #[must_use]
    pub fn switch_from(&self, timeline: TimelineId) -> Option<Lsn> {
        self.ancestors.iter().find(|ancestor| ancestor.timeline == timeline).map(|ancestor| ancestor.end)
    }

    /// Whether all WAL of `timeline` before `end` lies on the way to this timeline. A backup that ended there can be
    /// recovered along this history; if not, its timeline was left before it ended.
    #[must_use]
    pub fn reaches(&self, timeline: TimelineId, end: Lsn) -> bool {
        timeline == self.timeline || self.switch_from(timeline).is_some_and(|switch| end <= switch)
    }

    /// The timeline whose WAL the byte at `lsn` is, on the way to this timeline.
    #[must_use]
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        let left_later = self.ancestors.iter().find(|ancestor| lsn < ancestor.end);
        left_later.map_or(self.timeline, |ancestor| ancestor.timeline)
    }

    /// The file that holds segment `number` on the way to this timeline. In the segment of a switch it is the later
    /// timeline's, which begins with a copy of its parent's WAL.
    #[must_use]
    pub fn segment(&self, number: SegmentNumber, size: SegmentSize) -> SegmentName {
        let end = number.start(size).0.saturating_add(size.bytes());
        let left_later = self.ancestors.iter().find(|ancestor| end <= ancestor.end.0);
        SegmentName::new(left_later.map_or(self.timeline, |ancestor| ancestor.timeline), number, size)
    }

    /// The last position that this history and `other` have in common, and the timeline it lies on; `None` if the two have
    /// no timeline in common. Of a history and its own continuation that is where the latter left the former.
    #[must_use]
    pub fn fork_point(&self, other: &Self) -> Option<Span> {
        let (own, others) = (self.spans(), other.spans());
        let common = own.iter().zip(&others).take_while(|(a, b)| a.timeline == b.timeline && a.start == b.start);
        let (a, b) = common.last()?;
        let end = match (a.end, b.end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Some(Span { end, ..*a })
    }
}

fn parse_line(text: &[u8]) -> Option<Ancestor> {
    let text = String::from_utf8_lossy(text);
    let (timeline, rest) = text.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    let (end, reason) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let digits = timeline.bytes().all(|byte| byte.is_ascii_digit());
    let timeline = TimelineId(timeline.parse().ok().filter(|number| digits && *number > 0)?);
    Some(Ancestor { timeline, end: end.parse().ok()?, reason: reason.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn history() -> TimelineHistory {
        let content = b"1\t0/7325110\tno recovery target specified\n\n# a remark\n3\t0/0A000000\tbefore 2026-11-22 09:00:00+00\n";
        TimelineHistory::parse(TimelineId(4), content).unwrap()
    }

    #[test]
    fn a_history_file_is_read_as_postgresql_writes_it() {
        let history = history();
        assert_eq!(history.ancestors()[0].reason, "no recovery target specified");
        assert_eq!(history.parent().map(|parent| (parent.timeline, parent.end)), Some((TimelineId(3), Lsn(0xA00_0000))));
        let spans: Vec<_> = history.spans().iter().map(|span| (span.timeline.0, span.start.0, span.end)).collect();
        let (first, second) = (Lsn(0x732_5110), Lsn(0xA00_0000));
        assert_eq!(spans, [(1, 0, Some(first)), (3, first.0, Some(second)), (4, second.0, None)]);
    }

    #[test]
    fn a_position_is_on_the_way_only_before_its_timeline_was_left() {
        let history = history();
        assert!(history.reaches(TimelineId(1), Lsn(0x732_5110)));
        assert!(!history.reaches(TimelineId(1), Lsn(0x732_5111)));
        assert!(!history.reaches(TimelineId(2), Lsn(1)), "timeline 2 is no ancestor");
        assert!(history.reaches(TimelineId(4), Lsn(u64::MAX)));
        let at = |lsn| history.timeline_at(Lsn(lsn)).0;
        assert_eq!([at(0x732_510F), at(0x732_5110), at(0x9FF_FFFF), at(0xA00_0000)], [1, 3, 3, 4]);
    }

    #[test]
    fn the_segment_of_a_switch_is_the_later_timelines() {
        let name = |number| history().segment(SegmentNumber(number), SegmentSize::DEFAULT).timeline().0;
        assert_eq!([name(6), name(7), name(9), name(10)], [1, 3, 3, 4]);
    }

    #[test]
    fn two_forks_of_one_timeline_meet_where_the_first_left_it() {
        let fork = |timeline, at: &str| TimelineHistory::parse(TimelineId(timeline), format!("1\t{at}\tx\n").as_bytes()).unwrap();
        let (two, three) = (fork(2, "0/5000000"), fork(3, "0/7000000"));
        let expected = Span { timeline: TimelineId(1), start: Lsn::INVALID, end: Some(Lsn(0x500_0000)) };
        assert_eq!(two.fork_point(&three), Some(expected));
        assert_eq!(three.fork_point(&two), Some(expected));
        let other = TimelineHistory::without_ancestors(TimelineId(9));
        assert_eq!(two.fork_point(&other), None);
        let first = TimelineHistory::without_ancestors(TimelineId(1));
        assert_eq!(first.fork_point(&three).and_then(|span| span.end), Some(Lsn(0x700_0000)));
    }

    #[test]
    fn what_postgresql_refuses_is_refused_with_its_line() {
        for (content, line) in [
            ("1\t0/1\tx\n1\t0/2\tx", 2),
            ("2\t0/1\tx\n1\t0/2\tx", 2),
            ("9\t0/1", 1),
            ("1\t0/5\tx\n2\t0/4\tx", 2),
            ("0\t0/1", 1),
            ("+1\t0/1", 1),
            ("x", 1),
            ("1", 1),
            ("1\tx", 1),
        ] {
            let error = TimelineHistory::parse(TimelineId(9), content.as_bytes()).expect_err(content);
            assert_eq!(error.line, line, "{content}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(content: Vec<u8>, lsn: u64) {
            if let Ok(history) = TimelineHistory::parse(TimelineId(u32::MAX), &content) {
                prop_assert!(history.includes(history.timeline_at(Lsn(lsn))));
            }
        }

        #[test]
        fn every_position_lies_in_the_span_of_its_timeline(ends in prop::collection::vec(1_u64..1000, 0..6), lsn in 0_u64..1100) {
            let mut ends = ends;
            ends.sort_unstable();
            let lines: String = (1_u32..).zip(&ends).map(|(timeline, end)| format!("{timeline}\t{}\tx\n", Lsn(*end))).collect();
            let history = TimelineHistory::parse(TimelineId(50), lines.as_bytes()).unwrap();
            let timeline = history.timeline_at(Lsn(lsn));
            let span = history.spans().into_iter().find(|span| span.timeline == timeline).unwrap();
            prop_assert!(span.start.0 <= lsn && span.end.is_none_or(|end| lsn < end.0));
            prop_assert!(history.reaches(timeline, Lsn(lsn + 1)));
        }
    }
}
