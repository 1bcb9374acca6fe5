//! Slices that nothing needs any more, and that an agent which was killed, or a store that failed, has left behind.
//!
//! Invariants: a slice is removed only when an object that is stored beside it holds the same bytes, by their hash, and none of a segment in
//! which an object holds other ones: whose that is only an operator can tell, and what is left has to be whole when it is removed. The last
//! segment of the newest timeline, on which somebody may be at work, is left alone. At most one object is in memory.

use std::ops::Range;

use bytes::Bytes;

use crate::pg::{SegmentName, SegmentNumber, TimelineId, WalFileName};
use crate::repository::{Error, Result, Slice, WalArchive, WalObject};

/// How many keys one listing asks for: what stores give at most.
const PAGE_ENTRIES: usize = 1000;

/// Removes all of them; returns how many there were.
///
/// # Errors
/// When the store fails. What was removed until then is gone, and the rest is found the next time.
pub async fn sweep(archive: &WalArchive) -> Result<usize> {
    let timelines = archive.timelines().await?;
    let newest = timelines.last().copied();
    let mut removed = 0;
    for timeline in timelines {
        removed += sweep_timeline(archive, timeline, Some(timeline) == newest).await?;
    }
    Ok(removed)
}

async fn sweep_timeline(archive: &WalArchive, timeline: TimelineId, is_newest: bool) -> Result<usize> {
    let first = SegmentName::new(timeline, SegmentNumber(0), archive.segment_size());
    let mut page = archive.list_from(first, PAGE_ENTRIES).await?;
    let (mut removed, mut stored): (usize, Vec<WalObject>) = (0, Vec::new());
    loop {
        let is_last = page.len() < PAGE_ENTRIES;
        let last = page.last().map(|entry| entry.object.clone());
        for object in page.into_iter().map(|entry| entry.object) {
            if stored.last().is_some_and(|before| before.segment() != object.segment()) {
                removed += sweep_segment(archive, &std::mem::take(&mut stored)).await?;
            }
            stored.push(object);
        }
        let Some(last) = last.filter(|_| !is_last) else { break };
        page = archive.list_after(&last, PAGE_ENTRIES).await?;
    }
    if !is_newest {
        removed += sweep_segment(archive, &stored).await?;
    }
    Ok(removed)
}

/// Removes the slices of one segment that another of its objects holds.
async fn sweep_segment(archive: &WalArchive, stored: &[WalObject]) -> Result<usize> {
    let mut removable = Vec::new();
    for (holder, slices) in superfluous(stored, archive.segment_size().bytes()) {
        let (range, bytes) = match read(archive, holder).await {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            Err(Error::Codec { object, source }) if source.is_locked() => {
                tracing::debug!(object, "not looked into, and its slices are kept: {source}");
                continue;
            }
            Err(error) => return Err(error),
        };
        for slice in slices {
            match is_held(archive, slice, &range, &bytes).await? {
                Some(true) => removable.push(slice),
                Some(false) => return Ok(0),
                None => {}
            }
        }
    }
    for slice in &removable {
        archive.delete_slice(slice).await?;
    }
    Ok(removable.len())
}

/// The slices that are held by another object, by the one that holds them: the whole segment, or the largest slice. Pure.
fn superfluous(stored: &[WalObject], segment_bytes: u64) -> Vec<(&WalObject, Vec<&Slice>)> {
    let mut holders: Vec<(&WalObject, Range<u64>)> =
        stored.iter().filter_map(|it| Some((it, range(it, segment_bytes)?))).collect();
    holders.sort_by_key(|(object, range)| (std::cmp::Reverse(range.end - range.start), matches!(object, WalObject::Slice(_))));
    let mut found: Vec<(&WalObject, Vec<&Slice>)> = Vec::new();
    for (index, (object, inner)) in holders.iter().enumerate() {
        let WalObject::Slice(slice) = object else { continue };
        let holds = |outer: &Range<u64>| outer.start <= inner.start && inner.end <= outer.end;
        let Some((holder, _)) = holders[..index].iter().find(|(_, outer)| holds(outer)) else { continue };
        match found.iter_mut().find(|(known, _)| known == holder) {
            Some((_, slices)) => slices.push(slice),
            None => found.push((holder, vec![slice])),
        }
    }
    found
}

