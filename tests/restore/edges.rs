//! Targets at the edges of what is stored: behind the last commit, beside a hole, past both.

use std::fs;

use pg_fixtures::checksum::{Checksums, Database};
use pg_fixtures::postgres::Installation;

use super::support::{Story, dry_run};

#[test]
fn a_time_behind_the_last_commit_of_an_idle_cluster_is_everything_that_is_stored() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let story = Story::new(&installation);
        let cluster = &story.cluster;
        cluster.sql("CREATE TABLE t (i int)");
        story.backup();
        cluster.sql("INSERT INTO t VALUES (1)");
        let expected = Checksums::of(cluster);
        // What follows is later than the last commit, and no commit.
        cluster.sql("CHECKPOINT; SELECT pg_create_restore_point('later')");
        let after = cluster.sql("SELECT clock_timestamp()");
        story.store_wal();
        let plan = dry_run(&story, &["--target-time", &after]);
        assert_eq!(plan["stop"]["target"]["kind"], "lsn", "{plan:#}");
        assert!(plan["warnings"][0].as_str().is_some_and(|warning| warning.contains("no commit later than")), "{plan:#}");
        for action in ["promote", "pause"] {
            let started = story.started(action, &["--target-time", &after, "--target-action", action]);
            assert_eq!(started.content(), expected, "{action}");
        }
        let future = story.refusal(&["--target-time", "2200-01-01 00:00:00Z"]);
        assert!(future.contains("later than the last stored commit") && future.contains("recovery window"), "{future}");
    }
}

#[test]
fn everything_up_to_a_hole_can_be_had_and_nothing_behind_it() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let story = Story::new(&installation);
        let cluster = &story.cluster;
        cluster.sql("CREATE TABLE t (i int)");
        story.backup();
        cluster.sql("INSERT INTO t SELECT generate_series(1, 1000)");
        let expected = Checksums::of(cluster);
        let (edge, before_hole) = (cluster.lsn(), cluster.sql("SELECT clock_timestamp()"));
        story.store_wal();
        let in_hole = cluster.lsn();
        cluster.sql("INSERT INTO t VALUES (0)");
        let lost = cluster.switch_wal();
        cluster.sql("INSERT INTO t VALUES (-1)");
        story.store_wal();
        let behind = cluster.lsn();
        fs::remove_file(story.object(&lost)).expect("lose a segment");
        assert_eq!(story.started("edge", &["--target-lsn", &edge]).content(), expected);
        // The switch record ends with its segment: that is the edge itself.
        assert_eq!(story.started("end", &["--target-lsn", &in_hole, "--target-action", "pause"]).content(), expected);
        let refused = story.refusal(&[]);
        assert!(refused.contains("WAL is missing between") && refused.contains("--target-lsn"), "{refused}");
        let inside =
            format!("{:X}/{:X}", 0, u64::from_str_radix(in_hole.split_once('/').expect("an LSN").1, 16).expect("hex") + 1);
        for arguments in [["--target-lsn", &inside], ["--target-lsn", &behind], ["--target-time", &before_hole]] {
            let refused = story.refusal(&arguments);
            assert!(refused.contains("WAL is missing between"), "{arguments:?}: {refused}");
        }
    }
}

