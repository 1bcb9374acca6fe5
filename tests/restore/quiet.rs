//! A restored cluster does nothing to anything of the original's, and lies where it was told to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use pg_fixtures::postgres::{Cluster, Installation};

use super::support::Story;

#[test]
fn a_restored_cluster_neither_archives_nor_replicates() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let builder = Cluster::builder(&installation).setting("wal_level", "logical").setting("primary_slot_name", "other");
        let story = Story::with(builder.setting("primary_conninfo", "host=/nowhere"));
        let cluster = &story.cluster;
        cluster.sql("CREATE TABLE t (i int)");
        let publisher = Cluster::builder(&installation).setting("wal_level", "logical").start();
        publisher.sql("CREATE TABLE t (i int); CREATE PUBLICATION p FOR TABLE t");
        cluster.sql(&format!("CREATE SUBSCRIPTION s CONNECTION '{}' PUBLICATION p", publisher.conninfo()));
        cluster.sql("SELECT pg_create_physical_replication_slot('kept', true)");
        story.backup();
        story.store_wal();
        // The recovery leaves word in the repository that it still needs WAL; that is no WAL of the restored cluster's.
        let archived = || super::refused::walk(&story.repository().join("postgres/main/wal")).len();
        let before = archived();

        let directory = story.restore("quiet", &[]);
        let restored = story.recovered(&directory);
        let show = |name: &str| restored.sql(&format!("SHOW {name}"));
        let names = ["archive_mode", "archive_command", "primary_conninfo", "primary_slot_name", "synchronous_standby_names"];
        assert_eq!(names.map(show), ["off", "(disabled)", "", "", ""]);
        restored.sql("INSERT INTO t VALUES (1); SELECT pg_switch_wal(); CHECKPOINT");
        assert_eq!(restored.sql("SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL"), "0");
        assert_eq!(restored.sql("SELECT count(*) FROM pg_replication_slots"), "0");
        assert_eq!(archived(), before);
        cluster.sql("ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s");
    }
}

#[test]
fn tablespaces_go_where_they_are_told_and_never_to_the_original_unasked() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let story = Story::new(&installation);
        let old = story.cluster.new_directory("a space");
        story.cluster.sql(&format!("CREATE TABLESPACE ts LOCATION '{}'", old.display()));
        story.cluster.sql("CREATE TABLE t TABLESPACE ts AS SELECT generate_series(1, 1000) AS i");
        let expected = pg_fixtures::checksum::Checksums::of(&story.cluster);
        story.backup();
        story.store_wal();
        let message = story.refusal(&[]);
        assert!(message.contains("say where it goes") && message.contains("--tablespace-map"), "{message}");
        let to_itself = format!("{0}={0}", old.display());
        assert!(story.refusal(&["--tablespace-map", &to_itself]).contains("is not empty"));

        let (to, new) = (story.place("mapped"), story.place("new space"));
        let map = format!("{}={}", old.display(), new.display());
        let output = story.try_restore(&to, &["--tablespace-map", &map]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ignored = ["--no-parse-wal", "--ignore=tablespace_map", &to.display().to_string()].map(str::to_owned);
        story.cluster.run("pg_verifybackup", &ignored);
        let restored = story.recovered(&to);
        assert_eq!(pg_fixtures::checksum::Checksums::of(&restored), expected);
        assert_eq!(
            restored.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'ts'"),
            new.display().to_string()
        );
        restored.sql("INSERT INTO t VALUES (0)");
        assert_eq!(pg_fixtures::checksum::Checksums::of(&story.cluster), expected, "the original is untouched");
        assert!(fs::read_dir(&new).expect("the new place").next().is_some());
    }
}

/// PostgreSQL refuses files of another user, and does not run as root.
#[test]
fn what_root_restores_belongs_to_whom_the_place_belongs() {
    let story = Story::new(&Installation::newest());
    story.backup();
    story.store_wal();
    let to = story.place("by root");
    let Some(output) = story.restore_as_root(&to) else {
        println!("LEFT OUT: this is not root, so a restore by root is not tested");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let owner = fs::metadata(story.scratch.path()).expect("the place").uid();
    let found = Command::new("find").arg(&to).args(["!", "-uid", &owner.to_string()]).output().expect("run find");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "files of somebody else");
    assert_ne!(owner, 0);
    story.recovered(&to).sql("CREATE TABLE t (i int)");
}
