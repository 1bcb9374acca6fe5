//! Whether WAL that is stored of a timeline, without its history, is that of the server whose history is to be stored.
//!
//! Two servers that are promoted beside each other begin the same timeline. Where the WAL of one was left in the store and its history was
//! moved away, the history of the other would lead restores into the wrong WAL. What tells them apart lies around the fork: up to it a
//! server copies its parent's WAL, and from it on every page names the timeline (`StartupXLOG` and `XLogFileCopy` in PostgreSQL's
//! `access/transam/xlog.c`).
//!
//! Invariant: at most two objects are in memory.

use std::ops::Range;

use bytes::Bytes;

use crate::pg::history::{Ancestor, TimelineHistory};
use crate::pg::page::{HEADER_BYTES, PAGE_BYTES, PageHeader};
use crate::pg::{Lsn, SegmentName, SegmentNumber, TimelineId, WalFileName};
use crate::repository::{Result, WalArchive, WalObject};

/// Where the resource manager stands in the header of a record (`xl_rmid`).
const RMID_AT: u64 = 17;
/// `RM_XLOG_ID`: what a server writes first on a new timeline is of it.
const RM_XLOG: u8 = 0;

/// WAL that is not, or cannot be shown to be, that of the history which is to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the history of timeline {timeline} is not stored, because WAL of that timeline is stored already, and {found}: {object}"
)]
pub struct ForeignTimeline {
    /// The timeline.
    pub timeline: TimelineId,
    /// An object of it.
    pub object: String,
    /// What all its WAL begins with.
    pub prefix: String,
    /// How it is known.
    pub found: Found,
}

/// How it is known that stored WAL is another server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    /// It begins before the timeline does.
    #[error("it is another server's: it begins before this server left the timeline before it at {0}")]
    Earlier(Lsn),
    /// It is not what was copied from the parent.
    #[error("it is another server's: at {0} it is not the WAL of the timeline before it, which this server left only later")]
    NotTheParents(Lsn),
    /// It goes on with the parent's WAL.
    #[error(
        "it is another server's: at {0} it still goes on with the WAL of the timeline before it, which this server had left before"
    )]
    StillTheParents(Lsn),
    /// It cannot be read here.
    #[error("whose it is cannot be told: nothing here can read it")]
    Locked,
}

impl ForeignTimeline {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { timeline, prefix, found, .. } = self;
        let away = format!(
            "if the server that wrote it is gone for good, move everything that begins with {prefix} out of the store, and keep it until a restore has \
             shown that nothing is missing; if it still writes, give it a resource name of its own"
        );
        match found {
            Found::Locked => format!(
                "if the history was lost by accident, run 'holdfast wal push PATH/pg_wal/{:08X}.history' with a configuration that names the identity \
                 ([encryption] identity_file); {away}",
                timeline.0
            ),
            _ => away,
        }
    }
}

/// What is wrong with the WAL that is stored of the timeline of a history, if the history is not stored yet. None as well where nothing
/// of the timeline is stored, or nothing speaks against it: then the history was lost by accident.
///
/// # Errors
/// When the store fails.
pub(super) async fn foreign_wal(archive: &WalArchive, history: &TimelineHistory) -> Result<Option<ForeignTimeline>> {
    let (timeline, size) = (history.timeline(), archive.segment_size());
    let Some(Ancestor { timeline: parent, end: fork, .. }) = history.parent() else { return Ok(None) };
    let first = archive.list_from(SegmentName::new(timeline, SegmentNumber(0), size), 1).await?;
    let Some(segment) = first.first().and_then(|stored| stored.object.segment()) else { return Ok(None) };
    let Some(number) = segment.number(size) else { return Ok(None) };
    if archive.about_file(WalFileName::History(timeline)).await?.is_some() {
        return Ok(None);
    }
    let foreign = |object: &WalObject, found| ForeignTimeline {
        timeline,
        object: archive.key_of(object).to_string(),
        prefix: archive.timeline_prefix(timeline),
        found,
    };
    if number < SegmentNumber::containing(*fork, size) {
        return Ok(first.first().map(|stored| foreign(&stored.object, Found::Earlier(*fork))));
    }
    for object in archive.stored_of(segment).await? {
        let read = match read(archive, &object, number.start(size)).await {
            Err(error) if error.is_locked() => return Ok(Some(foreign(&object, Found::Locked))),
            Err(error) if error.is_retryable() => return Err(error),
            // What is damaged speaks for nobody.
            Err(_) | Ok(None) => continue,
            Ok(Some(read)) => read,
        };
        if let Some(at) = goes_on(&read, *fork, timeline) {
            return Ok(Some(foreign(&object, Found::StillTheParents(at))));
        }
        let parents = SegmentName::new(*parent, number, size);
        if let Some(at) = differs_before(archive, &read, *fork, parents, number.start(size)).await? {
            return Ok(Some(foreign(&object, Found::NotTheParents(at))));
        }
    }
    Ok(None)
}

