use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::codec::Compression;
use crate::pg::{SegmentSize, SystemId};
use crate::repository::{Lineage, Repository, WalAbout, WalSource};
use crate::storage::FileStore;

const TIMELINE: TimelineId = TimelineId(1);
const SIZE: u64 = 1 << 20;

fn any_pieces() -> impl Strategy<Value = Vec<Range<u64>>> {
    prop::collection::vec((0_u64..40, 0_u64..12).prop_map(|(start, length)| start..start + length), 0..12)
}

fn is_covered(pieces: &[Range<u64>], byte: u64) -> bool {
    pieces.iter().any(|piece| piece.contains(&byte))
}

proptest! {
    #[test]
    fn the_contiguous_end_is_the_first_byte_that_no_piece_has(pieces in any_pieces(), from in 0_u64..60) {
        let oracle = (from..).find(|byte| !is_covered(&pieces, *byte)).expect("pieces are finite");
        prop_assert_eq!(contiguous_end(&pieces, from), oracle);
    }

    #[test]
    fn a_hole_is_every_byte_that_no_piece_has(pieces in any_pieces(), start in 0_u64..30, length in 0_u64..30) {
        let whole = start..start + length;
        let found = holes(&pieces, whole.clone());
        prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
        for byte in whole.clone() {
            prop_assert_eq!(found.iter().any(|hole| hole.contains(&byte)), !is_covered(&pieces, byte));
        }
        prop_assert!(found.iter().all(|hole| !hole.is_empty() && hole.start >= whole.start && hole.end <= whole.end));
    }

    #[test]
    fn a_chain_covers_everything_with_the_fewest_pieces(pieces in any_pieces(), end in 1_u64..45) {
        let complete = contiguous_end(&pieces, 0) >= end;
        let chain = minimal_chain(&pieces, end);
        prop_assert_eq!(chain.is_some(), complete);
        if let Some(chain) = chain {
            prop_assert!(contiguous_end(&chain, 0) >= end);
            prop_assert!(chain.iter().all(|piece| pieces.contains(piece)));
            prop_assert_eq!(chain.len(), fewest(&pieces, end));
        }
    }
}

/// The fewest pieces that cover `0..end`, by trying all sets.
fn fewest(pieces: &[Range<u64>], end: u64) -> usize {
    let sets = 0_u32..1 << pieces.len();
    let chosen = |set: u32| pieces.iter().enumerate().filter(move |(at, _)| set & 1 << at != 0).map(|(_, piece)| piece.clone());
    let covering = sets.filter(|set| contiguous_end(&chosen(*set).collect::<Vec<_>>(), 0) >= end);
    covering.map(|set| set.count_ones() as usize).min().expect("there is a cover")
}

struct Scratch {
    archive: WalArchive,
    folder: tempfile::TempDir,
}

async fn scratch() -> Scratch {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let store = FileStore::create(folder.path()).await.expect("a store");
    let (repository, _) = Repository::create(Arc::new(store), Compression::default()).await.expect("a repository");
    let segment_size = SegmentSize::try_from(SIZE).expect("a valid size");
    let lineage = Lineage {
        system_id: SystemId(7),
        segment_size,
        postgres_major: 17,
        created_at: Timestamp::from_second(0).expect("a time"),
    };
    let archive = repository.wal(&"postgres/main".parse().expect("a name"), &lineage);
    Scratch { archive, folder }
}

impl Scratch {
    fn name(&self, number: u64) -> SegmentName {
        SegmentName::new(TIMELINE, SegmentNumber(number), self.archive.segment_size())
    }

    async fn put_file(&self, name: WalFileName, end: u64) {
        self.archive.put_file(name, Bytes::from_static(b"x"), &about(end)).await.expect("stored");
    }

    async fn put_segments(&self, numbers: Range<u64>) {
        for number in numbers {
            self.put_file(WalFileName::Segment(self.name(number)), (number + 1) * SIZE).await;
        }
    }

    async fn put_slice(&self, number: u64, bytes: Range<u64>) {
        let slice = Slice { segment: self.name(number), bytes };
        self.archive.put_slice(&slice, Bytes::from_static(b"x"), &about(0)).await.expect("stored");
    }

    async fn coverage(&self, wanted: Range<u64>) -> (u64, Option<u64>) {
        let coverage = stored_through(&self.archive, TIMELINE, Lsn(wanted.start)..Lsn(wanted.end)).await.expect("listed");
        (coverage.end.0, coverage.resumes.map(|lsn| lsn.0))
    }
}