/// Which bytes of its segment an object holds.
fn range(object: &WalObject, segment_bytes: u64) -> Option<Range<u64>> {
    match object {
        WalObject::File(WalFileName::Segment(_)) => Some(0..segment_bytes),
        WalObject::Slice(slice) => Some(slice.bytes.clone()),
        WalObject::File(_) => None,
    }
}

async fn read(archive: &WalArchive, object: &WalObject) -> Result<Option<(Range<u64>, Bytes)>> {
    let Some(range) = range(object, archive.segment_size().bytes()) else { return Ok(None) };
    Ok(archive.get_object(object).await?.map(|(_, bytes)| (range, bytes)))
}

/// Whether a slice holds nothing but what `bytes`, which begin at `range`, hold too: the hash in its header says so, so that it
/// need not be read. Where it differs, two clusters that pass for one have stored WAL here: that is told, and both stay.
async fn is_held(archive: &WalArchive, slice: &Slice, range: &Range<u64>, bytes: &Bytes) -> Result<Option<bool>> {
    let place = |at: u64| usize::try_from(at - range.start).unwrap_or(usize::MAX);
    let Some(held) = bytes.get(place(slice.bytes.start)..place(slice.bytes.end)) else { return Ok(None) };
    let is_held = archive.slice_holds(slice, held).await?;
    if is_held == Some(false) {
        let (segment, from) = (slice.segment, slice.bytes.start);
        tracing::error!(%segment, from, "two objects hold different WAL for the same place; both are kept");
    }
    Ok(is_held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::SegmentSize;
    use crate::resources::postgres::archive::scratch;

    fn objects(whole: bool, slices: &[Range<u64>]) -> Vec<WalObject> {
        let segment = SegmentName::new(TimelineId(1), SegmentNumber(7), SegmentSize::DEFAULT);
        let whole = whole.then_some(WalObject::File(WalFileName::Segment(segment)));
        let slices = slices.iter().map(|bytes| WalObject::Slice(Slice { segment, bytes: bytes.clone() }));
        whole.into_iter().chain(slices).collect()
    }

    fn removable(stored: &[WalObject]) -> Vec<Range<u64>> {
        let found = superfluous(stored, 16 << 20);
        let mut ranges: Vec<_> = found.into_iter().flat_map(|(_, slices)| slices).map(|slice| slice.bytes.clone()).collect();
        ranges.sort_by_key(|range| (range.start, range.end));
        ranges
    }

    #[test]
    fn what_nothing_else_holds_is_never_removed() {
        assert_eq!(removable(&objects(false, &[0..10, 10..20, 15..30])), []);
        assert_eq!(removable(&objects(false, &[0..10, 10..20, 0..20, 20..30])), [0..10, 10..20]);
        assert_eq!(removable(&objects(false, &[5..10, 0..8])), []);
    }

    #[test]
    fn a_whole_segment_holds_all_of_its_slices() {
        assert_eq!(removable(&objects(true, &[0..10, 0..16 << 20])), [0..10, 0..16 << 20]);
        assert_eq!(removable(&objects(true, &[])), []);
    }

    #[tokio::test]
    async fn where_two_clusters_have_written_nothing_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let archive = scratch::archive(directory.path()).await;
        let about = scratch::about();
        let segment = |timeline| SegmentName::new(TimelineId(timeline), SegmentNumber(3), archive.segment_size());
        let (ours, mut theirs) = (vec![0_u8; 800], vec![0_u8; 800]);
        theirs[500] = 1;
        // The segment in which they differ is not the last one of the newest timeline.
        for (timeline, bytes, wal) in [(1, 0..300, &ours), (1, 300..700, &ours), (1, 0..800, &theirs), (2, 0..9, &ours)] {
            let plain = Bytes::copy_from_slice(&wal[bytes.clone()]);
            let slice = Slice { segment: segment(timeline), bytes: bytes.start as u64..bytes.end as u64 };
            archive.put_slice(&slice, plain, &about).await.unwrap();
        }
        assert_eq!(sweep(&archive).await.unwrap(), 0);
        let wrong = Slice { segment: segment(1), bytes: 0..800 };
        archive.delete_slice(&wrong).await.unwrap();
        assert_eq!(archive.slices(segment(1)).await.unwrap().len(), 2, "what is left is whole");
        archive.put_slice(&wrong, Bytes::from(ours), &about).await.unwrap();
        assert_eq!(sweep(&archive).await.unwrap(), 2);
    }
}
