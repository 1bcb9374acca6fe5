//! The first retention of a repository that has grown for years: bounded in memory, and ended anywhere.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast::codec::{Compression, FrameIndex, Hash};
use holdfast::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, SystemId, TimelineId};
use holdfast::repository::{
    BackupEntry, BackupId, BackupObject, BucketBackup, Detail, FramedObject, KeptContent, Lineage, NewLineage, PostgresBackup,
    Repository, ResourceName,
};
use holdfast::storage::FileStore;
use jiff::Timestamp;
use pg_fixtures::{Scratch, Verbs, poll};
use tokio::runtime::Runtime;

use super::measure::{Ended, bounded_until, measure};
use super::site::files_below;

/// How many objects there are, half of them WAL; the measure that the project keeps to is 200,000.
const OBJECTS: &str = "HOLDFAST_TEST_STORED_OBJECTS";
const DEADLINE: Duration = Duration::from_secs(600);
const BACKUPS: usize = 10;
/// How much of the WAL the kept backup needs, in segments.
const KEPT_SEGMENTS: usize = 10;
/// Which of the packs of an earlier backup the later ones need: one in so many.
const SHARED: usize = 5;
/// What stands for the content of an object: retention reads none.
const CONTENT: &[u8] = b"content";

struct Grown {
    scratch: Scratch,
    verbs: Verbs,
    repository: Repository,
    runtime: Runtime,
    objects: usize,
}

impl Grown {
    fn new() -> Self {
        let (scratch, runtime) = (Scratch::new(), Runtime::new().expect("a runtime"));
        let root = scratch.path().join("repository");
        let verbs = Verbs::new(env!("CARGO_BIN_EXE_holdfast"), scratch.path().join("holdfast.toml"));
        let source = "{ url = \"s3://data\", access_key_id = \"k\", secret_access_key = \"s\" }";
        let text = format!(
            "[repository]\nurl = \"file://{}\"\nlease = \"1s\"\n[postgres.main]\nconninfo = \"host=nowhere.invalid\"\nkeep = {{ last = 1 }}\n\
             [bucket.data]\nsource = {source}\nkeep = {{ last = 1 }}\n",
            root.display()
        );
        fs::write(verbs.configuration(), text).expect("write the configuration");
        let repository = runtime.block_on(async {
            let store = Arc::new(FileStore::create(&root).await.expect("a store"));
            Repository::create(store, Compression::default()).await.expect("a repository").0
        });
        Self { scratch, verbs, repository, runtime, objects: measure(OBJECTS, 4000) }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join("repository").join(below)
    }

    fn put(&self, key: &str) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, CONTENT).expect("write an object");
    }

    fn list(&self, entry: &BackupEntry) {
        self.runtime.block_on(self.repository.backups(&entry.resource).put(entry)).expect("list a backup");
    }

    /// WAL of one timeline, with a backup at each of its ends.
    fn grow_wal(&self) {
        let lineage =
            Lineage { system_id: SystemId(7), segment_size: segment_size(), postgres_major: 17, created_at: Timestamp::now() };
        let name = cluster();
        self.runtime.block_on(self.repository.add_lineage(&name, &lineage, NewLineage::OnlyFirst)).expect("add the cluster");
        (0..self.objects / 2).for_each(|number| self.put(&segment_key(number)));
        for (mark, number) in [(1, 0), (2, self.objects / 2 - KEPT_SEGMENTS)] {
            let start = SegmentNumber(number as u64).start(segment_size()).0;
            self.list(&entry(mark, cluster(), vec![], Detail::Postgres(base_backup(Lsn(start + 0x28)))));
        }
    }

    /// Backups of a bucket, each of which needs some of what those before it have stored; their ids.
    fn grow_bucket(&self) -> Vec<BackupId> {
        let mut earlier: Vec<KeptContent> = Vec::new();
        for mark in 1..=BACKUPS {
            let id = backup_id(mark as u64);
            let packs: Vec<BackupObject> = (0..self.packs()).map(|number| object(&pack(number))).collect();
            let all = packs.iter().flat_map(|pack| [pack.name.clone(), format!("{}.frames", pack.name)]);
            let objects: Vec<BackupObject> = all.map(|name| object(&name)).collect();
            objects.iter().for_each(|object| self.put(&format!("{}/data/{id}/{}", bucket(), object.name)));
            let listing = objects[0].name.clone();
            let detail =
                BucketBackup { listing, objects: 1, read_objects: 1, left_out: 0, kept: earlier.clone(), exclusions: None };
            self.list(&entry(mark as u64, bucket(), objects, Detail::Bucket(detail)));
            earlier.push(KeptContent { backup: id, objects: packs.into_iter().step_by(SHARED).collect() });
        }
        earlier.into_iter().map(|kept| kept.backup).collect()
    }

    /// How many packs each backup has stored: every one of them is two objects.
    fn packs(&self) -> usize {
        self.objects / 2 / BACKUPS / 2
    }

    /// Applies retention, kills it in the middle, and applies it again; `middle`: what is gone by then.
    fn expire(&self, resource: &ResourceName, middle: &str) {
        let (verb, path) = (["expire", &resource.to_string()], self.path(middle));
        assert_eq!(bounded_until(&self.verbs, &verb, || !path.exists()), Ended::Killed, "{resource}");
        let done = || bounded_until(&self.verbs, &verb, || false) == Ended::Done;
        poll::until(DEADLINE, "what the killed process held is free", done);
        let plan = self.verbs.json(&["expire", &resource.to_string(), "--dry-run"]);
        assert_eq!(plan["resources"][0]["plan"]["freed_bytes"], 0, "{plan}");
    }
}