fn about(end: u64) -> WalAbout {
    WalAbout { system_id: SystemId(7), source: WalSource::Streaming, start: None, end: Some(Lsn(end)), activity: None }
}

#[tokio::test]
async fn whole_segments_and_slices_add_up_and_a_hole_ends_them() {
    let scratch = scratch().await;
    scratch.put_segments(3..6).await;
    scratch.put_slice(6, 0..1000).await;
    scratch.put_slice(6, 900..3000).await;
    let end = 6 * SIZE + 3000;
    assert_eq!(scratch.coverage(3 * SIZE + 40..u64::MAX).await, (end, None));
    scratch.put_slice(6, 3001..4000).await;
    assert_eq!(scratch.coverage(3 * SIZE + 40..u64::MAX).await, (end, None));
    scratch.put_segments(8..9).await;
    assert_eq!(scratch.coverage(3 * SIZE + 40..u64::MAX).await, (end, Some(8 * SIZE)));
    assert_eq!(scratch.coverage(3 * SIZE + 40..end).await, (end, None));
    assert!(scratch.coverage(3 * SIZE + 40..4 * SIZE).await.0 >= 4 * SIZE);
}

#[tokio::test]
async fn nothing_counts_that_does_not_begin_with_its_segment() {
    let scratch = scratch().await;
    assert_eq!(scratch.coverage(SIZE + 100..u64::MAX).await, (SIZE + 100, None));
    scratch.put_slice(1, 50..5000).await;
    assert_eq!(scratch.coverage(SIZE + 100..u64::MAX).await, (SIZE + 100, None));
    scratch.put_segments(4..5).await;
    assert_eq!(scratch.coverage(SIZE + 100..u64::MAX).await, (SIZE + 100, Some(4 * SIZE)));
}

#[tokio::test]
async fn a_partial_file_counts_up_to_the_wal_in_it() {
    let scratch = scratch().await;
    scratch.put_segments(1..2).await;
    scratch.put_file(WalFileName::Partial(scratch.name(2)), 2 * SIZE + 777).await;
    assert_eq!(scratch.coverage(SIZE..u64::MAX).await, (2 * SIZE + 777, None));
}

#[tokio::test]
async fn wal_of_which_the_name_alone_is_left_is_noted_once() {
    let scratch = scratch().await;
    scratch.put_segments(3..8).await;
    let emptied = WalObject::File(WalFileName::Segment(scratch.name(5)));
    let file = scratch.folder.path().join(scratch.archive.key_of(&emptied).to_string());
    std::fs::write(&file, b"").expect("empty a segment");
    let mut hollow = Vec::new();
    let wanted = Lsn(3 * SIZE)..Lsn(u64::MAX);
    let coverage = stored_through_noting(&scratch.archive, TIMELINE, wanted, &mut hollow).await.expect("listed");
    assert_eq!((coverage.end, hollow), (Lsn(8 * SIZE), vec![emptied]));
}

#[tokio::test]
async fn a_full_listing_page_is_not_the_end() {
    let scratch = scratch().await;
    for at in 0..1001 {
        scratch.put_slice(1, at * 8..at * 8 + 8).await;
    }
    scratch.put_slice(2, 0..8).await;
    assert_eq!(scratch.coverage(SIZE..u64::MAX).await, (SIZE + 8008, Some(2 * SIZE)));
}

#[test]
fn what_recovery_cannot_pass_cuts_what_is_stored() {
    let gap = |timeline, start, end, cause| Gap {
        timeline: TimelineId(timeline),
        start: Lsn(start),
        end: Lsn(end),
        cause,
        noticed_at: crate::sys::clock::now(),
    };
    let broken = GapCause::BrokenRecords;
    let minimal = gap(1, 85, 90, GapCause::WalLevelMinimal);
    let gaps =
        [gap(1, 30, 40, broken), gap(2, 50, 60, broken), gap(1, 70, 80, GapCause::NotStored), minimal, gap(1, 95, 120, broken)];
    let stretches = vec![Lsn(0)..Lsn(20), Lsn(25)..Lsn(100)];
    assert_eq!(cut(stretches, &gaps, TimelineId(1)), [Lsn(0)..Lsn(20), Lsn(25)..Lsn(30), Lsn(40)..Lsn(85), Lsn(90)..Lsn(95)]);
}
