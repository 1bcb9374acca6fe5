//! How far WAL is stored without a hole: within one segment (pure), and along a timeline.

use std::ops::Range;

use crate::codec::OBJECT_BYTES_MIN;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use crate::repository::{Gap, GapCause, Result, Slice, WalArchive, WalObject};

/// How many keys one listing asks for: what stores give at most.
const PAGE_ENTRIES: usize = 1000;

/// The end of what `pieces` cover without a hole from `from` on; `from` itself where nothing begins at or before it.
///
/// Pieces may overlap and come in any order.
#[must_use]
pub fn contiguous_end(pieces: &[Range<u64>], from: u64) -> u64 {
    let reach = |end: u64, piece: &Range<u64>| if piece.start <= end { Ok(end.max(piece.end)) } else { Err(end) };
    let (Ok(end) | Err(end)) = sorted(pieces).iter().try_fold(from, reach);
    end
}

/// The fewest pieces that together cover `0..end`, in order; `None` where there is a hole.
///
/// Where several reach equally far, the one that was listed first is taken.
#[must_use]
pub fn minimal_chain(pieces: &[Range<u64>], end: u64) -> Option<Vec<Range<u64>>> {
    let mut chain: Vec<Range<u64>> = Vec::new();
    let mut reached = 0;
    let mut rest = sorted(pieces).into_iter().peekable();
    while reached < end {
        let mut furthest: Option<Range<u64>> = None;
        while let Some(piece) = rest.next_if(|piece| piece.start <= reached) {
            if furthest.as_ref().is_none_or(|best| piece.end > best.end) {
                furthest = Some(piece);
            }
        }
        let next = furthest.filter(|piece| piece.end > reached)?;
        reached = next.end;
        chain.push(next);
    }
    Some(chain)
}

/// What of `whole` the pieces do not cover, in order.
#[must_use]
pub fn holes(pieces: &[Range<u64>], whole: Range<u64>) -> Vec<Range<u64>> {
    let mut holes = Vec::new();
    let mut reached = whole.start;
    for piece in sorted(pieces) {
        if piece.start >= whole.end {
            break;
        }
        if piece.start > reached {
            holes.push(reached..piece.start);
        }
        reached = reached.max(piece.end);
    }
    if reached < whole.end {
        holes.push(reached..whole.end);
    }
    holes
}

/// The pieces that hold anything, by their first bytes.
fn sorted(pieces: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = pieces.iter().filter(|piece| !piece.is_empty()).cloned().collect();
    pieces.sort_by_key(|piece| piece.start);
    pieces
}

/// How far a timeline's WAL is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// From where on it was looked for.
    pub start: Lsn,
    /// Everything from the start of the segment that `start` lies in up to here is stored, without a hole; not beyond what was
    /// asked for plus the segment in which that ends. `start` itself where nothing there is stored.
    pub end: Lsn,
    /// Where stored WAL begins again behind a hole at `end`, with the first byte of a segment; none where there is none within the range.
    pub resumes: Option<Lsn>,
}

/// Finds out up to where the WAL of a timeline is stored without a hole, from the start of `wanted` on.
///
/// Only this timeline is looked at: the segment in which a timeline begins holds a copy of what its parent wrote to it. A `.partial` file
/// counts up to the end of the WAL found in it when it was stored. A listing page of a thousand keys is held at a time.
///
/// # Errors
/// When the store fails: never taken for the end.
pub async fn stored_through(archive: &WalArchive, timeline: TimelineId, wanted: Range<Lsn>) -> Result<Coverage> {
    stored_through_noting(archive, timeline, wanted, &mut Vec::new()).await
}

