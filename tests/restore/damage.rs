//! Damaged and missing objects are named and nothing can be started; nor can a restore that was interrupted.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use pg_fixtures::ServerUser;
use pg_fixtures::checksum::Checksums;
use pg_fixtures::postgres::{Cluster, Installation};

use super::support::{DEADLINE, Story, until};

#[test]
fn a_damaged_pack_is_named_and_nothing_is_started() {
    let story = Story::new(&Installation::newest());
    story.cluster.pgbench(&["-i", "-q", "-s", "1"]);
    let entry = story.backup();
    let packs = entry.packs();
    let name = &packs[packs.len() / 2].1.name;
    let pack = story.repository().join(format!("postgres/main/data/{}/{name}", entry.id));
    let whole = fs::read(&pack).expect("a pack");
    let file = fs::OpenOptions::new().write(true).open(&pack).expect("a pack");
    let middle = whole.len() / 2;
    file.write_at(&[!whole[middle]], middle as u64).expect("damage a pack");
    let to = story.place("altered");
    let output = story.try_restore(&to, &["--start"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains(name.as_str()), "{message}");
    assert!(!to.join("global/pg_control").exists() && !to.join("postmaster.pid").exists());
    assert!(Cluster::builder(story.cluster.installation()).adopt(&to).try_start().is_err());
    let again = story.try_restore(&to, &[]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("did not finish"));

    file.set_len(middle as u64).expect("cut a pack");
    let message = story.refusal(&[]);
    assert!(message.contains(name.as_str()) && message.contains("bytes instead of"), "{message}");
    fs::remove_file(&pack).expect("remove a pack");
    let message = story.refusal(&[]);
    assert!(message.contains(name.as_str()) && message.contains("not there"), "{message}");
}

/// What a power cut likes to leave of the newest file.
#[test]
fn damage_at_the_end_of_the_wal_hides_nothing_before_it() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    story.backup();
    story.cluster.sql("INSERT INTO t VALUES (2)");
    let lsn = story.cluster.sql("SELECT pg_create_restore_point('two'), pg_current_wal_lsn()");
    let (expected, lsn) = (Checksums::of(&story.cluster), lsn.rsplit('|').next().expect("a position").to_owned());
    story.store_wal();
    story.cluster.sql("INSERT INTO t VALUES (3)");
    let newest = story.cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    story.store_wal();
    fs::OpenOptions::new().write(true).truncate(true).open(story.object(&newest)).expect("empty the newest segment");
    let status = String::from_utf8_lossy(&story.holdfast.try_run(&["status"]).stdout).into_owned();
    assert!(status.contains("DAMAGED") && status.contains(&newest) && status.contains("CUT OFF"), "{status}");
    assert_eq!(story.restored_content("by-lsn", &["--target-lsn", &lsn]), expected);
    assert_eq!(story.restored_content("by-name", &["--target-name", "two"]), expected);
    let message = story.refusal(&[]);
    assert!(message.contains(&newest) && message.contains("a target before it"), "{message}");
}

/// The server would take what is left for all there was, and nothing else that is stored contradicts it.
#[test]
fn wal_that_vanishes_from_the_end_after_the_plan_does_not_pass_for_the_end() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t (n int)");
    story.backup();
    let last = [1, 2, 3].map(|n| {
        let segment = story.cluster.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        story.cluster.sql(&format!("INSERT INTO t VALUES ({n})"));
        story.store_wal();
        segment
    });
    let expected = Checksums::of(&story.cluster);
    let directory = story.restore("short", &[]);
    let away = last[1..].iter().map(|segment| (story.object(segment), story.place(segment)));
    let away: Vec<_> = away.inspect(|(from, to)| fs::rename(from, to).expect("take a segment away")).collect();
    let restored = Cluster::builder(story.cluster.installation()).setting("fsync", "off").adopt(&directory);
    if restored.try_start().is_ok() {
        assert!(restored.has_stopped_within(DEADLINE), "the server goes on: {}", restored.log());
    }
    let log = restored.log();
    assert!(log.contains(&last[1]) && log.contains("was there when this restore was planned"), "{log}");
    assert!(!log.contains("selected new timeline ID"), "{log}");
    drop(restored);
    away.iter().for_each(|(from, to)| fs::rename(to, from).expect("put a segment back"));
    assert_eq!(Checksums::of(&story.recovered(&directory)), expected);
}

