use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::codec::Compression;
use crate::pg::{SystemId, TimelineId};
use crate::repository::{Lineage, NewLineage, Repository, ResourceKind, ResourceName};
use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
use crate::storage::{FileStore, Store};

const MB: u64 = 1 << 20;

/// An archive of 64 MiB segments, whose pieces are slices.
async fn archive(directory: &std::path::Path) -> WalArchive {
    archive_in(Arc::new(FileStore::create(directory).await.unwrap())).await
}

async fn archive_in(store: Arc<dyn Store>) -> WalArchive {
    let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
    let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
    let segment_size = SegmentSize::try_from(64 * MB).unwrap();
    let lineage = Lineage { system_id: SystemId(7), segment_size, postgres_major: 17, created_at: clock::now() };
    repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.unwrap();
    repository.wal(&resource, &lineage)
}

#[tokio::test]
async fn a_whole_piece_is_never_deleted_as_a_slice() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let begin = Begin { timeline: TimelineId(1), lsn: Lsn(80 * MB) };
    let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
    let rule = SliceRule { max_delay: Duration::ZERO, synchronous: true };
    let mut inflow =
        Inflow::new(&archive, begin, Known::default(), rule, &Report::new(&resource, Duration::from_secs(1)), Delays::default());
    // The store is asked for the piece and, because that takes a while, for a slice with the same bytes, which has the same name.
    inflow.take(&vec![0; 16 << 20], clock::instant());
    inflow.settle().await.unwrap();
    assert_eq!(inflow.stored(), Lsn(96 * MB));
    let segment = SegmentName::new(begin.timeline, SegmentNumber(1), archive.segment_size());
    let stored = archive.slices(segment).await.unwrap();
    assert_eq!(stored, [Slice { segment, bytes: 16 * MB..32 * MB }], "what is acknowledged is stored");
    assert_eq!(archive.gaps().await.unwrap().records, [], "the rest of a segment behind a switch is empty");
}

#[tokio::test]
async fn records_that_do_not_follow_one_another_are_a_gap_before_they_are_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let begin = Begin { timeline: TimelineId(1), lsn: Lsn(64 * MB) };
    let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
    let rule = SliceRule { max_delay: Duration::ZERO, synchronous: true };
    let mut inflow =
        Inflow::new(&archive, begin, Known::default(), rule, &Report::new(&resource, rule.max_delay), Delays::default());
    inflow.take(&vec![0; 16 << 10], clock::instant());
    inflow.start_uploads(clock::instant(), true).unwrap();
    assert!(!inflow.finished().await.unwrap(), "the gap comes first");
    let gaps = archive.gaps().await.unwrap().records;
    assert_eq!(
        gaps.iter().map(|gap| (gap.cause, gap.start, gap.end)).collect::<Vec<_>>(),
        [(GapCause::BrokenRecords, Lsn(64 * MB), Lsn(128 * MB))]
    );
    inflow.settle().await.unwrap();
    assert_eq!(inflow.stored(), Lsn(64 * MB + (16 << 10)));
}

/// A stream of synchronous commits behind a switch, whose rest of the segment is not looked into.
fn synchronous(archive: &WalArchive) -> Inflow {
    let begin = Begin { timeline: TimelineId(1), lsn: Lsn(80 * MB) };
    let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
    let rule = SliceRule { max_delay: Duration::from_secs(1), synchronous: true };
    Inflow::new(archive, begin, Known::default(), rule, &Report::new(&resource, rule.max_delay), Delays::default())
}

async fn ranges(archive: &WalArchive) -> Vec<(u64, u64)> {
    let segment = SegmentName::new(TimelineId(1), SegmentNumber(1), archive.segment_size());
    archive
        .slices(segment)
        .await
        .unwrap()
        .into_iter()
        .map(|slice| (slice.bytes.start - 16 * MB, slice.bytes.end - 16 * MB))
        .collect()
}

#[tokio::test]
async fn a_commit_does_not_wait_for_the_slice_before_its_own_and_no_hole_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let faulty = Faulty::new(Arc::new(FileStore::create(directory.path()).await.unwrap()));
    let archive = archive_in(Arc::new(faulty.clone())).await;
    let mut inflow = synchronous(&archive);
    // By their ends in the segment: which of them is put first is up to the threads that compress them.
    for end in ["-010003E8", "-010007D0"] {
        faulty.inject(Fault::on(Operation::Put, Effect::Hang).of(end));
    }
    for end in [1000, 2000, 3000] {
        inflow.take(&[0; 1000], clock::instant());
        inflow.start_uploads(clock::instant(), true).unwrap();
        assert!(inflow.due().is_none() && inflow.received() == Lsn(80 * MB + end), "all of it is on its way");
    }
    assert!(inflow.finished().await.unwrap());
    assert_eq!(inflow.stored(), Lsn(80 * MB + 3000), "the first two hang, and the third holds what they hold");
    assert_eq!(ranges(&archive).await, [(0, 3000)]);
    inflow.take(&[0; 500], clock::instant());
    inflow.start_uploads(clock::instant(), true).unwrap();
    assert!(inflow.finished().await.unwrap());
    assert_eq!(ranges(&archive).await, [(0, 3000), (3000, 3500)], "what is stored is not sent again");
}

#[tokio::test]
async fn no_commit_waits_for_a_merge() {
    let directory = tempfile::tempdir().unwrap();
    let faulty = Faulty::new(Arc::new(FileStore::create(directory.path()).await.unwrap()));
    let archive = archive_in(Arc::new(faulty.clone())).await;
    let mut inflow = synchronous(&archive);
    for _ in 0..15 {
        inflow.take(&[0; 8], clock::instant());
        inflow.settle().await.unwrap();
    }
    assert_eq!(ranges(&archive).await.len(), 15);
    // The sixteenth, and the merge behind it.
    faulty.inject(Fault::on(Operation::Put, Effect::Hang).of(".slices/").skip(1).times(1));
    for count in 16..20 {
        inflow.take(&[0; 8], clock::instant());
        inflow.start_uploads(clock::instant(), true).unwrap();
        while inflow.stored() < inflow.received() {
            inflow.finished().await.unwrap();
            inflow.start_uploads(clock::instant(), true).unwrap();
        }
        assert_eq!(ranges(&archive).await.len(), count);
    }
    assert!(inflow.under_way.has(Purpose::Merge));
    drop(inflow);
    let mut inflow = synchronous(&archive);
    for _ in 0..16 {
        inflow.take(&[0; 8], clock::instant());
        inflow.settle().await.unwrap();
    }
    let stored = ranges(&archive).await;
    assert_eq!(stored.iter().filter(|range| range.1 <= 128).collect::<Vec<_>>(), [&(0, 128)], "{stored:?}");
}
