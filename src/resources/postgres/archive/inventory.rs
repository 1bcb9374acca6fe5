//! What is stored of a timeline: stretches of WAL without a hole, from keys alone.

use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use super::coverage::range_of;
use crate::pg::{Lsn, SegmentName, SegmentNumber, TimelineId, WalFileName};
use crate::repository::{Result, StoredWal, WalArchive, WalObject};

const PAGE_ENTRIES: usize = 1000;

/// A stretch of WAL without a hole, and the objects that hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// Where it begins.
    pub start: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// How many segments are stored as one object each.
    pub whole_segments: u64,
    /// How many slices and `.partial` files there are.
    pub pieces: u64,
    /// The size of all of them as stored, in bytes.
    pub stored_bytes: u64,
    /// When the first of them was stored.
    pub first_stored_at: Timestamp,
    /// When the last of them was stored.
    pub last_stored_at: Timestamp,
}

/// The stretches of a timeline, from the segment `from` on, in ascending order. Holds a thousand keys at a time.
///
/// # Errors
/// When the store fails.
pub async fn stretches(archive: &WalArchive, timeline: TimelineId, from: SegmentNumber) -> Result<Vec<Stretch>> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut page = archive.list_from(SegmentName::new(timeline, from, archive.segment_size()), PAGE_ENTRIES).await?;
    loop {
        for stored in &page {
            if let Some(range) = range_of(archive, &stored.object).await? {
                add(&mut stretches, &range, stored);
            }
        }
        match page.last() {
            Some(last) if page.len() >= PAGE_ENTRIES => page = archive.list_after(&last.object, PAGE_ENTRIES).await?,
            _ => return Ok(stretches),
        }
    }
}

/// Adds the next object, by its first byte.
fn add(stretches: &mut Vec<Stretch>, range: &Range<Lsn>, stored: &StoredWal) {
    let is_whole = matches!(stored.object, WalObject::File(WalFileName::Segment(_)));
    let (whole_segments, pieces) = if is_whole { (1, 0) } else { (0, 1) };
    match stretches.last_mut() {
        Some(last) if range.start <= last.end => {
            last.end = last.end.max(range.end);
            last.whole_segments += whole_segments;
            last.pieces += pieces;
            last.stored_bytes += stored.stored_bytes;
            last.first_stored_at = last.first_stored_at.min(stored.stored_at);
            last.last_stored_at = last.last_stored_at.max(stored.stored_at);
        }
        _ => stretches.push(Stretch {
            start: range.start,
            end: range.end,
            whole_segments,
            pieces,
            stored_bytes: stored.stored_bytes,
            first_stored_at: stored.stored_at,
            last_stored_at: stored.stored_at,
        }),
    }
}
