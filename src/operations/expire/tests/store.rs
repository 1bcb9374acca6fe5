//! The same laws on a real repository, with a store that dies in the middle of everything.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::world::size;
use crate::codec::Compression;
use crate::config::Keep;
use crate::operations::expire::{Progress, Removed, Report, Rules, expire};
use crate::pg::{Lsn, SegmentName, SegmentNumber, SystemId, TimelineId, WalFileName};
use crate::repository::{
    Acquired, BackupEntry, BackupId, BackupObject, Backups, Detail, Hold, Lease, LeaseName, Lineage, NewLineage, PostgresBackup,
    Protects, Repository, ResourceName, Terms, WalAbout, WalArchive, WalSource,
};
use crate::resources::postgres::restore::fetch::{Fetcher, Patience};
use crate::resources::postgres::restore::protection::protect_backup;
use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
use crate::storage::{Failure, FileStore, Store};
use crate::sys::clock;

pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) faulty: Faulty,
    pub(super) repository: Repository,
    pub(super) resource: ResourceName,
    lineage: Lineage,
    archive: WalArchive,
    pub(super) backups: Backups,
    /// The number of the segment that is written next.
    next: u64,
    taken: u64,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::over(|faulty| Arc::new(faulty)).await
    }

    pub(super) async fn over(decorate: impl FnOnce(Faulty) -> Arc<dyn Store>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(Arc::new(FileStore::create(folder.path()).await.unwrap()));
        let (repository, _) = Repository::create(decorate(faulty.clone()), Compression::default()).await.unwrap();
        let resource: ResourceName = "postgres/main".parse().unwrap();
        let lineage = Lineage { system_id: SystemId(7), segment_size: size(), postgres_major: 17, created_at: clock::now() };
        repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.unwrap();
        let (archive, backups) = (repository.wal(&resource, &lineage), repository.backups(&resource));
        Self { folder, faulty, repository, resource, lineage, archive, backups, next: 1, taken: 0 }
    }

    async fn write(&mut self, segments: u64) {
        for _ in 0..segments {
            let about = WalAbout {
                system_id: self.lineage.system_id,
                source: WalSource::Streaming,
                start: None,
                end: None,
                activity: None,
            };
            let name = WalFileName::Segment(segment(self.next));
            self.archive.put_file(name, Bytes::from(self.next.to_string()), &about).await.unwrap();
            self.next += 1;
        }
    }

    /// Stores the content of a backup and lists it, as far as the store lets it.
    pub(super) async fn back_up(&mut self) -> Option<BackupId> {
        self.taken += 1;
        let id = BackupId::new(clock::now(), self.taken);
        let start = Lsn((self.next << 20) + 0x28);
        self.write(1).await;
        let lease = self.lease(LeaseName::backup(&id), Protects::Backup(id.clone())).await;
        let objects = [self.small(&id, "a").await?, self.small(&id, "b").await?].to_vec();
        let entry = self.entry(&id, start, objects);
        self.backups.put(&entry).await.ok()?;
        lease.release().await.unwrap();
        Some(id)
    }

    async fn small(&self, id: &BackupId, name: &str) -> Option<BackupObject> {
        self.backups.put_small(id, name, "test", Bytes::from_static(b"content")).await.ok()
    }

    async fn lease(&self, name: LeaseName, protects: Protects) -> Lease {
        let lease = self.repository.lease_time();
        let terms = Terms { name, purpose: "a test".to_owned(), protects, lease, take_over: false };
        match self.repository.leases(&self.resource).acquire(&terms).await.unwrap() {
            Acquired::Ours(lease) => lease,
            Acquired::Held(other) => panic!("{other:?}"),
        }
    }

    fn entry(&self, id: &BackupId, start: Lsn, objects: Vec<BackupObject>) -> BackupEntry {
        let manifest = crate::repository::FramedObject { name: "a".to_owned(), frames: crate::codec::FrameIndex::default() };
        let detail = PostgresBackup {
            system_id: self.lineage.system_id,
            timeline: TimelineId(1),
            start_lsn: start,
            stop_lsn: Lsn(start.0 + 0x100),
            server_version: 170_000,
            wal_segment_bytes: size(),
            data_directory_mode: "0700".to_owned(),
            data_checksums: true,
            label: String::new(),
            compression: Compression::default(),
            manifest,
            tablespaces: vec![],
            files: 1,
        };
        BackupEntry {
            format: BackupEntry::FORMAT,
            id: id.clone(),
            resource: self.resource.clone(),
            started_at: clock::now(),
            finished_at: clock::now(),
            made_by: "test".to_owned(),
            plain_bytes: 1,
            stored_bytes: objects.iter().map(|object| object.stored_bytes).sum(),
            objects,
            detail: Detail::Postgres(detail),
        }
    }

    pub(super) async fn expire(&self, last: u32) -> super::super::Result<Report> {
        let (progress, _) = watch::channel(Progress::default());
        expire(&self.repository, &self.resource, &rules(last), &progress, &CancellationToken::new()).await
    }

    pub(super) async fn listed(&self) -> BTreeSet<BackupId> {
        self.backups.list().await.unwrap().records.into_iter().map(|entry| entry.id).collect()
    }

    /// Whether everything is there that a backup names, and its WAL to the end of what was written.
    async fn restores(&self, id: &BackupId) -> bool {
        let entry = self.backups.get(id).await.unwrap().expect("a listed backup");
        for object in &entry.objects {
            if self.backups.get_small(id, &object.name).await.is_err() {
                return false;
            }
        }
        let first = entry.postgres().start_lsn.0 >> 20;
        for number in first..=(entry.postgres().stop_lsn.0 >> 20) {
            if self.archive.get_file(WalFileName::Segment(segment(number))).await.unwrap().is_none() {
                return false;
            }
        }
        true
    }

    /// Every segment that was written and is not there is a hole, and not the end.
    async fn nothing_gone_looks_like_the_end(&self) {
        let nothing = Patience { filling: std::time::Duration::ZERO, store: std::time::Duration::ZERO };
        let fetcher = Fetcher::new(&self.repository, self.archive.clone(), nothing);
        let to = self.folder.path().join("fetched");
        for number in 1..self.next {
            let name = WalFileName::Segment(segment(number));
            if self.archive.get_file(name).await.unwrap().is_none() {
                let error = fetcher.fetch(name, &to).await.expect_err("it was there once");
                assert!(error.exit_code() > 125, "{name}: {error}");
            }
        }
    }

    /// Content that nobody lists.
    fn unlisted(&self, listed: &BTreeSet<BackupId>) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.folder.path().join("postgres/main/data")).into_iter().flatten();
        let folders = folders.map(|folder| folder.unwrap().path());
        folders.filter(|path| !listed.iter().any(|id| path.ends_with(id.as_str()))).collect()
    }

    /// Makes every lease look as if it had not been renewed for an hour.
    pub(super) fn age_leases(&self) {
        let mut folders = vec![self.folder.path().join("postgres/main/leases")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let file = File::options().write(true).open(path).unwrap();
                    file.set_modified(SystemTime::from(clock::now()) - std::time::Duration::from_hours(1)).unwrap();
                }
            }
        }
    }

    fn die_after(&self, operations: usize) {
        // Every kind of operation counts for itself: the process is gone when the first of them is used up.
        for operation in [Operation::Put, Operation::Get, Operation::List, Operation::Size, Operation::Delete] {
            let gone = Effect::Fail(Failure::Other("killed".to_owned()));
            self.faulty.inject(Fault::on(operation, gone).skip(operations));
        }
    }
}

