//! Where streaming goes on: found from what is stored and from what the slot holds back, because the agent remembers nothing.
//!
//! Where the slot's position is stored, streaming goes on there: what lies stored behind it is compared with what comes. Where it is
//! not, streaming goes on from the last WAL that is stored before it, because the server may still have what lies between. So it may of
//! what was on its way together with that, and did not arrive.

use std::ops::Range;

use super::chain::{Branch, Chain};
use super::coverage::stored_through;
use super::piece::piece_start;
use super::uploader::TOGETHER_BYTES_MAX;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId};
use crate::repository::{Gap, Result, WalArchive};

/// Stored WAL that is not in the server's history: its timeline was left before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fork {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where the server's history left it.
    pub left_at: Lsn,
    /// Up to where it is stored at least.
    pub stored_to: Lsn,
}

/// Finds WAL of the server's earlier timelines that is stored from behind the place on where each was left, the oldest first.
///
/// # Errors
/// When the store fails.
pub(super) async fn find_forks(archive: &WalArchive, chain: &Chain) -> Result<Vec<Fork>> {
    let mut forks = Vec::new();
    for branch in chain.branches() {
        let (timeline, Some(left_at)) = (branch.timeline, branch.end) else { continue };
        let stored_to = stored_through(archive, timeline, left_at..Lsn(u64::MAX)).await?.end;
        forks.extend((stored_to > left_at).then_some(Fork { timeline, left_at, stored_to }));
    }
    Ok(forks)
}

/// The end of the last stored WAL that begins before `limit`, the slot's position, or at it; it may lie behind `limit`.
///
/// # Errors
/// When the store fails.
pub(super) async fn last_end_before(archive: &WalArchive, chain: &Chain, limit: Lsn) -> Result<Option<Lsn>> {
    for branch in chain.back_from(limit) {
        if let Some(end) = last_end_on(archive, branch, branch.limit().min(limit)).await? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

async fn last_end_on(archive: &WalArchive, branch: Branch, limit: Lsn) -> Result<Option<Lsn>> {
    let size = archive.segment_size();
    let mut before = SegmentNumber::containing(limit, size).next();
    loop {
        let name = SegmentName::new(branch.timeline, before, size);
        let Some(segment) = archive.last_before(name).await?.and_then(|stored| stored.object.segment()) else {
            return Ok(None);
        };
        let Some(number) = segment.number(size) else { return Ok(None) };
        let start = number.start(size);
        let end = stored_through(archive, branch.timeline, start..number.end(size)).await?.end;
        if end > start && end > branch.begin {
            return Ok(Some(end.min(branch.limit())));
        }
        before = number;
    }
}

/// What is missing in what is stored before `stored`, and is no gap that is known, nor removed by retention: shortly before, or where the
/// timeline began.
///
/// # Errors
/// When the store fails.
pub(super) async fn left_out(archive: &WalArchive, chain: &Chain, stored: Lsn, gaps: &[Gap]) -> Result<Option<Range<Lsn>>> {
    let branch = chain.at(Lsn(stored.0.saturating_sub(1)));
    let hole = match hole_before(archive, branch, stored).await? {
        Some(hole) => Some(hole),
        None => hole_at_switch(archive, chain, branch).await?,
    };
    let Some(hole) = hole else { return Ok(None) };
    let timeline = chain.at(hole.start).timeline;
    let horizon = archive.horizons().await?.get(&timeline).copied().unwrap_or_default();
    // What is recorded of WAL that is stored, or about to be, says nothing of what is missing around it.
    let explains = |gap: &Gap| !gap.cause.is_of_stored_wal() && gap.cuts(timeline, &hole);
    let is_known = hole.start < horizon || gaps.iter().any(explains);
    Ok(Some(hole).filter(|_| !is_known))
}

/// Several pieces are on their way at once. Where the agent is killed, a later one may be stored, and an earlier one not. The slot holds
/// that one back; after a failover the slot of the new primary does not.
async fn hole_before(archive: &WalArchive, branch: Branch, stored: Lsn) -> Result<Option<Range<Lsn>>> {
    let size = archive.segment_size();
    let earliest = branch.begin.max(Lsn(stored.0.saturating_sub(TOGETHER_BYTES_MAX + 1)));
    let mut from = SegmentNumber::containing(earliest, size).start(size);
    loop {
        let found = stored_through(archive, branch.timeline, from..stored).await?;
        match found.resumes {
            // What is stored begins there.
            Some(resumes) if found.end == from => from = resumes,
            resumes => return Ok(resumes.map(|resumes| found.end..resumes)),
        }
    }
}

/// `archive_command` stores the new timeline also while nobody streams the rest of the old one, and of a timeline's first pieces too a later
/// one may have been stored alone. What the parents wrote to the segment of the switch stands in the child's copy of it.
async fn hole_at_switch(archive: &WalArchive, chain: &Chain, branch: Branch) -> Result<Option<Range<Lsn>>> {
    if !branch.begin.is_valid() {
        return Ok(None);
    }
    let size = archive.segment_size();
    let copied = SegmentName::new(branch.timeline, SegmentNumber::containing(branch.begin, size), size);
    let first = archive.list_from(copied, 1).await?.into_iter().next().and_then(|stored| stored.object.segment()?.number(size));
    let Some(parents_end) = last_end_before(archive, chain, Lsn(branch.begin.0 - 1)).await? else { return Ok(None) };
    let hole = first.map(|first| parents_end.min(branch.begin)..first.start(size));
    Ok(hole.filter(|hole| hole.start < hole.end))
}

/// Where the stream is asked to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    /// On which timeline.
    pub timeline: TimelineId,
    /// From which position on: the beginning of a piece.
    pub lsn: Lsn,
}

/// The beginning of a stream that goes on at `lsn`: the piece that it lies in, or, on a timeline that begins in this very segment, the
/// segment, of which the child holds a copy from its first byte on.
pub(super) fn begin_at(chain: &Chain, lsn: Lsn, size: SegmentSize) -> Begin {
    let branch = chain.at(lsn);
    let segment = lsn.0 - size.offset(lsn);
    let new_timeline = branch.begin.0 >= segment && branch.begin.is_valid();
    let lsn = if new_timeline { Lsn(segment) } else { piece_start(lsn, size) };
    Begin { timeline: branch.timeline, lsn }
}

/// The same where nothing is stored yet: the whole segment, which the slot holds back as a whole. Nothing counts that does not begin with
/// its segment, and a backup of a standby can begin in this one.
pub(super) fn begin_first_at(chain: &Chain, lsn: Lsn, size: SegmentSize) -> Begin {
    Begin { lsn: SegmentNumber::containing(lsn, size).start(size), ..begin_at(chain, lsn, size) }
}

#[cfg(test)]
mod tests;
