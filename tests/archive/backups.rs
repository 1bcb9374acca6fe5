//! Promotions while a base backup is taken: it is never listed, and says why; the next one is, on the new timeline.

use std::process::{Child, Stdio};

use holdfast::pg::TimelineId;
use pg_fixtures::checksum::{Checksums, Moment};
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::{Scratch, poll};

use crate::failover::restored;
use crate::promotion::both;
use crate::site::{DEADLINE, Site, end_of_wal, server};

const STORE: &str = "url = \"file://{scratch}/store\"";

/// A primary with a database that takes some seconds to back up at the rate of `begin`, and its standby.
fn pair() -> (Cluster, Cluster) {
    let primary = server(&Installation::newest()).start();
    primary.pgbench(&["-i", "-s", "2", "-q"]);
    let standby = primary.standby();
    standby.wait_for_replay_of(&primary, DEADLINE);
    (primary, standby)
}

/// Begins a backup, and waits until the server has sent a part of it.
fn begin(site: &Site, source: &Cluster) -> Child {
    let mut command = site.holdfast.command(&["backup", "postgres/main", "--max-rate", "6000"]);
    let backup = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start a backup");
    let sent = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE backup_streamed > 1000000";
    poll::until(DEADLINE, "the backup has begun", || source.sql(sent) == "1");
    backup
}

/// The ids of the listed backups, the oldest first, each with its timeline.
pub fn listed(site: &Site) -> Vec<(String, u64)> {
    let catalog: serde_json::Value = serde_json::from_str(&site.holdfast.run(&["backups", "--output", "json"])).expect("JSON");
    let backups = catalog["backups"].as_array().expect("a list");
    let entry = |backup: &serde_json::Value| {
        (backup["id"].as_str().expect("an id").to_owned(), backup["timeline"].as_u64().expect("a timeline"))
    };
    backups.iter().map(entry).collect()
}

/// The backup that was under way fails and says so, nothing of it is listed, and it leaves nothing behind.
fn fails(site: &Site, backup: Child, said: &str) {
    let before = listed(site);
    let output = backup.wait_with_output().expect("wait for a backup");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains(said), "{errors}");
    assert_eq!((before.len(), listed(site)), (1, before), "only the first backup is listed");
    let of_backups = std::fs::read_dir(site.store().join("postgres/main/data")).expect("content").count();
    assert_eq!(of_backups, 1, "content of the failed backup is left");
}

/// Both sides of the fork come back: a moment before it, and the end of the new timeline, from a backup that is taken on it.
fn both_sides_come_back(site: &Site, promoted: &Cluster, before: &Moment) {
    promoted.pgbench(&["-c", "2", "-t", "50"]);
    site.holdfast.run(&["backup", "postgres/main"]);
    let timelines: Vec<u64> = listed(site).iter().map(|(_, timeline)| *timeline).collect();
    assert_eq!(timelines, [1, 2]);
    promoted.pgbench(&["-c", "2", "-t", "50"]);
    site.wait_for(end_of_wal(promoted));
    let scratch = Scratch::new();
    let old = restored(site, promoted, &scratch.path().join("old"), &["--target-lsn", &before.lsn]);
    assert_eq!(Checksums::of(&old), before.checksums);
    let new = restored(site, promoted, &scratch.path().join("new"), &[]);
    assert_eq!(Checksums::of(&new), Checksums::of(promoted));
}

fn is_followed(site: &Site) {
    site.holdfast.wait_until(DEADLINE, "the agent follows", || {
        site.receiver().is_some_and(|status| status.timeline == Some(TimelineId(2)))
    });
}

#[test]
fn a_backup_of_a_standby_that_is_promoted_meanwhile_is_not_listed_and_the_next_one_is() {
    let (primary, standby) = pair();
    let site = Site::with_store(STORE, &standby.conninfo(), "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&primary));
    site.holdfast.run(&["backup", "postgres/main"]);
    primary.pgbench(&["-c", "2", "-t", "50"]);
    let before = Moment::mark(&primary, "before the promotion");
    standby.wait_for_replay_of(&primary, DEADLINE);
    site.wait_for(end_of_wal(&primary));
    let backup = begin(&site, &standby);
    standby.promote();
    fails(&site, backup, "the standby was promoted during online backup");
    is_followed(&site);
    both_sides_come_back(&site, &standby, &before);
}

#[test]
fn a_backup_of_a_primary_that_dies_is_not_listed_and_the_next_one_is_the_promoted_ones() {
    let (primary, standby) = pair();
    let site = Site::with_store(STORE, &both(&primary, &standby), "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&primary));
    site.holdfast.run(&["backup", "postgres/main"]);
    primary.pgbench(&["-c", "2", "-t", "50"]);
    let before = Moment::mark(&primary, "before the death");
    standby.wait_for_replay_of(&primary, DEADLINE);
    site.wait_for(end_of_wal(&primary));
    let backup = begin(&site, &primary);
    primary.kill9();
    standby.promote();
    fails(&site, backup, "connection");
    is_followed(&site);
    both_sides_come_back(&site, &standby, &before);
}