/// The newest backups are kept, so many of them.
pub(super) fn rules(last: u32) -> Rules {
    let keep = Keep { within: None, at_least: 1, last, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
    Rules { keep: Some(keep), keep_wal: None, zone: TimeZone::UTC }
}

fn segment(number: u64) -> SegmentName {
    SegmentName::new(TimelineId(1), SegmentNumber(number), size())
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64),
    BackUp,
    /// A backup whose process is killed before it is listed.
    Abandon,
    Hold(usize),
    Release(usize),
    /// Retention, which is killed after so many operations of a kind, or not.
    Expire(u32, Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..4_u64).prop_map(Step::Write),
        4 => Just(Step::BackUp),
        1 => Just(Step::Abandon),
        1 => any::<usize>().prop_map(Step::Hold),
        1 => any::<usize>().prop_map(Step::Release),
        4 => (1..4_u32, proptest::option::weighted(0.7, 0..40_usize)).prop_map(|(last, dies)| Step::Expire(last, dies)),
    ]
}

async fn take(bench: &mut Bench, step: &Step) {
    match step {
        Step::Write(segments) => bench.write(*segments).await,
        Step::BackUp => drop(bench.back_up().await.expect("a healthy store")),
        Step::Abandon => {
            bench.taken += 1;
            let id = BackupId::new(clock::now(), bench.taken);
            drop(bench.lease(LeaseName::backup(&id), Protects::Backup(id.clone())).await);
            bench.small(&id, "a").await.expect("a healthy store");
        }
        Step::Hold(choice) | Step::Release(choice) => {
            let listed: Vec<BackupId> = bench.listed().await.into_iter().collect();
            let Some(id) = listed.get(choice % listed.len().max(1)) else { return };
            if matches!(step, Step::Release(_)) {
                bench.backups.release(id).await.unwrap();
                return;
            }
            let hold = Hold { id: id.clone(), until: None, reason: None, made_at: clock::now(), made_on: String::new() };
            bench.backups.hold(&hold).await.unwrap();
        }
        Step::Expire(last, dies) => {
            if let Some(operations) = dies {
                bench.die_after(*operations);
            }
            let done = bench.expire(*last).await;
            bench.faulty.heal();
            bench.age_leases();
            assert!(dies.is_some() || done.is_ok(), "{done:?}");
        }
    }
}

