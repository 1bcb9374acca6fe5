use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::codec::{Compression, Identities, KeyFile, Recipients};
use crate::pg::{SystemId, TimelineId};
use crate::repository::{Encryption, Lineage, NewLineage, Repository, ResourceKind, ResourceName};
use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
use crate::storage::{FileStore, Store};

const MB: u64 = 1 << 20;

/// An archive of 64 MiB segments, whose pieces are slices.
async fn archive(directory: &std::path::Path) -> WalArchive {
    archive_in(Arc::new(FileStore::create(directory).await.unwrap())).await
}

async fn archive_in(store: Arc<dyn Store>) -> WalArchive {
    encrypted_in(store, Encryption::default()).await
}

async fn encrypted_in(store: Arc<dyn Store>, encryption: Encryption) -> WalArchive {
    let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
    let repository = repository.with_encryption(encryption);
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

/// The long header of the first page of the segment at 64 MB of PostgreSQL 17, and behind it a record, all of whose settings are 0 but for
/// `wal_level`.
fn parameter_change(wal_level: u8) -> [u8; 96] {
    let mut wal = [0_u8; 96];
    wal[..8].copy_from_slice(&[0x16, 0xD1, 2, 0, 1, 0, 0, 0]);
    wal[8..16].copy_from_slice(&(64 * MB).to_le_bytes());
    wal[40..44].copy_from_slice(&54_u32.to_le_bytes());
    wal[48..56].copy_from_slice(&(64 * MB - 56).to_le_bytes());
    (wal[56], wal[64], wal[65], wal[86]) = (0x60, 0xFF, 28, wal_level);
    wal
}

#[tokio::test]
async fn the_record_of_wal_level_minimal_is_a_gap_before_it_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let begin = Begin { timeline: TimelineId(1), lsn: Lsn(64 * MB) };
    let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
    let rule = SliceRule { max_delay: Duration::ZERO, synchronous: true };
    let mut inflow =
        Inflow::new(&archive, begin, Known::default(), rule, &Report::new(&resource, rule.max_delay), Delays::default());
    inflow.take(&parameter_change(0), clock::instant());
    inflow.start_uploads(clock::instant(), true).unwrap();
    assert!(!inflow.finished().await.unwrap(), "the gap comes first");
    let gaps = archive.gaps().await.unwrap().records;
    assert_eq!(
        gaps.iter().map(|gap| (gap.cause, gap.start, gap.end)).collect::<Vec<_>>(),
        [(GapCause::WalLevelMinimal, Lsn(64 * MB + 40), Lsn(64 * MB + 96))]
    );
    settle(&mut inflow).await;
    assert_eq!(inflow.stored(), Lsn(64 * MB + 96));
}

#[tokio::test]
async fn what_a_clone_recorded_where_something_else_is_stored_is_no_gap() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let mut original = stream(&archive, 64 * MB, None).await;
    original.take(&parameter_change(1), clock::instant());
    settle(&mut original).await;
    let mut clone = stream(&archive, 64 * MB, None).await;
    clone.take(&parameter_change(0), clock::instant());
    let refused = clone.settle().await.unwrap_err().to_string();
    assert!(refused.contains("contradicts what is stored: from 0/4000056 on"), "{refused}");
    assert_eq!(archive.gaps().await.unwrap().records, []);
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

/// Who has this can write and not read.
fn locked() -> Encryption {
    let recipient = KeyFile::generate(clock::now()).recipient().to_owned();
    Encryption { recipients: Recipients::parse(&[recipient]).unwrap(), identities: Identities::default() }
}

async fn locked_archive(directory: &std::path::Path) -> WalArchive {
    encrypted_in(Arc::new(FileStore::create(directory).await.unwrap()), locked()).await
}

/// A stream of synchronous commits, with what is known of what is stored; the timeline is known to end at `end`.
async fn stream(archive: &WalArchive, lsn: u64, end: Option<Lsn>) -> Inflow {
    let begin = Begin { timeline: TimelineId(1), lsn: Lsn(lsn) };
    let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
    let rule = SliceRule { max_delay: Duration::from_secs(1), synchronous: true };
    let known = Known::list(archive, begin, end).await.unwrap();
    let inflow = Inflow::new(archive, begin, known, rule, &Report::new(&resource, rule.max_delay), Delays::default());
    end.into_iter().for_each(|end| inflow.ends_at(end));
    inflow
}

/// As `settle`, which without a reason to end waits for ever.
async fn settle(inflow: &mut Inflow) {
    let settled = tokio::time::timeout(Duration::from_secs(20), inflow.settle()).await;
    settled.unwrap_or_else(|_| panic!("stored up to {} of {}", inflow.stored(), inflow.received())).unwrap();
}

