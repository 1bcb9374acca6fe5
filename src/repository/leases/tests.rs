use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::codec::Compression;
use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
use crate::storage::{Failure, FileStore, Store};

struct Bench {
    folder: tempfile::TempDir,
    faulty: Faulty,
    leases: Leases,
}

impl Bench {
    async fn new() -> Self {
        Self::over(Faulty::new).await
    }

    async fn over(decorate: impl FnOnce(Arc<dyn Store>) -> Faulty) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faulty = decorate(Arc::new(FileStore::create(folder.path()).await.unwrap()));
        let (repository, _) = Repository::create(Arc::new(faulty.clone()), Compression::default()).await.unwrap();
        let leases = repository.leases(&"postgres/main".parse().unwrap());
        Self { folder, faulty, leases }
    }

    async fn take(&self) -> Option<Lease> {
        match self.leases.acquire(&terms()).await.unwrap() {
            Acquired::Ours(lease) => Some(lease),
            Acquired::Held(_) => None,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join("postgres/main/leases/job-test");
        std::fs::read_dir(folder).map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default()
    }

    /// Makes every generation that there is so much older, by the store's clock.
    fn age(&self, by: Duration) {
        for file in self.files() {
            let file = File::options().write(true).open(file).unwrap();
            file.set_modified(SystemTime::from(clock::now()) - by).unwrap();
        }
    }
}

fn terms() -> Terms {
    Terms {
        name: LeaseName::job("test"),
        purpose: "a test".to_owned(),
        protects: Protects::Nothing,
        lease: Duration::from_mins(2),
        take_over: false,
    }
}

const DEAD: Duration = Duration::from_secs(182);
const QUIET: Duration = Duration::from_secs(170);

fn is_lost(result: &Result<()>) -> bool {
    matches!(result, Err(Error::LeaseLost { .. }))
}

#[tokio::test]
async fn one_of_many_gets_a_lease() {
    let bench = Bench::new().await;
    let all = futures_util::future::join_all((0..16).map(|_| bench.take())).await;
    assert_eq!(all.iter().flatten().count(), 1);
    assert_eq!(bench.files().len(), 1, "nothing of the others is left");
}

#[tokio::test]
async fn one_of_many_gets_a_lease_on_a_store_that_ignores_conditions() {
    let bench = Bench::over(Faulty::without_conditions).await;
    let all = futures_util::future::join_all((0..8).map(|_| bench.take())).await;
    assert_eq!(all.iter().flatten().count(), 1);
}

#[tokio::test]
async fn a_living_lease_is_left_alone_and_a_dead_one_is_taken_over() {
    let bench = Bench::new().await;
    let mut first = bench.take().await.expect("nobody has it");
    bench.age(QUIET);
    assert!(bench.take().await.is_none(), "it is quiet, and may still live");
    bench.age(DEAD);
    let mut second = bench.take().await.expect("it is dead");
    assert!(is_lost(&first.renew().await), "whoever slept notices");
    for _ in 0..5 {
        second.renew().await.unwrap();
    }
    assert!(is_lost(&first.renew().await), "the number that it would have created has come and gone");
    second.renew().await.unwrap();
    assert_eq!(bench.files().len(), 1);
}

#[tokio::test]
async fn a_lease_that_is_given_back_can_be_taken_at_once() {
    let bench = Bench::new().await;
    let mut first = bench.take().await.expect("nobody has it");
    first.renew().await.unwrap();
    first.release().await.unwrap();
    let second = bench.take().await.expect("it was given back");
    assert_eq!(bench.leases.newest(second.name()).await.unwrap().unwrap().generation, 4, "numbers are not used twice");
}

#[tokio::test]
async fn a_broken_lease_is_noticed_and_a_renewed_one_is_not_broken() {
    let bench = Bench::new().await;
    let mut lease = bench.take().await.expect("nobody has it");
    let seen = bench.leases.standing().await.unwrap().remove(0);
    lease.renew().await.unwrap();
    assert!(!bench.leases.break_dead(&seen).await.unwrap(), "it lives");
    lease.renew().await.unwrap();
    let seen = bench.leases.standing().await.unwrap().remove(0);
    assert!(bench.leases.break_dead(&seen).await.unwrap());
    assert!(is_lost(&lease.renew().await));
    let standing = bench.leases.standing().await.unwrap().remove(0);
    assert!(!standing.is_alive(standing.stored_at));
}

#[tokio::test]
async fn a_place_takes_its_own_lease_over_at_once() {
    let bench = Bench::new().await;
    let first = bench.take().await.expect("nobody has it");
    let again = bench.leases.acquire(&Terms { take_over: true, ..terms() }).await.unwrap();
    assert!(matches!(again, Acquired::Ours(_)));
    drop(first);
}

#[tokio::test]
async fn a_lease_left_behind_lives_as_long_as_was_said() {
    let bench = Bench::new().await;
    let lease = bench.take().await.expect("nobody has it");
    lease.keep().leave_for(Duration::from_hours(24)).await.unwrap();
    assert!(bench.leases.standing().await.unwrap()[0].record.left);
    bench.age(Duration::from_hours(24));
    assert!(bench.take().await.is_none());
    bench.age(Duration::from_hours(37));
    assert!(bench.take().await.is_some());
    assert!(!bench.leases.standing().await.unwrap()[0].record.left);
}

#[tokio::test]
async fn a_kept_lease_is_renewed_and_says_when_it_is_lost() {
    let bench = Bench::new().await;
    let terms = Terms { lease: Duration::from_secs(1), ..terms() };
    let Acquired::Ours(lease) = bench.leases.acquire(&terms).await.unwrap() else { panic!("nobody has it") };
    let held = lease.keep();
    let deadline = clock::Deadline::after(Duration::from_secs(20));
    let generation = async || bench.leases.standing().await.unwrap()[0].generation;
    while generation().await < 3 && !deadline.has_passed() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(generation().await >= 3);
    while !bench.leases.break_dead(&bench.leases.standing().await.unwrap()[0]).await.unwrap() {}
    tokio::time::timeout(Duration::from_secs(20), held.lost().cancelled()).await.expect("it notices");
    assert!(is_lost(&held.confirm().await));
}

/// Whatever operation is the last that a process gets through, the lease is free again once it is old enough.
#[tokio::test]
async fn a_process_that_dies_anywhere_blocks_nobody_for_ever() {
    for operation in [Operation::Put, Operation::List, Operation::Delete, Operation::Get, Operation::Size] {
        for (skip, after) in (0..4).flat_map(|skip| [(skip, false), (skip, true)]) {
            let bench = Bench::new().await;
            let gone = Failure::Other("killed".to_owned());
            let effect = if after { Effect::FailAfter(gone) } else { Effect::Fail(gone) };
            bench.faulty.inject(Fault::on(operation, effect).skip(skip));
            let died = async {
                let Acquired::Ours(mut lease) = bench.leases.acquire(&terms()).await? else { panic!("nobody has it") };
                lease.renew().await?;
                lease.release().await
            };
            let died = died.await;
            bench.faulty.heal();
            bench.age(DEAD);
            let again = bench.take().await.unwrap_or_else(|| panic!("{operation:?} {skip} {after}: {died:?}"));
            assert!(bench.take().await.is_none());
            again.release().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_damaged_record_stands_in_the_way_for_a_day_only() {
    let bench = Bench::new().await;
    drop(bench.take().await.expect("nobody has it"));
    std::fs::write(&bench.files()[0], "{").unwrap();
    assert!(matches!(bench.leases.standing().await, Err(Error::Malformed { .. })));
    bench.age(Duration::from_hours(25));
    assert!(bench.take().await.is_some());
}
