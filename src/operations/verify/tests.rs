use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::codec::{Compression, FrameIndex};
use crate::pg::history::TimelineHistory;
use crate::pg::records::{Activity, FirstRecord};
use crate::pg::{SegmentName, SegmentNumber, SegmentSize, WalFileName};
use crate::repository::{Detail, FramedObject, NewLineage, PostgresBackup, Repository, WalAbout, WalSource};
use crate::storage::FileStore;
use crate::sys::clock;

const MB: u64 = 1 << 20;

struct Scene {
    run: Run,
    archive: WalArchive,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(directory.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let segment_size = SegmentSize::try_from(MB).unwrap();
        let lineage = Lineage { system_id: SystemId(7), segment_size, postgres_major: 17, created_at: clock::now() };
        let resource: ResourceName = "postgres/main".parse().unwrap();
        repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.unwrap();
        let archive = repository.wal(&resource, &lineage);
        Self { run: Run::new(repository), archive, _directory: directory }
    }

    /// Stores a segment whose first record follows the one at `previous`, and whose last record begins at `last`.
    async fn put(&self, number: u64, previous: u64, last: u64) {
        let first_record = Some(FirstRecord { lsn: Lsn(number * MB + 40), previous: Some(Lsn(previous)) });
        let activity = Some(Activity { first_record, last_record: Some(Lsn(last)), ..Activity::default() });
        let (start, end) = (Some(Lsn(number * MB)), Some(Lsn((number + 1) * MB)));
        let about = WalAbout { system_id: SystemId(7), source: WalSource::Streaming, start, end, activity };
        let name = SegmentName::new(TimelineId(1), SegmentNumber(number), self.archive.segment_size());
        self.archive.put_file(WalFileName::Segment(name), Bytes::from(vec![0; 100]), &about).await.unwrap();
    }

    fn known(&self, backups: Vec<BackupEntry>, histories: Vec<TimelineHistory>) -> Known {
        Known { archive: self.archive.clone(), backups, gaps: Vec::new(), histories, horizons: BTreeMap::new(), newest: None }
    }

    async fn verify(&self, reading: Reading) -> VerifiedWal {
        let known = self.known(Vec::new(), Vec::new());
        let span = known.span(TimelineId(1), Lsn(3 * MB + 100)).await.unwrap();
        walk::verify(&self.run, &known, &span, reading).await.unwrap()
    }
}

/// A backup of a timeline that needs this WAL to be consistent.
fn backup(timeline: u32, needs: Range<u64>) -> BackupEntry {
    let detail = PostgresBackup {
        system_id: SystemId(7),
        timeline: TimelineId(timeline),
        start_lsn: Lsn(needs.start),
        stop_lsn: Lsn(needs.end),
        server_version: 170_000,
        wal_segment_bytes: SegmentSize::try_from(MB).unwrap(),
        data_directory_mode: "0700".to_owned(),
        data_checksums: true,
        label: String::new(),
        compression: Compression::default(),
        manifest: FramedObject { name: "a".to_owned(), frames: FrameIndex::default() },
        tablespaces: Vec::new(),
        files: 1,
    };
    BackupEntry {
        format: BackupEntry::FORMAT,
        id: BackupId::new(clock::now(), needs.start),
        resource: "postgres/main".parse().unwrap(),
        started_at: clock::now(),
        finished_at: clock::now(),
        made_by: "test".to_owned(),
        plain_bytes: 1,
        stored_bytes: 1,
        objects: Vec::new(),
        detail: Detail::Postgres(detail),
    }
}

/// Timeline 2, which left 1 at 10, and timeline 3, which left 2 at 20.
fn promotions() -> Vec<TimelineHistory> {
    let parse = |timeline, text: &str| TimelineHistory::parse(TimelineId(timeline), text.as_bytes()).unwrap();
    vec![parse(2, "1\t0/A\tpromoted\n"), parse(3, "1\t0/A\tpromoted\n2\t0/14\tpromoted\n")]
}