fn cluster() -> ResourceName {
    "postgres/main".parse().expect("a name")
}

fn bucket() -> ResourceName {
    "bucket/data".parse().expect("a name")
}

fn segment_size() -> SegmentSize {
    SegmentSize::try_from(16 << 20).expect("a size")
}

fn segment_key(number: usize) -> String {
    let name = SegmentName::new(TimelineId(1), SegmentNumber(number as u64), segment_size());
    format!("{}/wal/7/{}/{name}", cluster(), name.group())
}

fn pack(number: usize) -> String {
    format!("content-{number:06}.tar.zst")
}

fn object(name: &str) -> BackupObject {
    let bytes = CONTENT.len() as u64;
    BackupObject { name: name.to_owned(), plain_bytes: bytes, stored_bytes: bytes, blake3: Hash::of(name.as_bytes()) }
}

fn backup_id(mark: u64) -> BackupId {
    BackupId::new("2026-01-01T00:00:00Z".parse().expect("a time"), mark)
}

fn entry(mark: u64, resource: ResourceName, objects: Vec<BackupObject>, detail: Detail) -> BackupEntry {
    let (plain_bytes, stored_bytes) = (1, objects.iter().map(|object| object.stored_bytes).sum());
    let at: Timestamp = Timestamp::from_second(1_767_225_600 + mark.cast_signed()).expect("a time");
    let (format, made_by) = (BackupEntry::FORMAT, "test".to_owned());
    let (started_at, finished_at) = (at, at);
    BackupEntry {
        format,
        id: backup_id(mark),
        resource,
        started_at,
        finished_at,
        made_by,
        plain_bytes,
        stored_bytes,
        objects,
        detail,
    }
}

fn base_backup(start: Lsn) -> PostgresBackup {
    PostgresBackup {
        system_id: SystemId(7),
        timeline: TimelineId(1),
        start_lsn: start,
        stop_lsn: Lsn(start.0 + 0x100),
        server_version: 170_000,
        wal_segment_bytes: segment_size(),
        data_directory_mode: "0700".to_owned(),
        data_checksums: true,
        label: String::new(),
        compression: Compression::default(),
        manifest: FramedObject { name: "backup_manifest".to_owned(), frames: FrameIndex::default() },
        tablespaces: vec![],
        files: 1,
    }
}

#[test]
fn the_first_retention_of_a_large_repository_is_bounded_and_may_be_killed() {
    let grown = Grown::new();
    grown.grow_wal();
    let segments = grown.objects / 2;
    grown.expire(&cluster(), &segment_key(segments / 3));
    let left = files_below(&grown.path("postgres/main/wal/7"));
    assert_eq!(left.len(), KEPT_SEGMENTS);
    assert!((segments - KEPT_SEGMENTS..segments).all(|number| grown.path(&segment_key(number)).exists()));

    let ids = grown.grow_bucket();
    grown.expire(&bucket(), &format!("bucket/data/data/{}/{}", ids[BACKUPS / 2], pack(1)));
    for (number, id) in ids.iter().enumerate() {
        let needed = if number == BACKUPS - 1 { grown.packs() } else { grown.packs().div_ceil(SHARED) };
        assert_eq!(files_below(&grown.path(&format!("bucket/data/data/{id}"))).len(), 2 * needed, "{number}");
    }
}
