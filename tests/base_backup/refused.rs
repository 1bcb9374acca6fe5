//! Backups that must fail: none is listed, and nothing of it stays.

use std::time::Duration;

use holdfast::codec::Compression;
use holdfast::resources::postgres::backup::{Error, Request};
use pg_fixtures::postgres::{Cluster, Installation};

use super::support::{Bench, archiving, connect, run, small};

#[test]
fn without_its_wal_a_backup_is_not_listed() {
    run(async {
        let bench = Bench::new(archiving(&Installation::newest()), Compression::default()).await;
        let request = Request { wal_patience: Duration::from_secs(2), ..small() };
        let failed = bench.backup_without_wal(&request).await.expect_err("no WAL is stored");
        assert!(matches!(failed.error, Error::WalMissing { .. }), "{failed}");
        assert!(failed.error.hint().is_some_and(|hint| hint.contains("is the agent running")));
        assert!(failed.leftover.is_none());
        assert_eq!((bench.listed().await.len(), bench.content().len()), (0, 0));
    });
}

#[test]
fn another_cluster_is_refused_before_a_byte_is_written() {
    run(async {
        let bench = Bench::new(archiving(&Installation::newest()), Compression::default()).await;
        let other = Cluster::builder(&Installation::newest()).start();
        let failed = bench.backup_of(&other, &small()).await.expect_err("another cluster");
        assert!(failed.to_string().contains("belongs to the cluster with system identifier"), "{failed}");
        assert_eq!((bench.listed().await.len(), bench.content().len()), (0, 0));
        drop(connect(&other).await);
    });
}

#[test]
fn a_damaged_page_in_the_source_fails_the_backup_and_is_named() {
    for installation in Installation::all() {
        run(async {
            let bench = Bench::new(archiving(&installation).data_checksums(true), Compression::default()).await;
            bench.cluster.sql("CREATE TABLE damaged AS SELECT generate_series(1, 5000) AS i; CHECKPOINT");
            let path = bench.cluster.sql("SELECT pg_relation_filepath('damaged')");
            bench.cluster.stop(pg_fixtures::postgres::StopMode::Fast);
            let file = bench.cluster.data_directory().join(&path);
            let mut content = std::fs::read(&file).expect("the table's file");
            content[8192 + 5000] ^= 0x40;
            std::fs::write(&file, content).expect("write the table's file");
            bench.cluster.start();
            let failed = bench.backup(&small()).await.expect_err("a damaged page");
            assert!(matches!(failed.error, Error::Server(_)), "{failed}");
            assert!(failed.notices.iter().any(|notice| notice.contains(&path)), "{:?}", failed.notices);
            assert!(failed.error.hint().is_some_and(|hint| hint.contains("damaged")), "{:?}", failed.error);
            assert_eq!((bench.listed().await.len(), bench.content().len()), (0, 0));
        });
    }
}
