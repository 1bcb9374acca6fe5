//! What to answer when PostgreSQL asks for a WAL file: a pure function of what is stored.
//!
//! PostgreSQL takes "absent" as the end of the WAL and may promote (`RestoreArchivedFile` in `access/transam/xlogarchive.c`). So it is
//! only the answer where nothing that is stored shows that there was more.

use std::fmt;

use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId};
use crate::repository::{BackupId, Slice};
use crate::resources::postgres::archive::coverage::{contiguous_end, minimal_chain};

/// What is known about a segment that is not stored as a whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFacts {
    /// The segment.
    pub name: SegmentName,
    /// Its number.
    pub number: SegmentNumber,
    /// The cluster's segment size.
    pub size: SegmentSize,
    /// Its stored slices.
    pub slices: Vec<Slice>,
    /// How far the WAL reaches in its stored `.partial` file, in bytes from its beginning; none where there is no such file.
    pub partial_end: Option<u64>,
    /// Where the segment's timeline begins, if its history is stored.
    pub begins: Option<Lsn>,
    /// What shows that there was WAL on this timeline behind the segment's stored beginning.
    pub later: Vec<Evidence>,
}

/// What shows that a timeline went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A later segment of the timeline, or a part of one, is stored.
    Segment(SegmentName),
    /// A backup was taken on the timeline, and ended at this position.
    Backup {
        /// The backup.
        id: BackupId,
        /// Where it ended.
        stop: Lsn,
    },
    /// It is recorded that WAL was lost, up to this position.
    Gap {
        /// Where the stored WAL begins again.
        end: Lsn,
    },
    /// It is recorded that retention removed WAL up to this position.
    Removed {
        /// Where the WAL that is kept begins.
        below: Lsn,
    },
    /// Another timeline, whose WAL is stored, left this one at this later position.
    Child {
        /// The other timeline.
        timeline: TimelineId,
        /// Where it left.
        switch: Lsn,
    },
    /// A slice of the segment lies behind bytes that are not stored.
    Slice {
        /// Its first byte within the segment.
        start: u64,
    },
    /// The restore that set up this server was planned with stored WAL up to this position.
    Planned {
        /// The end of it.
        end: Lsn,
    },
    /// A later timeline is stored, which came into being when this one was known.
    Timeline(TimelineId),
}

impl Evidence {
    /// Up to where it shows that there was WAL.
    fn reaches(&self, facts: &SegmentFacts) -> Lsn {
        let start = facts.number.start(facts.size);
        match self {
            Self::Segment(name) => name.number(facts.size).map_or(start, |number| number.end(facts.size)),
            Self::Backup { stop, .. } => *stop,
            Self::Gap { end } | Self::Removed { below: end } | Self::Planned { end } => *end,
            Self::Slice { start: offset } => Lsn(start.0 + offset + 1),
            // In the segment in which the child begins, the child's own copy of it is what recovery reads.
            Self::Child { switch, .. } => SegmentNumber::containing(*switch, facts.size).start(facts.size),
            Self::Timeline(_) => Lsn(u64::MAX),
        }
    }

    /// Whether an upload that is going on may still fill the place before it.
    #[must_use]
    pub const fn may_be_overtaken(&self) -> bool {
        !matches!(self, Self::Gap { .. } | Self::Removed { .. } | Self::Planned { .. })
    }
}

/// What to do about a segment that is not stored as a whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Put these slices together; behind `end` the segment is filled with zeros, where PostgreSQL finds the end of the WAL.
    Assemble {
        /// The slices, in order.
        slices: Vec<Slice>,
        /// The end of what they cover.
        end: u64,
    },
    /// Deliver the `.partial` file: the last WAL of a timeline that was left.
    Partial,
    /// There is no more WAL.
    Absent(Absence),
    /// WAL is missing here, and there was more.
    Hole(Evidence),
}