async fn check(bench: &Bench, held: &BTreeSet<BackupId>) {
    let listed = bench.listed().await;
    for id in &listed {
        assert!(bench.restores(id).await, "{id} is listed and does not restore");
    }
    assert!(held.is_subset(&listed), "held: {held:?}, listed: {listed:?}");
    bench.nothing_gone_looks_like_the_end().await;
}

async fn live(steps: &[Step]) {
    let mut bench = Bench::new().await;
    for step in steps {
        let before = bench.listed().await;
        let held = bench.backups.all_holds().await.unwrap().into_iter().map(|hold| hold.id);
        let held: BTreeSet<BackupId> = held.filter(|id| before.contains(id)).collect();
        take(&mut bench, step).await;
        check(&bench, &held).await;
    }
    bench.age_leases();
    bench.expire(1).await.unwrap();
    let listed = bench.listed().await;
    assert_eq!(bench.unlisted(&listed), Vec::<PathBuf>::new(), "what is left by kills is collected");
    check(&bench, &BTreeSet::new()).await;
    let last = bench.expire(1).await.unwrap().removed;
    assert_eq!(last, Some(Removed::default()), "nothing is left to be done");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_repository_stays_sound_whenever_retention_is_killed(steps in proptest::collection::vec(step(), 1..12)) {
        run(live(&steps));
    }
}

#[test]
fn content_of_a_backup_that_is_being_taken_is_not_garbage() {
    run(async {
        let mut bench = Bench::new().await;
        bench.back_up().await.unwrap();
        let id = BackupId::new(clock::now(), 77);
        let lease = bench.lease(LeaseName::backup(&id), Protects::Backup(id.clone())).await;
        bench.small(&id, "a").await.unwrap();
        bench.expire(1).await.unwrap();
        assert_eq!(bench.unlisted(&bench.listed().await).len(), 1);
        drop(lease);
        bench.age_leases();
        let report = bench.expire(1).await.unwrap();
        assert_eq!((report.plan.garbage.len(), bench.unlisted(&bench.listed().await).len()), (1, 0));
    });
}

#[test]
fn a_backup_whose_lease_was_broken_is_not_listed() {
    run(async {
        let bench = Bench::new().await;
        let draft = crate::repository::Draft::begin(
            &bench.repository,
            &bench.resource,
            crate::repository::WriteLimits::default(),
            Arc::new(|_| ()),
        );
        let draft = draft.await.unwrap();
        let object = draft.put_small("a", "test", Bytes::from_static(b"content")).await.unwrap();
        let entry = bench.entry(draft.id(), Lsn(1 << 20), vec![object]);
        bench.age_leases();
        bench.expire(1).await.unwrap();
        let (error, _) = draft.list(entry).await.expect_err("its content is gone");
        assert!(matches!(error, crate::repository::Error::LeaseLost { .. }), "{error}");
        assert_eq!(bench.listed().await, BTreeSet::new());
    });
}

/// The process stands still, with its clock, between the proof that it has its lease and the entry in the catalog.
#[test]
fn a_backup_whose_lease_was_broken_just_before_it_was_listed_does_not_stay_listed() {
    run(async {
        let bench = Bench::new().await;
        let limits = crate::repository::WriteLimits::default();
        let draft = crate::repository::Draft::begin(&bench.repository, &bench.resource, limits, Arc::new(|_| ())).await.unwrap();
        let object = draft.put_small("a", "test", Bytes::from_static(b"content")).await.unwrap();
        let entry = bench.entry(draft.id(), Lsn(1 << 20), vec![object]);
        let renewed = bench.folder.path().join(format!("postgres/main/leases/backup-{}/000000000002.json", draft.id()));
        bench.faulty.inject(Fault::on(Operation::Put, Effect::Delay(std::time::Duration::from_secs(3))).of("main/backups/"));
        let broken = async {
            while !renewed.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            bench.age_leases();
            bench.expire(1).await
        };
        let (listed, expired) = tokio::join!(draft.list(entry), broken);
        expired.unwrap();
        let (error, _) = listed.expect_err("its content is gone");
        assert!(matches!(error, crate::repository::Error::LeaseLost { .. }), "{error}");
        assert_eq!(bench.listed().await, BTreeSet::new());
    });
}