#[tokio::test]
async fn slices_of_a_later_segment_are_compared_by_who_cannot_read_them() {
    let directory = tempfile::tempdir().unwrap();
    let archive = locked_archive(directory.path()).await;
    let (rest, begun) = (vec![0; 16 << 20], vec![0; 400 << 10]);
    let mut before = stream(&archive, 112 * MB, None).await;
    before.take(&rest, clock::instant());
    before.take(&begun, clock::instant());
    settle(&mut before).await;
    drop(before);
    // The server has crashed, and of its slot it knows an earlier position: the same comes again, less of it at first.
    let mut again = stream(&archive, 112 * MB, None).await;
    again.take(&rest, clock::instant());
    settle(&mut again).await;
    again.take(&begun[..100 << 10], clock::instant());
    again.start_uploads(clock::instant(), true).unwrap();
    assert!(!again.finished().await.unwrap(), "that these are no records is recorded first");
    again.start_uploads(clock::instant(), true).unwrap();
    again.take(&begun[100 << 10..], clock::instant());
    again.take(&[0; 8], clock::instant());
    settle(&mut again).await;
    assert_eq!(again.stored(), again.received());
}

#[tokio::test]
async fn slices_beside_a_whole_piece_are_left_to_it_by_who_cannot_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let archive = locked_archive(directory.path()).await;
    let mut before = stream(&archive, 80 * MB, None).await;
    before.take(&[0; 1000], clock::instant());
    settle(&mut before).await;
    drop(before);
    let mut again = stream(&archive, 80 * MB, None).await;
    // The other way in, which has stored the whole piece by the time that the slice is compared.
    let mut other = synchronous(&archive);
    other.take(&vec![0; 16 << 20], clock::instant());
    settle(&mut other).await;
    again.take(&[0; 1000], clock::instant());
    again.start_uploads(clock::instant(), true).unwrap();
    let put_off = tokio::time::timeout(Duration::from_secs(20), again.finished()).await;
    assert!(!put_off.expect("it is waited for").unwrap(), "it is not known to be stored");
    again.take(&vec![0; (16 << 20) - 1000], clock::instant());
    settle(&mut again).await;
    assert_eq!(again.stored(), Lsn(96 * MB));
    assert_eq!(ranges(&archive).await, [(0, 16 * MB)]);
}

#[tokio::test]
async fn a_timeline_is_stored_to_its_end_where_another_server_went_on_behind_that() {
    let end = Lsn(80 * MB + 2000);
    for encryption in [Encryption::default(), locked()] {
        let directory = tempfile::tempdir().unwrap();
        let archive = encrypted_in(Arc::new(FileStore::create(directory.path()).await.unwrap()), encryption).await;
        let mut old = stream(&archive, 80 * MB, None).await;
        for size in [1000, 2000] {
            old.take(&vec![0; size], clock::instant());
            settle(&mut old).await;
        }
        assert_eq!(ranges(&archive).await, [(0, 1000), (1000, 3000)]);
        drop(old);
        let mut new = stream(&archive, 80 * MB, Some(end)).await;
        new.take(&[0; 2000], clock::instant());
        settle(&mut new).await;
        assert_eq!(new.stored(), end, "or the rest of the timeline is asked for again, for ever");
        assert_eq!(ranges(&archive).await, [(0, 1000), (1000, 2000), (1000, 3000)], "what the other one stored stays");
    }
}

#[tokio::test]
async fn what_contradicts_another_server_before_the_end_of_the_timeline_is_refused_there_too() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let mut old = stream(&archive, 80 * MB, None).await;
    old.take(&[0; 3000], clock::instant());
    settle(&mut old).await;
    let mut new = stream(&archive, 80 * MB, Some(Lsn(80 * MB + 2000))).await;
    new.take(&[1; 2000], clock::instant());
    let refused = new.settle().await.unwrap_err();
    assert!(refused.to_string().contains("contradicts what is stored"), "{refused}");
}

#[tokio::test]
async fn what_differs_under_the_same_name_is_told_of_with_its_position() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let mut wal = [0_u8; 1000];
    let mut first = synchronous(&archive);
    first.take(&wal, clock::instant());
    settle(&mut first).await;
    wal[700] = 1;
    let mut second = synchronous(&archive);
    second.take(&wal, clock::instant());
    let refused = second.settle().await.unwrap_err().to_string();
    assert!(refused.contains("contradicts what is stored: from 0/50002BC on"), "{refused}");
}

#[tokio::test]
async fn the_end_of_a_timeline_that_shows_late_ends_the_waiting_for_what_never_comes() {
    let directory = tempfile::tempdir().unwrap();
    let archive = locked_archive(directory.path()).await;
    let mut old = stream(&archive, 80 * MB, None).await;
    old.take(&[0; 3000], clock::instant());
    settle(&mut old).await;
    let mut new = synchronous(&archive);
    new.take(&[0; 2000], clock::instant());
    new.start_uploads(clock::instant(), true).unwrap();
    let early = tokio::time::timeout(Duration::from_millis(500), new.finished()).await;
    assert!(early.is_err(), "it cannot be compared: {early:?}");
    let switch = Lsn(80 * MB + 1500);
    new.ends_at(switch);
    settle(&mut new).await;
    assert_eq!(
        (new.stored(), new.stored_before(switch)),
        (Lsn(80 * MB + 2000), switch),
        "half a record behind it is no part of it"
    );
}