#[test]
fn an_interrupted_restore_does_not_start() {
    let story = Story::new(&Installation::newest());
    story.cluster.pgbench(&["-i", "-q", "-s", "5"]);
    story.backup();
    for round in 0..3_usize {
        let to = story.place(&format!("killed{round}"));
        let path = to.display().to_string();
        let mut command = story.holdfast.command(&["restore", "postgres/main", "--to", &path]);
        let mut restoring = command.spawn().expect("start a restore");
        // Killed at another place each time: with few, more, and many files written.
        let written = || super::refused::walk_if_there(&to).len();
        until("some files are restored", || written() > 1 + 300 * round || to.join("global/pg_control").exists());
        restoring.kill().expect("kill the restore");
        restoring.wait().expect("wait for the restore");
        if to.join("global/pg_control").exists() {
            println!("round {round} came too late: the restore had finished");
            continue;
        }
        let started = Cluster::builder(story.cluster.installation()).adopt(&to).try_start();
        assert!(started.is_err(), "a half restored cluster has started");
        assert!(String::from_utf8_lossy(&story.try_restore(&to, &[]).stderr).contains("did not finish"));
    }
}

/// What `holdfast` prints with `--output json`, and its exit code.
pub fn json(story: &Story, arguments: &[&str]) -> (serde_json::Value, Option<i32>) {
    let all: Vec<&str> = arguments.iter().chain(&["--output", "json"]).copied().collect();
    let output = story.holdfast.try_run(&all);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
    (report, output.status.code())
}

/// Changes a number in a record, which stays JSON.
fn edit(path: &Path) {
    let text = fs::read_to_string(path).expect("a record");
    let edited = text.replace("\"files\": 1", "\"files\": 2").replace("\"postgres_major\": 1", "\"postgres_major\": 2");
    let edited = edited.replace("\"files\": 9", "\"files\": 8");
    assert_ne!(edited, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("make the record writable");
    fs::write(path, edited).expect("edit a record");
}

#[test]
fn a_damaged_record_is_named_everywhere_and_hides_nothing_else() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 100) i");
    let (first, second) = (story.backup(), story.backup());
    story.cluster.sql("INSERT INTO t VALUES (0)");
    story.store_wal();
    let system_id = first.postgres().system_id;
    let entry = format!("postgres/main/backups/{}.json", second.id);
    let lineage = format!("postgres/main/lineages/{system_id}.json");
    let gap = format!("postgres/main/gaps/{system_id}/00000001-0000000000000000-0000000001000000.json");
    let gap_path = story.repository().join(&gap);
    fs::create_dir_all(gap_path.parent().expect("a folder")).expect("make the folder");
    fs::write(&gap_path, "{ \"timeline\": 1, \"start\"").expect("write a record that is cut short");
    edit(&story.repository().join(&entry));
    edit(&story.repository().join(&lineage));
    ServerUser::current().own_all(&story.repository());

    let (backups, _) = json(&story, &["backups"]);
    assert_eq!(backups["backups"][0]["id"], first.id.to_string());
    assert_eq!((backups["backups"].as_array().map(Vec::len), &backups["damaged"][0]["object"]), (Some(1), &entry.clone().into()));
    let (status, _) = json(&story, &["status"]);
    let cluster = &status["clusters"][0];
    let named: Vec<&str> = cluster["damaged"].as_array().into_iter().flatten().filter_map(|it| it["object"].as_str()).collect();
    assert_eq!(named, [&lineage, &entry, &gap], "{status:#}");
    assert_eq!((&cluster["gaps"][0]["cause"], cluster["windows"].as_array().map(Vec::len)), (&"unknown".into(), Some(1)));
    let (check, code) = json(&story, &["check"]);
    let critical = |object: &str| {
        let found = |it: &serde_json::Value| it["found"].as_str().is_some_and(|found| found.contains(object));
        check["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|it| it["level"] == "critical" && found(it) && !it["hint"].is_null())
    };
    assert!(code == Some(2) && [&lineage, &entry, &gap].iter().all(|object| critical(object)), "{check:#}");
    let text = story.holdfast.try_run(&["backups"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains(&format!("DAMAGED: {entry}")));

    let to = story.place("plan").display().to_string();
    let (report, _) = json(&story, &["restore", "--to", &to, "--dry-run"]);
    assert_eq!(report["plan"]["backup"]["id"], first.id.to_string());
    assert!(report["plan"]["warnings"].to_string().contains(&entry), "{report:#}");
    let refused = story.refusal(&["--backup", second.id.as_str()]);
    assert!(refused.contains("is damaged") && refused.contains("altered"), "{refused}");
    let expected = pg_fixtures::checksum::Checksums::of(&story.cluster);
    assert_eq!(story.restored_content("others", &[]), expected);
}
