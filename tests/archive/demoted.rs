//! An old primary that comes back beside the promoted one: streams, backups and checks are of the promoted one, in whatever order the two
//! are named.

use std::process::Output;

use holdfast::pg::TimelineId;
use pg_fixtures::postgres::{Cluster, Installation};

use crate::backups::listed;
use crate::promotion::both;
use crate::site::{DEADLINE, Site, end_of_wal, server};

const STORE: &str = "url = \"file://{scratch}/store\"";
const REFUSED: &str = "is on timeline 1, but timeline 2 is stored: another server was promoted, and this one is not followed";

fn printed(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(site: &Site, arguments: &[&str]) -> (Option<i32>, String, String) {
    printed(&site.holdfast.try_run(arguments))
}

/// The agent streams all that the promoted server has.
fn is_streamed(site: &Site, promoted: &Cluster) {
    let end = end_of_wal(promoted);
    site.holdfast.wait_until(DEADLINE, "the promoted one is followed", || {
        site.receiver().is_some_and(|status| status.timeline == Some(TimelineId(2)) && status.stored >= Some(end))
    });
}

/// A primary that was backed up, died and was replaced by its standby, and that runs again.
fn after_a_failover() -> (Site, Cluster, Cluster) {
    let primary = server(&Installation::newest()).start();
    primary.pgbench(&["-i", "-s", "1", "-q"]);
    let standby = primary.standby();
    let site = Site::with_store(STORE, &both(&primary, &standby), "");
    site.holdfast.start_agent();
    site.holdfast.run(&["backup", "postgres/main"]);
    standby.wait_for_replay_of(&primary, DEADLINE);
    primary.kill9();
    standby.promote();
    is_streamed(&site, &standby);
    primary.start();
    (site, primary, standby)
}

#[test]
fn the_promoted_server_is_backed_up_and_checked_and_not_the_demoted_one() {
    let (site, primary, standby) = after_a_failover();
    let (code, text, log) = run(&site, &["backup", "postgres/main"]);
    assert!(code == Some(0) && text.contains("on timeline 2"), "{text}{log}");
    assert!(log.contains(REFUSED) && log.contains("trying the next server"), "{log}");
    assert_eq!(run(&site, &["init"]).0, Some(0));
    for conninfo in [both(&primary, &standby), both(&standby, &primary)] {
        site.configure(&conninfo, "");
        let (code, text, _) = run(&site, &["check"]);
        assert!(code == Some(1) && !text.contains("CRITICAL"), "{code:?} {text}");
        let warnings: Vec<&str> = text.lines().filter(|line| line.starts_with("WARNING")).collect();
        assert!(matches!(warnings[..], [one] if one.contains(REFUSED)), "{text}");
        assert!(text.contains("timeline 2, wal_level") && text.contains("WAL is streamed through the slot"), "{text}");
    }
    assert!(site.holdfast.terminate().success());
    site.configure(&both(&primary, &standby), "schedule = \"*/3 * * * * *\"");
    site.holdfast.start_agent();
    site.holdfast.wait_until(DEADLINE, "the agent backs up", || listed(&site).len() > 2);
    let timelines: Vec<u64> = listed(&site).iter().map(|(_, timeline)| *timeline).collect();
    assert_eq!((timelines[0], timelines[1..].iter().all(|timeline| *timeline == 2)), (1, true), "{timelines:?}");
}

#[test]
fn where_only_the_demoted_server_answers_nothing_is_backed_up_and_it_is_said_why() {
    let (site, _primary, standby) = after_a_failover();
    assert!(site.holdfast.terminate().success());
    standby.kill9();
    let before = listed(&site).len();
    for (arguments, expected) in [(&["backup", "postgres/main"][..], 1), (&["init"], 1), (&["check"], 2)] {
        let (code, text, log) = run(&site, arguments);
        let said = format!("{text}{log}");
        assert_eq!(code, Some(expected), "{said}");
        for part in
            [REFUSED, "no other server of the conninfo can be used: connecting", "history/00000002.history and all of its WAL"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    assert_eq!(listed(&site).len(), before);
}

/// The time of the last commit that `status` shows, on which timeline the last window ends, and whether the text says so.
fn last_commit(site: &Site) -> (Option<String>, Option<u64>, String) {
    let status: serde_json::Value = serde_json::from_str(&site.holdfast.run(&["status", "--output", "json"])).expect("JSON");
    let cluster = &status["clusters"][0];
    let window = cluster["windows"].as_array().and_then(|windows| windows.last().cloned());
    let timeline = window.and_then(|window| window["timeline"].as_u64());
    (cluster["last_commit"].as_str().map(str::to_owned), timeline, site.holdfast.run(&["status"]))
}

/// A base backup of the old primary that is newer than the promotion, and a standby that writes on timeline 2 into the same store.
fn with_a_backup_of_the_dead_branch(before_too: bool) -> (Site, Cluster) {
    let primary = server(&Installation::newest()).start();
    primary.pgbench(&["-i", "-s", "1", "-q"]);
    let standby = primary.standby();
    let site = Site::new(&primary, "");
    site.holdfast.start_agent();
    if before_too {
        site.holdfast.run(&["backup", "postgres/main"]);
    }
    standby.wait_for_replay_of(&primary, DEADLINE);
    site.wait_for(end_of_wal(&primary));
    standby.promote();
    primary.pgbench(&["-c", "1", "-t", "100"]);
    site.holdfast.run(&["backup", "postgres/main"]);
    site.wait_for(end_of_wal(&primary));
    assert!(site.holdfast.terminate().success());
    primary.kill9();
    site.configure(&standby.conninfo(), "");
    standby.sql("CREATE TABLE lives AS SELECT generate_series(1, 10) n");
    site.holdfast.start_agent();
    is_streamed(&site, &standby);
    (site, standby)
}

#[test]
fn a_newer_backup_of_the_dead_branch_hides_nothing_of_the_live_one() {
    let (site, standby) = with_a_backup_of_the_dead_branch(true);
    let (first, timeline, text) = last_commit(&site);
    assert!(first.is_some() && timeline == Some(2), "{text}");
    // Far past the end of the dead branch.
    standby.pgbench(&["-i", "-s", "5", "-q"]);
    is_streamed(&site, &standby);
    let (second, timeline, text) = last_commit(&site);
    assert!(second > first && timeline == Some(2), "{first:?} {second:?} {text}");
    let (code, text, _) = run(&site, &["check"]);
    assert!(!text.contains("CRITICAL"), "{code:?} {text}");
    let window = text.lines().find(|line| line.contains("can be restored from")).expect("a window");
    assert!(window.starts_with("ok") && window.ends_with("on timeline 2"), "{text}");
}

#[test]
fn where_backups_of_the_dead_branch_are_all_there_is_the_live_one_is_not_called_recoverable() {
    let (site, standby) = with_a_backup_of_the_dead_branch(false);
    let (commit, _, text) = last_commit(&site);
    assert!(commit.is_none() && text.contains("TIMELINE 2 IS NOT RECOVERABLE"), "{text}");
    let (code, text, _) = run(&site, &["check"]);
    let critical: Vec<&str> = text.lines().filter(|line| line.starts_with("CRITICAL")).collect();
    assert!(code == Some(2) && matches!(critical[..], [one] if one.contains("no base backup leads to it")), "{text}");
    site.holdfast.run(&["backup", "postgres/main"]);
    is_streamed(&site, &standby);
    let (commit, timeline, text) = last_commit(&site);
    assert!(commit.is_some() && timeline == Some(2) && !text.contains("NOT RECOVERABLE"), "{text}");
}
