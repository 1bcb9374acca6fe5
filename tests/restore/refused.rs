//! What cannot be restored is refused before anything is written, with the window shown.

use std::fs;

use pg_fixtures::ServerUser;
use pg_fixtures::postgres::Installation;

use super::support::Story;

#[test]
fn a_target_outside_the_window_is_refused_with_the_window_shown() {
    let story = Story::new(&Installation::newest());
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (i int)");
    let early = cluster.lsn();
    let early_time = cluster.sql("SELECT now()");
    story.store_wal();
    assert!(story.refusal(&[]).contains("there is no backup to restore"));
    let entry = story.backup();
    cluster.sql("INSERT INTO t VALUES (1)");
    story.store_wal();
    let window = entry.postgres().stop_lsn.to_string();
    for (arguments, reason) in [
        (["--target-lsn", &early], "before the first consistent point"),
        (["--target-time", &early_time], "before the first consistent point"),
        (["--target-lsn", "FF/0"], "past the end of the stored WAL"),
        (["--target-time", "2100-01-01 00:00:00Z"], "later than the last stored commit"),
        (["--target-name", "nowhere"], "no restore point named 'nowhere'"),
        (["--target-xid", "4000000"], "no commit or rollback of transaction 4000000"),
    ] {
        let message = story.refusal(&arguments);
        assert!(message.contains(reason) && message.contains(&window), "{arguments:?}: {message}");
    }
    let message = story.refusal(&["--target-time", "2026-11-22 14:30:00"]);
    assert!(message.contains("no offset") && message.contains("'2026-11-22 14:30:00+01'"), "{message}");
    assert!(story.refusal(&["--target-timeline", "7"]).contains("no backup leads to timeline 7"));
    assert!(story.refusal(&["--backup", "20200101T000000Z-0000000001"]).contains("there is no backup 2020"));
}

#[test]
fn the_last_commits_time_is_reached_and_a_name_given_twice_is_not_guessed() {
    let story = Story::new(&Installation::newest());
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    cluster.sql("INSERT INTO t VALUES (1)");
    for _ in 0..2 {
        cluster.sql("SELECT pg_create_restore_point('twice')");
    }
    let expected = pg_fixtures::checksum::Checksums::of(cluster);
    story.store_wal();
    assert!(story.refusal(&["--target-name", "twice"]).contains("several restore points are named 'twice'"));
    let message = story.refusal(&["--target-time", "2100-01-01 00:00:00Z"]);
    let offered = message.split("--target-time '").nth(1).and_then(|rest| rest.split('\'').next()).expect("an offer");
    assert_eq!(story.restored_content("offered", &["--target-time", offered]), expected);
}

#[test]
fn a_hole_in_the_wal_is_never_crossed() {
    let story = Story::new(&Installation::newest());
    story.backup();
    story.cluster.sql("CREATE TABLE t (i int)");
    let missing = story.cluster.switch_wal();
    story.cluster.sql("INSERT INTO t VALUES (1)");
    story.store_wal();
    let object = walk(&story.repository()).into_iter().find(|path| path.ends_with(&missing)).expect("the stored segment");
    fs::remove_file(&object).expect("remove a segment");
    let message = story.refusal(&[]);
    assert!(message.contains("WAL is missing between"), "{message}");
    assert!(story.try_restore(&story.place("before"), &["--target", "immediate", "--dry-run"]).status.success());
}

/// The files below a directory that may be just appearing.
pub fn walk_if_there(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return vec![] };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { walk_if_there(&path) } else { vec![path] }).collect()
}

/// The files below a directory.
pub fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn only_a_new_or_empty_directory_is_written_to() {
    let story = Story::new(&Installation::newest());
    story.backup();
    let full = story.scratch.new_directory("full");
    fs::write(full.join("precious"), "data").expect("write a file");
    ServerUser::current().own_all(&full);
    let output = story.try_restore(&full, &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"));
    assert_eq!(fs::read_dir(&full).expect("the directory").count(), 1);
    let output = story.try_restore(&story.place("no/where"), &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no directory"));
    let empty = story.scratch.new_directory("empty");
    assert!(story.try_restore(&empty, &[]).status.success());
    assert!(String::from_utf8_lossy(&story.try_restore(&empty, &[]).stderr).contains("is not empty"));
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let story = Story::new(&Installation::newest());
    let entry = story.backup();
    story.store_wal();
    let to = story.place("dry");
    let output = story.try_restore(&to, &["--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(entry.id.as_str()) && text.contains("nothing was changed"), "{text}");
    assert!(!to.exists());
    let output = story.try_restore(&to, &["--dry-run", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["plan"]["backup"]["id"], entry.id.as_str());
}
