//! What is stored, from the names of objects alone: up to where WAL is there without a hole.

use std::ops::Range;

use holdfast::pg::{Lsn, SegmentName, SegmentNumber, TimelineId, WalFileName};
use holdfast::repository::{Slice, WalArchive, WalObject};

/// The end of what is stored without a hole of the segment before `lsn`, on any of the timelines.
pub async fn end_from(archive: &WalArchive, lsn: Lsn, timelines: u32) -> Lsn {
    let size = archive.segment_size();
    let segment = SegmentNumber::containing(Lsn(lsn.0 - 1), size);
    let mut end = Lsn(0);
    for timeline in (1..=timelines).map(TimelineId) {
        let name = SegmentName::new(timeline, segment, size);
        let page = archive.list_from(name, 1000).await.expect("a listing");
        let objects = page.iter().map(|stored| &stored.object).filter(|object| object.segment() == Some(name));
        let mut pieces: Vec<Range<u64>> = objects.filter_map(|object| piece(object, size.bytes())).collect();
        pieces.sort_by_key(|piece| piece.start);
        let reached = pieces.iter().fold(0, |end, piece| if piece.start <= end { end.max(piece.end) } else { end });
        end = end.max(Lsn(segment.start(size).0 + reached));
    }
    end
}

/// Which bytes of its segment an object holds.
fn piece(object: &WalObject, segment_bytes: u64) -> Option<Range<u64>> {
    match object {
        WalObject::File(WalFileName::Segment(_)) => Some(0..segment_bytes),
        WalObject::Slice(Slice { bytes, .. }) => Some(bytes.clone()),
        WalObject::File(_) => None,
    }
}
