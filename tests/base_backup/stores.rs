//! Backups into stores that are far away, full, or lose their answers.

use std::sync::Arc;
use std::time::Duration;

use holdfast::codec::Compression;
use holdfast::resources::postgres::backup::Error;
use holdfast::storage::faulty::{Effect, Fault, Faulty, Operation};
use holdfast::storage::retry::Policy;
use holdfast::storage::{Failure, FileStore, Retrying, Store};
use pg_fixtures::Scratch;
use pg_fixtures::postgres::Installation;
use pg_fixtures::s3::SeaweedFs;

use super::seaweed;
use super::support::{Bench, archiving, run, small};

/// A bench over a directory that fails on demand.
async fn faulty(retry: bool) -> (Bench, Faulty) {
    let scratch = Scratch::new();
    let root = scratch.new_directory("repository");
    let faulty = Faulty::new(Arc::new(FileStore::create(&root).await.expect("a store")));
    let store: Arc<dyn Store> = if retry {
        let policy = Policy { deadline: Duration::from_secs(30), ..Policy::default() };
        Arc::new(Retrying::new(Arc::new(faulty.clone()), policy))
    } else {
        Arc::new(faulty.clone())
    };
    let builder = archiving(&Installation::newest());
    (Bench::over(builder, store, Compression::default(), root, scratch).await, faulty)
}

fn full() -> Effect {
    Effect::Fail(Failure::Full("no space left".to_owned()))
}

fn lost() -> Effect {
    Effect::FailAfter(Failure::Unavailable("connection reset".to_owned()))
}

#[test]
fn a_store_that_fails_on_the_way_leaves_no_backup_and_no_content() {
    run(async {
        let (bench, faulty) = faulty(false).await;
        for fault in [
            Fault::on(Operation::Upload, full()).skip(3),
            Fault::on(Operation::Write, full()).skip(40),
            Fault::on(Operation::Finish, full()).skip(2),
            Fault::on(Operation::Put, full()).of(".index").skip(1),
            Fault::on(Operation::Upload, full()).of("backup_manifest"),
            Fault::on(Operation::Finish, full()).of("backup_manifest"),
        ] {
            faulty.inject(fault.clone());
            let failed = bench.backup(&small()).await.expect_err("a store that is full");
            assert!(matches!(failed.error, Error::Repository(_)), "{fault:?}: {failed}");
            assert!(failed.leftover.is_none(), "{failed}");
            assert_eq!((bench.listed().await.len(), bench.content().len()), (0, 0), "{fault:?}");
            faulty.heal();
        }
        let entry = bench.backup(&small()).await.expect("a backup, now that the store works").entry;
        bench.unpack_and_verify(&entry).await;
    });
}

#[test]
fn content_that_cannot_be_removed_is_named() {
    run(async {
        let (bench, faulty) = faulty(false).await;
        faulty.inject(Fault::on(Operation::Write, full()).skip(40));
        faulty.inject(Fault::on(Operation::Delete, full()));
        let failed = bench.backup(&small()).await.expect_err("a store that is full");
        let leftover = failed.leftover.as_ref().expect("something is left");
        assert!(failed.to_string().contains(&format!("data/{}, was not removed", leftover.id)), "{failed}");
        assert_eq!(bench.listed().await.len(), 0);
    });
}

#[test]
fn answers_that_get_lost_do_not_disturb_a_backup() {
    run(async {
        let (bench, faulty) = faulty(true).await;
        faulty.inject(Fault::on(Operation::Finish, lost()).skip(2).times(1));
        faulty.inject(Fault::on(Operation::Put, lost()).of(".index").skip(2).times(1));
        faulty.inject(Fault::on(Operation::Put, lost()).of("/backups/").times(1));
        let entry = bench.backup(&small()).await.expect("a backup").entry;
        assert_eq!(bench.listed().await, std::slice::from_ref(&entry));
        bench.unpack_and_verify(&entry).await;
    });
}

#[test]
fn a_backup_that_may_be_listed_keeps_its_content() {
    run(async {
        let (bench, faulty) = faulty(false).await;
        faulty.inject(Fault::on(Operation::Put, lost()).of("/backups/"));
        let failed = bench.backup(&small()).await.expect_err("the answer to the listing was lost");
        assert!(failed.to_string().contains("not known whether the catalog lists it"), "{failed}");
        faulty.heal();
        let listed = bench.listed().await;
        assert_eq!(listed.len(), 1);
        bench.unpack_and_verify(&listed[0]).await;
    });
}

#[test]
fn a_backup_into_a_real_s3_server_passes_pg_verifybackup() {
    run(async {
        let server = SeaweedFs::start();
        let bucket = seaweed::bucket(&server, "base-backup").await;
        let store: Arc<dyn Store> = Arc::new(Retrying::new(bucket, Policy::default()));
        let scratch = Scratch::new();
        let root = scratch.new_directory("mirror");
        let bench = Bench::over(archiving(&Installation::newest()), store, Compression::default(), root, scratch).await;
        bench.cluster.pgbench(&["-i", "-q", "-s", "5"]);
        let entry = bench.backup(&small()).await.expect("a backup").entry;
        assert_eq!(bench.listed().await, std::slice::from_ref(&entry));
        bench.unpack_and_verify(&entry).await;
    });
}