/// Why it is proven that a file is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Nothing at or past that place is stored on the timeline.
    End,
    /// The timeline begins later.
    BeforeTimeline {
        /// Where it begins.
        begins: Lsn,
    },
    /// Nothing of that timeline, or of a later one, is stored.
    NoSuchTimeline,
}

/// Decides about a segment that is not stored as a whole object.
#[must_use]
pub fn decide(facts: &SegmentFacts) -> Decision {
    let ranges: Vec<_> = facts.slices.iter().map(|slice| slice.bytes.clone()).collect();
    let end = contiguous_end(&ranges, 0);
    if end < facts.size.bytes()
        && let Some(begins) = facts.begins
        && SegmentNumber::containing(begins, facts.size) > facts.number
    {
        return Decision::Absent(Absence::BeforeTimeline { begins });
    }
    let reached = end.max(facts.partial_end.unwrap_or(0));
    let known = Lsn(facts.number.start(facts.size).0 + reached);
    if let Some(evidence) = hole(facts, reached, known) {
        return Decision::Hole(evidence);
    }
    match facts.partial_end {
        Some(partial) if partial >= end => Decision::Partial,
        _ if end == 0 => Decision::Absent(Absence::End),
        _ => Decision::Assemble { slices: chain(facts, &ranges, end), end },
    }
}

/// The first thing that shows that there was WAL behind what is stored of the segment.
fn hole(facts: &SegmentFacts, reached: u64, known: Lsn) -> Option<Evidence> {
    if reached >= facts.size.bytes() {
        return None;
    }
    let slice = facts.slices.iter().map(|slice| slice.bytes.start).filter(|start| *start > reached).min();
    let later = facts.later.iter().filter(|evidence| evidence.reaches(facts) > known);
    slice.map(|start| Evidence::Slice { start }).or_else(|| later.min_by_key(|evidence| evidence.may_be_overtaken()).cloned())
}

fn chain(facts: &SegmentFacts, ranges: &[std::ops::Range<u64>], end: u64) -> Vec<Slice> {
    let chain = minimal_chain(ranges, end).expect("a chain reaches the contiguous end");
    chain.into_iter().map(|bytes| Slice { segment: facts.name, bytes }).collect()
}

/// Decides about a history file that is not stored; `stored`: the timelines of which anything is stored.
///
/// # Errors
/// The timeline that shows that the file is missing. PostgreSQL looks for timelines one by one, and stops at the first that it does
/// not find (`findNewestTimeLine` in `access/transam/timeline.c`).
pub fn decide_history(timeline: TimelineId, stored: &[TimelineId]) -> Result<Absence, Evidence> {
    // The first timeline never has a history.
    match stored.iter().find(|other| **other >= timeline) {
        Some(other) if timeline > TimelineId::FIRST => Err(Evidence::Timeline(*other)),
        _ => Ok(Absence::NoSuchTimeline),
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => write!(f, "segment {name} or a part of it is stored"),
            Self::Backup { id, stop } => write!(f, "backup {id} ended at {stop}"),
            Self::Gap { end } => write!(f, "it is recorded that WAL up to {end} was lost"),
            Self::Removed { below } => write!(f, "retention removed the WAL below {below} that no kept backup needs"),
            Self::Child { timeline, switch } => write!(f, "timeline {timeline}, which is stored, left this one at {switch}"),
            Self::Slice { start } => write!(f, "a slice that begins {start} bytes into the segment is stored"),
            Self::Planned { end } => write!(f, "the WAL up to {end} was there when this restore was planned"),
            Self::Timeline(timeline) => write!(f, "timeline {timeline} is stored"),
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("nothing at or past that place is stored on its timeline"),
            Self::BeforeTimeline { begins } => write!(f, "its timeline begins later, at {begins}"),
            Self::NoSuchTimeline => f.write_str("nothing of that timeline or a later one is stored"),
        }
    }
}

#[cfg(test)]
mod tests;
