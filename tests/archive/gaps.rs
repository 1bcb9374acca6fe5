//! WAL that is lost: recorded, told of, bridged by a new base backup, and taken note of.

use std::process::Command;
use std::time::Duration;

use holdfast::pg::TimelineId;
use holdfast::repository::{Gap, GapCause};
use holdfast::resources::postgres::archive::BackupState;
use pg_fixtures::ServerUser;
use pg_fixtures::postgres::{Cluster, Installation};

use crate::site::{DEADLINE, Site, end_of_wal, server};

fn begin(cluster: &Cluster) -> Site {
    cluster.pgbench(&["-i", "-s", "1", "-q"]);
    let site = Site::new(cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(cluster));
    site.holdfast.run(&["backup"]);
    site
}

/// What is on record about the only gap there is.
fn gap(site: &Site) -> Option<Gap> {
    let gaps = site.runtime.block_on(site.archive.gaps()).expect("the gaps").records;
    assert!(gaps.len() < 2, "{gaps:?}");
    gaps.into_iter().next()
}

fn output(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = site.holdfast.try_run(arguments);
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

fn a_backup_is_taken(site: &Site) {
    site.holdfast.wait_until(DEADLINE, "the agent takes a base backup by itself", || {
        site.receiver().and_then(|status| status.new_backup).is_some_and(|backup| backup.state == BackupState::Done)
    });
}

#[test]
fn a_gap_brings_a_new_base_backup_and_is_an_alarm_until_somebody_takes_note() {
    let cluster = server(&Installation::newest()).setting("wal_keep_size", "0").setting("max_wal_size", "64MB").start();
    let site = begin(&cluster);
    assert_eq!(output(&site, &["check"]).0, Some(0), "{}", output(&site, &["check"]).1);
    assert!(site.holdfast.terminate().success());
    cluster.sql("SELECT pg_drop_replication_slot('holdfast')");
    for _ in 0..6 {
        cluster.switch_wal();
        cluster.sql("CHECKPOINT");
    }
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let gap = gap(&site).expect("a gap");
    assert_eq!(gap.cause, GapCause::RemovedByServer);
    a_backup_is_taken(&site);
    let (code, text) = output(&site, &["check"]);
    assert!(code == Some(1) && text.contains(&gap.name()), "{code:?} {text}");
    let inside = holdfast::pg::Lsn(gap.start.0 + 8).to_string();
    let across = ["restore", "postgres/main", "--to", "/nonexistent/x", "--target-lsn", &inside, "--dry-run"];
    assert_ne!(output(&site, &across).0, Some(0));
    let (code, text) = output(&site, &["wal", "acknowledge", "postgres/main", "1@0/0-0/1"]);
    assert!(code != Some(0) && text.contains(&gap.name()), "an unknown name is refused with the known ones: {text}");
    site.holdfast.run(&["wal", "acknowledge", "postgres/main", &gap.name()]);
    let (code, text) = output(&site, &["check"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(output(&site, &["wal", "list"]).1.contains(&format!("gap {}", gap.name())), "the record stays");
    assert_ne!(output(&site, &across).0, Some(0), "restores across it stay refused");
}

#[test]
fn objects_that_were_deleted_behind_our_back_are_a_gap() {
    let cluster = server(&Installation::newest()).start();
    let site = begin(&cluster);
    let lost = cluster.switch_wal();
    for _ in 0..3 {
        cluster.pgbench(&["-c", "1", "-t", "20"]);
        cluster.switch_wal();
    }
    site.wait_for(end_of_wal(&cluster));
    let find = |arguments: &[&str]| {
        let found = Command::new("find").arg(site.store()).args(["-name", &lost]).args(arguments).status().expect("run find");
        assert!(found.success());
    };
    site.holdfast.wait_until(DEADLINE, "the segment is stored whole", || {
        site.content(TimelineId(1)).end_from(end_of_wal(&cluster)) >= end_of_wal(&cluster)
    });
    assert!(site.holdfast.terminate().success());
    find(&["-delete"]);
    let aged =
        Command::new("find").arg(site.store()).args(["-type", "f", "-exec", "touch", "-d", "1 hour ago", "{}", "+"]).status();
    assert!(aged.expect("run find").success());
    site.holdfast.start_agent();
    site.holdfast.wait_until(DEADLINE, "the hole is recorded", || gap(&site).is_some());
    let gap = gap(&site).expect("a gap");
    let size = site.archive.segment_size();
    let segment: holdfast::pg::SegmentName = lost.parse().expect("a segment's name");
    let number = segment.number(size).expect("a number");
    assert_eq!((gap.cause, gap.start, gap.end), (GapCause::NotStored, number.start(size), number.end(size)));
    a_backup_is_taken(&site);
    let status = site.holdfast.run(&["status"]);
    assert!(status.contains("CUT OFF BY A HOLE") && status.contains(&gap.name()), "{status}");
    site.holdfast.wait_until(Duration::from_secs(60), "the metric tells", || {
        site.get("/metrics").is_some_and(|(_, text)| text.contains("holdfast_wal_open_gaps{resource=\"postgres/main\"} 1"))
    });
}

/// A receiver that is not ours moves our slot: the server takes WAL for stored that nobody has.
#[test]
fn a_slot_that_something_else_streams_from_is_no_proof() {
    let cluster = server(&Installation::newest()).start();
    let site = begin(&cluster);
    assert!(site.holdfast.terminate().success());
    let folder = pg_fixtures::Scratch::new();
    let mut command = ServerUser::current().command(&cluster.program("pg_receivewal"));
    command.args(["-S", "holdfast", "--synchronous", "-D"]).arg(folder.new_directory("wal")).args(["-d", &cluster.conninfo()]);
    let mut stranger = command.spawn().expect("start pg_receivewal");
    cluster.sql("CREATE TABLE nobody_has (n int)");
    cluster.switch_wal();
    let end = cluster.sql("SELECT pg_current_wal_lsn()");
    let moved = format!("SELECT restart_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = 'holdfast'");
    cluster.wait_until(DEADLINE, "the stranger has moved the slot", || cluster.sql(&moved) == "t");
    let (code, text) = output(&site, &["check"]);
    stranger.kill().expect("end pg_receivewal");
    stranger.wait().expect("wait for pg_receivewal");
    assert!(code == Some(2) && text.contains("something else streams from it"), "{text}");
}

/// Not a byte of the WAL is missing, and PostgreSQL recovers nothing across such a change.
#[test]
fn wal_level_minimal_for_a_while_cuts_the_window_and_brings_a_new_base_backup() {
    let cluster = server(&Installation::newest()).start();
    let site = begin(&cluster);
    cluster.sql("CREATE TABLE before_that (n int)");
    assert!(site.holdfast.terminate().success());
    // With a replication slot no server starts with wal_level = minimal.
    cluster.sql("SELECT pg_drop_replication_slot('holdfast')");
    for (wal_level, senders) in [("minimal", 0), ("replica", 10)] {
        cluster.sql(&format!("ALTER SYSTEM SET wal_level = {wal_level}"));
        cluster.sql(&format!("ALTER SYSTEM SET max_wal_senders = {senders}"));
        cluster.restart();
        cluster.sql(&format!("CREATE TABLE with_{wal_level} (n int)"));
    }
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let gap = gap(&site).expect("a gap");
    assert_eq!(gap.cause, GapCause::WalLevelMinimal);
    a_backup_is_taken(&site);
    for verb in ["status", "check"] {
        let (_, text) = output(&site, &[verb]);
        assert!(text.contains("wal_level = minimal") && text.contains(&gap.name()), "{verb}: {text}");
    }
    let to = site.holdfast.scratch().path().join("restored").display().to_string();
    let plan = |target: &str| output(&site, &["restore", "postgres/main", "--to", &to, "--target-lsn", target, "--dry-run"]);
    let (code, refused) = plan(&gap.end.to_string());
    assert!(code != Some(0) && refused.contains("went over to wal_level = minimal"), "{code:?} {refused}");
    let named = refused.split("--target-lsn ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a position");
    let (code, planned) = plan(named);
    assert_eq!(code, Some(0), "the last before it can be reached: {planned}");
    assert!(planned.contains("last commit in it:") && !planned.contains("none found"), "{planned}");
    let now = end_of_wal(&cluster).to_string();
    site.wait_for(end_of_wal(&cluster));
    assert_eq!(plan(&now).0, Some(0), "the new backup leads to the present: {}", plan(&now).1);
}
