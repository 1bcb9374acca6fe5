//! Whether consecutive segments join: each record names the one before it, so the first of a segment names the last before the segment.
//!
//! This is how WAL of another history is noticed where no byte overlaps: a clone, a data directory that was put back.

use std::ops::Range;

use super::piece::piece_bytes;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use crate::repository::{self, Slice, WalAbout, WalArchive};

/// A segment that does not go on where the one before it ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{segment} does not continue what is stored: its first record, at {first}, follows one at {named}, but the last record before it is at \
     {stored}; nothing of it was acknowledged"
)]
pub struct NotJoined {
    /// The later one of the two segments.
    pub segment: SegmentName,
    /// Where its first record begins.
    pub first: Lsn,
    /// The record that this one names as the one before it.
    pub named: Lsn,
    /// The last record of the segment before.
    pub stored: Lsn,
}

impl NotJoined {
    /// What to do next.
    pub const HINT: &str = "the server wrote another history than the one that is stored (a clone, a data directory that was put back without a \
                            promotion): promote it, or give it a resource name of its own";
}

/// What is known of the segment before another: where its last record begins.
///
/// # Errors
/// When the store fails.
pub(super) async fn last_record_before(
    archive: &WalArchive,
    timeline: TimelineId,
    segment: SegmentNumber,
) -> repository::Result<Option<Lsn>> {
    let size = archive.segment_size();
    let Some(before) = segment.0.checked_sub(1).map(SegmentNumber) else { return Ok(None) };
    let name = SegmentName::new(timeline, before, size);
    let end = size.bytes();
    Ok(about(archive, name, end - piece_bytes(size)..end).await?.and_then(|about| about.activity?.last_record))
}

/// What is known of the first record of a stored segment.
async fn first_of(archive: &WalArchive, name: SegmentName) -> repository::Result<Option<Activity>> {
    let piece = piece_bytes(archive.segment_size());
    Ok(about(archive, name, 0..piece).await?.and_then(|about| about.activity))
}

/// What the object says that holds these bytes of a segment for good: the segment, or a piece of a large one.
async fn about(archive: &WalArchive, name: SegmentName, bytes: Range<u64>) -> repository::Result<Option<WalAbout>> {
    if bytes == (0..archive.segment_size().bytes()) {
        return archive.about_file(WalFileName::Segment(name)).await;
    }
    archive.about_slice(&Slice { segment: name, bytes }).await
}

/// Whether WAL with `activity` at its beginning follows the record at `stored`. What is not known is no contradiction.
///
/// # Errors
/// Where it follows another one.
pub fn check(segment: SegmentName, activity: &Activity, stored: Option<Lsn>) -> Result<(), NotJoined> {
    let (Some(first), Some(stored)) = (activity.first_record, stored) else { return Ok(()) };
    match first.previous {
        Some(named) if named != stored => Err(NotJoined { segment, first: first.lsn, named, stored }),
        _ => Ok(()),
    }
}

/// Whether a segment joins the ones before and behind it, where these are stored.
///
/// # Errors
/// `Err` when the store fails; `Ok(Err)` where it does not join.
pub(super) async fn check_both(
    archive: &WalArchive,
    segment: SegmentName,
    activity: &Activity,
) -> repository::Result<Result<(), NotJoined>> {
    let size = archive.segment_size();
    let Some(number) = segment.number(size) else { return Ok(Ok(())) };
    let next = SegmentName::new(segment.timeline(), number.next(), size);
    let (before, behind) = tokio::try_join!(last_record_before(archive, segment.timeline(), number), first_of(archive, next))?;
    let joins = check(segment, activity, before);
    Ok(joins.and_then(|()| behind.map_or(Ok(()), |behind| check(next, &behind, activity.last_record))))
}

/// The number of the segment that begins just at `lsn`; none inside one.
pub(super) fn begins_at(lsn: Lsn, size: SegmentSize) -> Option<SegmentNumber> {
    (size.offset(lsn) == 0).then(|| SegmentNumber::containing(lsn, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::records::FirstRecord;

    fn activity(previous: Option<u64>) -> Activity {
        let first_record = Some(FirstRecord { lsn: Lsn(1000), previous: previous.map(Lsn) });
        Activity { first_record, ..Activity::default() }
    }

    #[test]
    fn a_segment_joins_where_its_first_record_names_the_last_one_before() {
        let name = SegmentName::new(TimelineId(1), SegmentNumber(3), SegmentSize::DEFAULT);
        assert_eq!(check(name, &activity(Some(900)), Some(Lsn(900))), Ok(()));
        let broken = check(name, &activity(Some(800)), Some(Lsn(900))).unwrap_err();
        assert_eq!((broken.first, broken.named, broken.stored), (Lsn(1000), Lsn(800), Lsn(900)));
        for unknown in [check(name, &activity(None), Some(Lsn(900))), check(name, &activity(Some(800)), None)] {
            assert_eq!(unknown, Ok(()));
        }
        assert_eq!(check(name, &Activity::default(), Some(Lsn(900))), Ok(()), "no record begins in it");
    }
}
