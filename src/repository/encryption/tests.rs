//! WAL of one cluster, stored by several writers with and without keys.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::codec::{Compression, Hash, Identity, KeyFile};
use crate::pg::{SegmentSize, SystemId, TimelineId, WalFileName};
use crate::repository::{
    BackupEntry, BackupId, BackupObject, BucketBackup, Detail, KeptContent, Lineage, ResourceKind, Stored, WalAbout, WalArchive,
    WalSource,
};
use crate::storage::FileStore;
use crate::sys::clock;

struct Bench {
    repository: Repository,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        Self { repository, _folder: folder }
    }

    fn archive(&self, encryption: &Encryption) -> WalArchive {
        let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
        let lineage = Lineage {
            system_id: SystemId(7),
            segment_size: SegmentSize::DEFAULT,
            postgres_major: 17,
            created_at: Timestamp::UNIX_EPOCH,
        };
        self.repository.clone().with_encryption(encryption.clone()).wal(&resource, &lineage)
    }
}

fn writer_and_reader() -> (Encryption, Encryption) {
    let key = KeyFile::generate(clock::now());
    let recipients = Recipients::parse(&[key.recipient().to_owned()]).unwrap();
    let content = key.content().to_owned();
    let identities = Identities::later(move || Identity::read("key", content.as_bytes(), &|_| Err("none".into())));
    let writer = Encryption { recipients: recipients.clone(), identities: Identities::default() };
    (writer, Encryption { recipients, identities })
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

const ABOUT: WalAbout = WalAbout { system_id: SystemId(7), source: WalSource::Streaming, start: None, end: None, activity: None };

async fn put(archive: &WalArchive, name: &str, content: &'static [u8]) -> Result<Stored> {
    archive.put_file(name.parse().unwrap(), Bytes::from_static(content), &ABOUT).await
}

const SEGMENT: &str = "000000010000000000000003";

#[test]
fn writers_without_a_key_compare_content_although_no_two_encryptions_are_equal() {
    run(async {
        let (one, _) = writer_and_reader();
        let (other, _) = writer_and_reader();
        let clear = Encryption::default();
        let bench = Bench::new().await;
        let archives = [&one, &one, &other, &clear].map(|encryption| bench.archive(encryption));
        assert_eq!(put(&archives[0], SEGMENT, b"content").await.unwrap(), Stored::New);
        for archive in &archives {
            assert_eq!(put(archive, SEGMENT, b"content").await.unwrap(), Stored::Identical);
            let conflict = put(archive, SEGMENT, b"CONTENT").await.unwrap_err();
            assert!(matches!(conflict, Error::Conflict { stored, .. } if stored == Hash::of(b"content")), "{conflict}");
        }
    });
}

#[test]
fn what_lies_in_the_clear_stays_readable_beside_what_is_encrypted() {
    run(async {
        let (writer, reader) = writer_and_reader();
        let bench = Bench::new().await;
        put(&bench.archive(&Encryption::default()), SEGMENT, b"old").await.unwrap();
        put(&bench.archive(&writer), "000000010000000000000004", b"new").await.unwrap();
        let get = async |archive: &WalArchive, name: &str| archive.get_file(name.parse().unwrap()).await;
        let archive = bench.archive(&reader);
        for (name, content) in [(SEGMENT, b"old"), ("000000010000000000000004", b"new")] {
            assert_eq!(get(&archive, name).await.unwrap().unwrap().1, &content[..]);
        }
        assert_eq!(get(&bench.archive(&writer), SEGMENT).await.unwrap().unwrap().1, &b"old"[..]);
        let locked = get(&bench.archive(&writer), "000000010000000000000004").await.unwrap_err();
        assert!(locked.is_locked() && !locked.is_retryable() && locked.hint().is_some(), "{locked}");
        let about = bench.archive(&writer).about_file("000000010000000000000004".parse().unwrap()).await.unwrap();
        assert_eq!(about, Some(ABOUT));
    });
}

#[test]
fn the_course_of_a_timeline_is_read_without_a_key() {
    run(async {
        let (writer, reader) = writer_and_reader();
        let bench = Bench::new().await;
        let content = b"1\t0/3000000\tat restore point \"x\"\n";
        put(&bench.archive(&writer), "00000002.history", content).await.unwrap();
        put(&bench.archive(&Encryption::default()), "00000003.history", content).await.unwrap();
        for timeline in [TimelineId(2), TimelineId(3)] {
            let history = bench.archive(&writer).history(timeline).await.unwrap().unwrap();
            assert_eq!(history.parent().map(|parent| (parent.timeline, parent.end.0)), Some((TimelineId(1), 0x300_0000)));
        }
        assert_eq!(bench.archive(&writer).history(TimelineId(4)).await.unwrap(), None);
        let whole = bench.archive(&reader).get_file(WalFileName::History(TimelineId(2))).await.unwrap();
        assert_eq!(whole.unwrap().1, &content[..]);
    });
}

#[test]
fn a_sample_tells_whom_objects_are_encrypted_to() {
    run(async {
        let (writer, _) = writer_and_reader();
        let bench = Bench::new().await;
        let archive = bench.archive(&writer);
        put(&bench.archive(&Encryption::default()), SEGMENT, b"old").await.unwrap();
        put(&archive, "000000010000000000000004", b"new").await.unwrap();
        let mut recipients = Vec::new();
        for key in archive.sampled_objects().await.unwrap() {
            recipients.extend(bench.repository.sample(key).await.unwrap().map(|sample| sample.recipients));
        }
        assert_eq!(recipients, [writer.recipients.names(), vec![]]);
    });
}

fn bucket_backup(resource: &ResourceName, id: &BackupId, objects: Vec<BackupObject>, kept: Vec<KeptContent>) -> BackupEntry {
    BackupEntry {
        format: BackupEntry::FORMAT,
        id: id.clone(),
        resource: resource.clone(),
        started_at: clock::now(),
        finished_at: clock::now(),
        made_by: "test".to_owned(),
        plain_bytes: 0,
        stored_bytes: 0,
        objects,
        detail: Detail::Bucket(BucketBackup {
            listing: String::new(),
            objects: 0,
            read_objects: 0,
            left_out: 0,
            kept,
            exclusions: None,
        }),
    }
}

/// An identity that is thrown away because no sample needs it must not be needed.
#[test]
fn a_sample_shows_what_a_new_backup_needs_of_one_that_was_encrypted_to_others() {
    run(async {
        let [(old, _), (new, _)] = [writer_and_reader(), writer_and_reader()];
        let (bench, content) = (Bench::new().await, Bytes::from_static(b"content"));
        let resource = ResourceName::new(ResourceKind::Bucket, "a").unwrap();
        let backups = |encryption: &Encryption| bench.repository.clone().with_encryption(encryption.clone()).backups(&resource);
        let [first, second] = [1, 2].map(|mark| BackupId::new(clock::now(), mark));
        let pack = backups(&old).put_small(&first, "content-1", "test", content.clone()).await.unwrap();
        let listing = backups(&new).put_small(&second, "listing", "test", content).await.unwrap();
        let kept = vec![KeptContent { backup: first, objects: vec![pack] }];
        backups(&new).put(&bucket_backup(&resource, &second, vec![listing], kept)).await.unwrap();
        let samples = bench.repository.samples(&resource).await.unwrap();
        let recipients: Vec<Vec<String>> = samples.into_iter().map(|sample| sample.recipients).collect();
        assert_eq!(recipients, [new.recipients.names(), old.recipients.names()]);
    });
}

#[test]
fn a_sample_shows_the_oldest_backup_however_many_there_are() {
    run(async {
        let (old, _) = writer_and_reader();
        let bench = Bench::new().await;
        let resource = ResourceName::new(ResourceKind::Bucket, "a").unwrap();
        let backups = bench.repository.clone().with_encryption(old.clone()).backups(&resource);
        let many = 3 * u64::try_from(BACKUPS_SAMPLED).unwrap();
        for mark in 0..many {
            let id = BackupId::new(clock::now(), mark);
            let mut objects = Vec::new();
            if mark == 0 {
                objects.push(backups.put_small(&id, "listing", "test", Bytes::from_static(b"content")).await.unwrap());
            }
            backups.put(&bucket_backup(&resource, &id, objects, Vec::new())).await.unwrap();
        }
        let samples = bench.repository.samples(&resource).await.unwrap();
        let recipients: Vec<Vec<String>> = samples.into_iter().map(|sample| sample.recipients).collect();
        assert_eq!(recipients, [old.recipients.names()]);
    });
}
