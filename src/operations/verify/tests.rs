use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::codec::Compression;
use crate::pg::records::{Activity, FirstRecord};
use crate::pg::{SegmentName, SegmentNumber, SegmentSize, WalFileName};
use crate::repository::{NewLineage, Repository, WalAbout, WalArchive, WalSource};
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

    async fn verify(&self, reading: Reading) -> VerifiedWal {
        let known = Known {
            archive: self.archive.clone(),
            backups: Vec::new(),
            gaps: Vec::new(),
            histories: Vec::new(),
            horizons: std::collections::BTreeMap::new(),
        };
        let span = known.span(TimelineId(1), Lsn(3 * MB + 100)).await.unwrap();
        walk::verify(&self.run, &known, &span, reading).await.unwrap()
    }
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