#[tokio::test]
async fn wal_is_of_use_from_the_first_backup_on_along_every_timeline_that_it_leads_to() {
    let scene = Scene::new().await;
    let begins = |backups: Vec<BackupEntry>| {
        let known = scene.known(backups, promotions());
        [1, 2, 3].map(|timeline| known.begins(TimelineId(timeline)).map(|from| from.0))
    };
    assert_eq!(begins(vec![backup(3, 50..60)]), [None, None, Some(50)], "what was before it came was never stored here");
    assert_eq!(begins(vec![backup(1, 5..6), backup(3, 50..60)]), [Some(5), Some(10), Some(20)]);
    assert_eq!(begins(vec![backup(2, 12..13)]), [None, Some(12), Some(20)]);
    assert_eq!(begins(vec![backup(2, 25..26)]), [None, Some(25), None], "the third timeline was forked off before it");
    assert_eq!(begins(vec![backup(3, 18..22)]), [None, Some(18), Some(20)], "its checkpoint lies before the promotion");
    assert_eq!(begins(vec![backup(4, 50..60)]), [None, None, None], "a timeline that is not stored leads nowhere");
}

#[tokio::test]
async fn what_the_newest_timeline_is_restored_from_is_of_use_whatever_a_horizon_says() {
    let scene = Scene::new().await;
    let begins = |newest: Option<u32>, backups: Vec<BackupEntry>| {
        let mut known = scene.known(backups, promotions());
        (known.newest, known.horizons) = (newest.map(TimelineId), BTreeMap::from([(TimelineId(2), Lsn(16))]));
        [1, 2, 3].map(|timeline| known.begins(TimelineId(timeline)).map(|from| from.0))
    };
    let kept = || vec![backup(2, 12..13), backup(2, 25..26)];
    assert_eq!(begins(None, kept()), [None, Some(16), Some(20)]);
    assert_eq!(begins(Some(3), kept()), [None, Some(12), Some(20)], "nothing else leads to the third timeline");
    assert_eq!(begins(Some(2), kept()), [None, Some(16), Some(20)], "the later one leads to the end of the second");
    let replaced = || kept().into_iter().chain([backup(3, 30..31)]).collect();
    assert_eq!(begins(Some(3), replaced()), [None, Some(16), Some(20)], "the third one has a backup of its own");
}

#[tokio::test]
async fn a_segment_that_does_not_follow_the_one_before_it_is_named() {
    let scene = Scene::new().await;
    scene.put(3, 1, 3 * MB + 500).await;
    scene.put(4, 3 * MB + 500, 4 * MB + 500).await;
    let sound = scene.verify(Reading::Headers).await;
    assert_eq!((sound.is_sound(), sound.objects, sound.from, sound.to), (true, 2, Lsn(3 * MB + 100), Lsn(5 * MB)), "{sound:?}");
    scene.put(5, 4 * MB + 400, 5 * MB + 500).await;
    let broken = scene.verify(Reading::Headers).await;
    assert!(broken.damage.len() == 1 && broken.damage[0].object.ends_with("000000010000000000000005"), "{broken:?}");
    assert_eq!(broken.damage[0].lost, Lost { from: Lsn(5 * MB), to: None, backup: None });
}

#[tokio::test]
async fn what_is_missing_at_the_beginning_or_in_between_is_named_from_where_to_where() {
    let scene = Scene::new().await;
    scene.put(4, 1, 4 * MB + 500).await;
    scene.put(6, 1, 6 * MB + 500).await;
    let verified = scene.verify(Reading::Headers).await;
    let lost: Vec<Lsn> = verified.damage.iter().map(|damage| damage.lost.from).collect();
    assert_eq!(lost, [Lsn(3 * MB + 100), Lsn(5 * MB)], "{verified:?}");
    let content = scene.verify(Reading::Content).await;
    assert_eq!(content.damage.len(), 4, "neither of them is a segment: {content:?}");
}
