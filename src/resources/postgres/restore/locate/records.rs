//! Commits, rollbacks and restore points of a stretch of WAL, one by one.

use std::ops::Range;

use jiff::Timestamp;

use crate::pg::records::{Activity, Commit, RestorePoint, Scanner};
use crate::pg::{Lsn, SegmentSize};

/// Something that recovery can stop at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// A commit.
    Commit(Commit),
    /// A rollback.
    Rollback {
        /// The position after its record.
        end: Lsn,
        /// Its time.
        time: Timestamp,
        /// The transaction, as `Commit::xid`.
        xid: u32,
    },
    /// A restore point.
    RestorePoint(RestorePoint),
}

/// Records are aligned to eight bytes and have at least 24: a scanner that is fed eight bytes at a time ends at most one with each.
const STEP: usize = 8;
/// The segment before is passed in larger steps; its own end is the end of a step too, because pieces do not span segments.
const PAGE: usize = 8192;

/// Reads WAL that begins with a page.
pub(super) struct Records {
    scanner: Scanner,
    pieces: Vec<bytes::Bytes>,
    piece: usize,
    offset: usize,
    /// Where in the pieces what counts begins: what ends before belongs to the segment before.
    from: Lsn,
}

impl Records {
    /// The records that end past `from` in `pieces`, which begin at `start` and follow one another.
    pub(super) fn new(start: Lsn, size: SegmentSize, pieces: Vec<bytes::Bytes>, from: Lsn) -> Self {
        Self { scanner: Scanner::new(start, size), pieces, piece: 0, offset: 0, from }
    }

    /// The last complete record.
    pub(super) fn last(mut self) -> Option<Range<Lsn>> {
        self.pieces.iter().for_each(|piece| self.scanner.feed(piece));
        self.scanner.last_complete()
    }

    /// The first complete record that begins at or past `lsn`.
    pub(super) fn first_from(mut self, lsn: Lsn) -> Option<Range<Lsn>> {
        for piece in std::mem::take(&mut self.pieces) {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let far = self.scanner.position().0.saturating_add(PAGE as u64) <= lsn.0;
                let (step, behind) = rest.split_at(rest.len().min(if far { PAGE } else { STEP }));
                self.scanner.feed(step);
                rest = behind;
                let found = self.scanner.last_complete().filter(|record| record.start >= lsn);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }
}

impl Iterator for Records {
    type Item = Finding;

    fn next(&mut self) -> Option<Finding> {
        loop {
            let piece = self.pieces.get(self.piece)?;
            let Some(rest) = piece.get(self.offset..).filter(|rest| !rest.is_empty()) else {
                (self.piece, self.offset) = (self.piece + 1, 0);
                continue;
            };
            let earlier = self.scanner.position() < self.from;
            let step = rest.len().min(if earlier { PAGE } else { STEP });
            self.scanner.feed(&rest[..step]);
            self.offset += step;
            let activity = self.scanner.take_activity();
            if let Some(finding) = finding(activity).filter(|_| !earlier) {
                return Some(finding);
            }
        }
    }
}

/// What a single record did.
fn finding(activity: Activity) -> Option<Finding> {
    if let Some(point) = activity.restore_points.into_iter().next() {
        return Some(Finding::RestorePoint(point));
    }
    match (activity.first_commit, activity.aborts, activity.end.zip(activity.latest)) {
        (Some(commit), _, _) => Some(Finding::Commit(commit)),
        (None, 1.., Some((end, time))) => Some(Finding::Rollback { end, time, xid: activity.first_rollback.unwrap_or(0) }),
        _ => None,
    }
}
