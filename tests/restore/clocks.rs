//! A cluster whose clock was set back between commits: a time names several moments, and the first one is restored.

use pg_fixtures::Faketime;
use pg_fixtures::checksum::Checksums;
use pg_fixtures::postgres::{Cluster, Installation};

use super::support::{Story, dry_run};

/// The server's time, in seconds.
fn seconds(cluster: &Cluster) -> f64 {
    cluster.sql("SELECT extract(epoch FROM clock_timestamp())").parse().expect("a number")
}

fn insert(cluster: &Cluster, number: u32) -> Checksums {
    cluster.sql(&format!("INSERT INTO t VALUES ({number})"));
    Checksums::of(cluster)
}

#[test]
fn a_clock_that_was_set_back_is_told_of_and_the_first_moment_is_restored() {
    let clock = Faketime::new();
    let story = Story::with(clock.over(Cluster::builder(&Installation::newest())));
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    let (start, none) = (seconds(cluster), Checksums::of(cluster));
    clock.set("+2h");
    assert!(seconds(cluster) > start + 7000.0, "the server sees the clock that is set");
    let first = insert(cluster, 1);
    let between = cluster.sql("SELECT clock_timestamp()");
    insert(cluster, 2);
    story.store_wal();
    clock.set("+1h");
    let back = insert(cluster, 3);
    let behind = cluster.lsn();
    let segment = cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    story.store_wal();

    // Between the two clocks: the server stops before the first commit that is later, which is the first of all here.
    let unclear = cluster.sql(&format!("SELECT to_timestamp({})", start + 5400.0));
    let plan = dry_run(&story, &["--target-time", &unclear]);
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("clock was set back") && warnings.contains("--target-lsn"), "{warnings}");
    assert_eq!(story.started("unclear", &["--target-time", &unclear]).content(), none);
    assert_eq!(story.started("first", &["--target-time", &between]).content(), first);
    assert_eq!(story.started("back", &["--target-lsn", &behind]).content(), back);
    let listed = story.holdfast.run(&["wal", "list", "--times"]);
    assert!(listed.contains(&segment), "{listed}");
}
