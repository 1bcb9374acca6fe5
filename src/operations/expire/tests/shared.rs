//! Content that backups share, while somebody is at work on one of them.

use std::sync::Arc;

use bytes::Bytes;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::codec::Compression;
use crate::config::Keep;
use crate::operations::expire::{Progress, Rules, expire};
use crate::repository::{
    Acquired, BackupEntry, BackupId, BucketBackup, Detail, KeptContent, LeaseName, Protects, Repository, ResourceName, Terms,
};
use crate::storage::FileStore;
use crate::sys::clock;

fn entry(resource: &ResourceName, id: &BackupId, kept: Vec<KeptContent>) -> BackupEntry {
    let listing = "listing.jsonl.zst".to_owned();
    BackupEntry {
        format: BackupEntry::FORMAT,
        id: id.clone(),
        resource: resource.clone(),
        started_at: clock::now(),
        finished_at: clock::now(),
        made_by: "test".to_owned(),
        plain_bytes: 0,
        stored_bytes: 0,
        objects: Vec::new(),
        detail: Detail::Bucket(BucketBackup { listing, objects: 0, read_objects: 0, left_out: 0, kept, exclusions: None }),
    }
}

async fn apply(repository: &Repository, resource: &ResourceName) {
    let keep = Keep { within: None, at_least: 1, last: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
    let rules = Rules { keep: Some(keep), keep_wal: None, zone: TimeZone::UTC };
    let (progress, _) = watch::channel(Progress::default());
    expire(repository, resource, &rules, &progress, &CancellationToken::new()).await.unwrap();
}

/// Retention looks at the leases again when it has taken a backup off the catalog, and lists it anew where somebody has begun to restore it. One
/// that is killed in between leaves it to the next.
#[tokio::test]
async fn what_a_backup_needs_stays_while_it_is_restored_though_it_is_listed_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
    let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
    let resource: ResourceName = "bucket/a".parse().unwrap();
    let backups = repository.backups(&resource);
    let [first, second] = [1, 2].map(|mark| BackupId::new(clock::now(), mark));
    let pack = backups.put_small(&first, "content-1", "test", Bytes::from_static(b"content")).await.unwrap();
    let kept = vec![KeptContent { backup: first.clone(), objects: vec![pack] }];
    backups.put(&entry(&resource, &second, kept)).await.unwrap();
    let terms = Terms {
        name: LeaseName::restore(7),
        purpose: "a test".to_owned(),
        protects: Protects::Backup(second.clone()),
        lease: repository.lease_time(),
        take_over: false,
    };
    let Acquired::Ours(lease) = repository.leases(&resource).acquire(&terms).await.unwrap() else { panic!("nobody has it") };
    backups.unlist(&second).await.unwrap();
    apply(&repository, &resource).await;
    assert!(backups.get_small(&first, "content-1").await.is_ok(), "a restore reads it");
    lease.release().await.unwrap();
    apply(&repository, &resource).await;
    assert!(backups.get_small(&first, "content-1").await.is_err(), "nobody needs it any more");
}