/// WAL, and where it begins.
type Wal = (Lsn, Bytes);

/// What an object holds; none of what holds no WAL up to its end, or is gone.
async fn read(archive: &WalArchive, object: &WalObject, start: Lsn) -> Result<Option<Wal>> {
    let start = match object {
        WalObject::File(WalFileName::Segment(_)) => start,
        WalObject::Slice(slice) => Lsn(start.0 + slice.bytes.start),
        WalObject::File(_) => return Ok(None),
    };
    Ok(archive.get_object(object).await?.map(|(_, bytes)| (start, bytes)))
}

/// Where WAL differs first from what is stored of its parent timeline in the same segment, before the fork.
async fn differs_before(
    archive: &WalArchive,
    read_here: &Wal,
    fork: Lsn,
    parents: SegmentName,
    start: Lsn,
) -> Result<Option<Lsn>> {
    if read_here.0 >= fork {
        return Ok(None);
    }
    for object in archive.stored_of(parents).await? {
        let theirs = match read(archive, &object, start).await {
            Err(error) if error.is_retryable() => return Err(error),
            Err(_) | Ok(None) => continue,
            Ok(Some(theirs)) => theirs,
        };
        if let Some(at) = first_difference(read_here, &theirs, fork) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Where two pieces of WAL of one segment differ first, before `limit`.
fn first_difference(ours: &Wal, theirs: &Wal, limit: Lsn) -> Option<Lsn> {
    let end = |wal: &Wal| Lsn(wal.0.0 + wal.1.len() as u64);
    let range = ours.0.max(theirs.0)..end(ours).min(end(theirs)).min(limit);
    let (one, other) = (part(ours, &range)?, part(theirs, &range)?);
    let at = one.iter().zip(other).position(|(one, other)| one != other)?;
    Some(Lsn(range.start.0 + at as u64))
}

fn part<'a>(wal: &'a Wal, range: &Range<Lsn>) -> Option<&'a [u8]> {
    let place = |at: Lsn| usize::try_from(at.0.checked_sub(wal.0.0)?).ok();
    wal.1.get(place(range.start)?..place(range.end)?)
}

/// The first place behind a fork at which WAL is not that of the new timeline. What is no page at all says nothing.
fn goes_on(wal: &Wal, fork: Lsn, timeline: TimelineId) -> Option<Lsn> {
    let page = PAGE_BYTES as u64;
    let end = wal.0.0 + wal.1.len() as u64;
    // A record's header can be cut by the end of its page; then the next page tells.
    let is_within_its_page = !fork.0.is_multiple_of(page) && fork.0 % page + RMID_AT < page;
    let written = part(wal, &(fork..Lsn(fork.0 + RMID_AT + 1))).filter(|record| is_within_its_page && record[..4] != [0; 4]);
    if written.is_some_and(|record| record.last() != Some(&RM_XLOG)) {
        return Some(fork);
    }
    let first = fork.0.max(wal.0.0).next_multiple_of(page);
    (first..end).step_by(PAGE_BYTES).map(Lsn).find(|at| {
        let header = part(wal, &(*at..Lsn(at.0 + HEADER_BYTES as u64))).and_then(PageHeader::parse);
        header.is_some_and(|header| header.address == *at && header.timeline != timeline)
    })
}