#[test]
fn a_backup_that_is_being_restored_stays_with_its_wal() {
    run(async {
        let mut bench = Bench::new().await;
        let first = bench.back_up().await.unwrap();
        bench.write(2).await;
        bench.back_up().await.unwrap();
        let lease = protect_backup(&bench.backups, &first).await.unwrap();
        bench.expire(1).await.unwrap();
        assert!(bench.restores(&first).await);
        lease.expect("a store that can be written to").release().await;
        let removed = bench.expire(1).await.unwrap().removed.unwrap();
        assert_eq!((removed.backups, removed.objects), (1, 5), "two objects, and the three segments before the second backup");
        let gone = protect_backup(&bench.backups, &first).await.expect_err("it was removed");
        assert!(gone.to_string().contains("was removed by retention"), "{gone}");
        bench.nothing_gone_looks_like_the_end().await;
    });
}

#[test]
fn no_horizon_lies_above_what_is_needed_because_a_later_backup_has_gone() {
    run(async {
        let mut bench = Bench::new().await;
        bench.write(2).await;
        let first = bench.back_up().await.unwrap();
        bench.write(2).await;
        let second = bench.back_up().await.unwrap();
        bench.write(2).await;
        let third = bench.back_up().await.unwrap();
        let lease = protect_backup(&bench.backups, &first).await.unwrap();
        let removed = bench.expire(1).await.unwrap().removed.unwrap();
        assert_eq!((removed.backups, bench.listed().await), (1, BTreeSet::from([first, third])), "{second} goes");
        assert_eq!(bench.archive.horizons().await.unwrap()[&TimelineId(1)], Lsn(3 << 20), "where the first one begins");
        lease.expect("a store that can be written to").release().await;
        bench.expire(1).await.unwrap();
        assert_eq!(bench.archive.horizons().await.unwrap()[&TimelineId(1)], Lsn(9 << 20), "where the third one begins");
    });
}

/// A restore that begins at the very moment at which its backup is taken off the catalog.
#[test]
fn a_restore_and_retention_at_once_are_never_both_right() {
    run(async {
        for delay in 0..12 {
            let mut bench = Bench::new().await;
            let first = bench.back_up().await.unwrap();
            bench.back_up().await.unwrap();
            let slow = Effect::Delay(std::time::Duration::from_millis(15));
            bench.faulty.inject(Fault::on(Operation::Delete, slow).of("backups/"));
            let restore = async {
                tokio::time::sleep(std::time::Duration::from_millis(delay * 8)).await;
                protect_backup(&bench.backups, &first).await
            };
            let (expired, protected) = tokio::join!(bench.expire(1), restore);
            expired.unwrap();
            if let Ok(lease) = protected {
                lease.expect("a store that can be written to");
                let content = bench.backups.get_small(&first, "a").await;
                assert!(content.is_ok(), "after {delay} steps: the restore was told to go on");
            }
        }
    });
}

#[test]
fn two_runs_at_once_exclude_each_other() {
    run(async {
        let bench = Bench::new().await;
        let lease = bench.lease(LeaseName::job("expire"), Protects::Nothing).await;
        let busy = bench.expire(1).await.expect_err("it is being done");
        assert!(busy.to_string().contains("already"), "{busy}");
        lease.release().await.unwrap();
        bench.expire(1).await.unwrap();
    });
}

#[test]
fn slices_of_a_whole_segment_are_collected_after_a_while() {
    run(async {
        let mut bench = Bench::new().await;
        let about =
            WalAbout { system_id: bench.lineage.system_id, source: WalSource::Streaming, start: None, end: None, activity: None };
        let slice = crate::repository::Slice { segment: segment(2), bytes: 0..1 };
        bench.archive.put_slice(&slice, Bytes::from_static(b"2"), &about).await.unwrap();
        bench.back_up().await.unwrap();
        bench.write(1).await;
        bench.expire(1).await.unwrap();
        assert_eq!(bench.archive.slices(segment(2)).await.unwrap().len(), 1, "its uploader may be about to remove it");
        let name = format!("postgres/main/wal/7/{}/{}", segment(2).group(), segment(2));
        let file = File::options().write(true).open(bench.folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::from(clock::now()) - std::time::Duration::from_hours(2)).unwrap();
        bench.expire(1).await.unwrap();
        assert_eq!(bench.archive.slices(segment(2)).await.unwrap(), vec![]);
        assert!(bench.archive.get_file(WalFileName::Segment(segment(2))).await.unwrap().is_some());
    });
}
