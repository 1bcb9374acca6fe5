use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::codec::Compression;
use crate::pg::{SystemId, TimelineId};
use crate::repository::{Lineage, NewLineage, Repository, ResourceKind, ResourceName};
use crate::storage::FileStore;

const MB: u64 = 1 << 20;

/// An archive of 64 MiB segments, whose pieces are slices.
async fn archive(directory: &std::path::Path) -> WalArchive {
    let store = Arc::new(FileStore::create(directory).await.unwrap());
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