/// The same, and notes the WAL of which the name alone is left, as far as it looks: objects so small that they hold nothing. They count by their
/// names all the same.
///
/// # Errors
/// As `stored_through`.
pub async fn stored_through_noting(
    archive: &WalArchive,
    timeline: TimelineId,
    wanted: Range<Lsn>,
    hollow: &mut Vec<WalObject>,
) -> Result<Coverage> {
    let size = archive.segment_size();
    let first = SegmentNumber::containing(wanted.start, size);
    let mut walk = Walk { wanted, size, reached: first.start(size), in_hole: false, resumes: None };
    let mut page = archive.list_from(SegmentName::new(timeline, first, size), PAGE_ENTRIES).await?;
    loop {
        for stored in &page {
            let Some(range) = range_of(archive, &stored.object).await? else { continue };
            if !walk.takes(&range) {
                return Ok(walk.coverage());
            }
            if stored.stored_bytes < OBJECT_BYTES_MIN {
                hollow.push(stored.object.clone());
            }
        }
        match page.last() {
            Some(last) if page.len() >= PAGE_ENTRIES && !walk.is_done() => {
                page = archive.list_after(&last.object, PAGE_ENTRIES).await?;
            }
            _ => return Ok(walk.coverage()),
        }
    }
}

/// Stretches of stored WAL of a timeline without what recovery cannot pass: where its records are known not to follow one another, or where
/// the server went over to `wal_level = minimal`.
#[must_use]
pub fn cut(stretches: Vec<Range<Lsn>>, gaps: &[Gap], timeline: TimelineId) -> Vec<Range<Lsn>> {
    let broken = |gap: &&Gap| gap.timeline == timeline && gap.cause.is_of_stored_wal();
    gaps.iter().filter(broken).fold(stretches, |stretches, gap| {
        let parts = |stretch: Range<Lsn>| [stretch.start..stretch.end.min(gap.start), stretch.start.max(gap.end)..stretch.end];
        stretches.into_iter().flat_map(parts).filter(|part| part.start < part.end).collect()
    })
}

/// Whether what was taken for lost was stored later. What the server has removed, or sent broken, cannot be.
///
/// # Errors
/// When the store fails.
pub async fn was_filled(archive: &WalArchive, gap: &Gap) -> Result<bool> {
    if gap.cause != GapCause::NotStored {
        return Ok(false);
    }
    Ok(stored_through(archive, gap.timeline, gap.start..gap.end).await?.end >= gap.end)
}

/// Which WAL an object holds; none for what is no WAL.
///
/// # Errors
/// When the store fails.
pub async fn range_of(archive: &WalArchive, object: &WalObject) -> Result<Option<Range<Lsn>>> {
    let size = archive.segment_size();
    let start = |name: &SegmentName| name.number(size).map(|number| number.start(size));
    let range = |name: &SegmentName, bytes: Range<u64>| {
        let start = start(name)?;
        Some(start.checked_add(bytes.start)?..start.checked_add(bytes.end)?)
    };
    Ok(match object {
        WalObject::File(WalFileName::Segment(name)) => range(name, 0..size.bytes()),
        WalObject::Slice(Slice { segment, bytes }) => range(segment, bytes.clone()),
        WalObject::File(name @ WalFileName::Partial(segment)) => {
            let end = archive.about_file(*name).await?.and_then(|about| about.end);
            start(segment).zip(end).map(|(start, end)| start..end)
        }
        WalObject::File(_) => None,
    })
}

/// Objects in the order of their first bytes, followed until there is enough, or until WAL begins again behind a hole.
struct Walk {
    wanted: Range<Lsn>,
    size: SegmentSize,
    reached: Lsn,
    in_hole: bool,
    resumes: Option<Lsn>,
}

impl Walk {
    /// Adds an object; false where the rest does not matter any more.
    fn takes(&mut self, object: &Range<Lsn>) -> bool {
        if self.is_done() {
            return false;
        }
        self.in_hole |= object.start > self.reached;
        if !self.in_hole {
            self.reached = self.reached.max(object.end);
        } else if self.size.offset(object.start) == 0 {
            self.resumes = Some(object.start).filter(|start| *start < self.wanted.end);
            return false;
        }
        true
    }

    fn is_done(&self) -> bool {
        self.reached >= self.wanted.end
    }

    fn coverage(self) -> Coverage {
        let start = self.wanted.start;
        Coverage { start, end: self.reached.max(start), resumes: self.resumes }
    }
}

#[cfg(test)]
mod tests;