#[test]
fn a_refusal_names_a_position_before_the_hole_that_can_be_reached_where_a_record_crosses_the_edge() {
    let story = Story::new(&Installation::newest());
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (x text)");
    story.backup();
    cluster.sql("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    let lost = cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    cluster.sql("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    story.store_wal();
    let behind = cluster.lsn();
    fs::remove_file(story.object(&lost)).expect("lose a segment");
    let refused = story.refusal(&["--target-lsn", &behind]);
    let named = refused.split("--target-lsn ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a position");
    assert!(!named.ends_with("000000"), "the end of a segment, which a record crosses: {refused}");
    assert_eq!(dry_run(&story, &["--target-lsn", named])["stop"]["target"]["kind"], "lsn");
}

#[test]
fn wal_behind_a_fork_is_never_taken_for_that_of_a_timeline_of_which_only_the_history_is_stored() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let story = Story::new(&installation);
        let cluster = &story.cluster;
        cluster.sql("CREATE TABLE t (i int)");
        story.backup();
        cluster.sql("INSERT INTO t VALUES (1)");
        let (at_fork, fork) = (Checksums::of(cluster), cluster.lsn());
        cluster.sql("INSERT INTO t VALUES (2)");
        story.store_wal();
        // Somebody looks at a copy and throws it away; that it was promoted is all that is stored of it.
        let copy = story.started("copy", &["--target-lsn", &fork, "--target-exclusive"]);
        assert_eq!(copy.content(), at_fork);
        story.holdfast.run(&["wal", "push", &story.place("copy").join("pg_wal/00000002.history").display().to_string()]);
        drop(copy);
        cluster.sql("INSERT INTO t VALUES (3)");
        story.store_wal();
        let all = Checksums::of(cluster);

        let plan = dry_run(&story, &[]);
        let warning = plan["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.starts_with("timeline 2, forked off timeline 1 at ") && warning.contains("is not followed"), "{plan:#}");
        assert_eq!(story.started("end", &[]).content(), all);
        let refused = story.refusal(&["--target-timeline", "2"]);
        assert!(refused.contains("no WAL of timeline 2 is stored"), "{refused}");
        let hint: Vec<&str> =
            refused.split('\'').find(|words| words.starts_with("--target-timeline 1 ")).expect("a hint").split(' ').collect();
        assert_eq!(story.started("fork", &hint).content(), at_fork);
    }
}

#[test]
fn what_was_written_last_before_a_fork_is_found_on_the_old_timeline_where_the_new_one_was_not_archived_from_its_beginning() {
    let story = Story::new(&Installation::newest());
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    cluster.sql("INSERT INTO t VALUES (1)");
    let (first, moment, lsn) = (Checksums::of(cluster), cluster.sql("SELECT clock_timestamp()"), cluster.lsn());
    cluster.sql("INSERT INTO t VALUES (2)");
    let fork = cluster.lsn();
    cluster.sql("INSERT INTO t VALUES (3)");
    story.store_wal();
    // The restored cluster lives on for a while before anybody archives it.
    let copy = story.started("copy", &["--target-lsn", &fork, "--target-exclusive"]);
    let sql = |statements: &str| copy.try_statements(statements).expect("a statement on the copy");
    for _ in 0..2 {
        sql("INSERT INTO t VALUES (4)");
        sql("SELECT pg_switch_wal()");
    }
    sql("INSERT INTO t VALUES (5)");
    let kept = sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    sql("SELECT pg_switch_wal()");
    for name in ["00000002.history", &kept] {
        story.holdfast.run(&["wal", "push", &story.place("copy").join("pg_wal").join(name).display().to_string()]);
    }
    for (name, target) in [("time", ["--target-time", &moment]), ("lsn", ["--target-lsn", &lsn])] {
        let refused = story.refusal(&target);
        assert!(refused.contains("WAL is missing between"), "{refused}");
        assert!(refused.contains("add --target-timeline 1: on timeline 1, which was left at "), "{refused}");
        let arguments = [target[0], target[1], "--target-timeline", "1"];
        assert_eq!(story.started(name, &arguments).content(), first, "{name}");
    }
}

#[test]
fn in_a_hole_of_the_newest_timeline_the_position_before_it_is_named_and_not_an_older_timeline_that_lacks_commits() {
    let story = Story::new(&Installation::newest());
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    cluster.sql("INSERT INTO t VALUES (1)");
    story.store_wal();
    let copy = story.started("copy", &[]);
    let sql = |statements: &str| copy.try_statements(statements).expect("a statement on the copy");
    sql("INSERT INTO t VALUES (2)");
    let (expected, before) = (copy.content(), sql("SELECT pg_walfile_name(pg_current_wal_lsn())"));
    sql("SELECT pg_switch_wal()");
    // This segment is lost.
    sql("INSERT INTO t VALUES (3)");
    let moment = sql("SELECT clock_timestamp()");
    sql("SELECT pg_switch_wal()");
    sql("INSERT INTO t VALUES (4)");
    let behind = sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    sql("SELECT pg_switch_wal()");
    for name in ["00000002.history", &before, &behind] {
        story.holdfast.run(&["wal", "push", &story.place("copy").join("pg_wal").join(name).display().to_string()]);
    }
    let refused = story.refusal(&["--target-time", &moment]);
    assert!(refused.contains("WAL is missing between") && !refused.contains("add --target-timeline"), "{refused}");
    let named = refused.split("--target-lsn ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a position");
    assert_eq!(story.started("named", &["--target-lsn", named, "--target-action", "pause"]).content(), expected);
    // Who asks for the old one all the same is told of the newer one.
    let warnings = dry_run(&story, &["--target-time", &moment, "--target-timeline", "1"])["warnings"].to_string();
    assert!(warnings.contains("timeline 2 is newer, and no commit of timeline 1 later than "), "{warnings}");
}
