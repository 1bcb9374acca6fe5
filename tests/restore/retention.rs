//! Restores after retention has been applied: what is kept comes back, and what is gone never looks like the end.

use std::path::Path;

use pg_fixtures::checksum::Checksums;
use pg_fixtures::postgres::Installation;
use serde_json::Value;

use super::damage;
use super::support::Story;

impl Story {
    fn keep(&self, rules: &str) {
        let text = std::fs::read_to_string(self.holdfast.configuration()).expect("the configuration");
        let lines: String = text.lines().filter(|line| !line.starts_with("keep")).map(|line| format!("{line}\n")).collect();
        self.holdfast.configure(&format!("{lines}{rules}\n"));
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.holdfast.run(&[&["--output", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn listed(&self) -> Vec<String> {
        let backups = self.json(&["backups"])["backups"].as_array().cloned().expect("a list");
        backups.iter().map(|backup| backup["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Some rows, a backup of them, and the WAL of more rows.
    fn day(&self) -> String {
        self.cluster.sql("INSERT INTO t SELECT generate_series(1, 5000)");
        let id = self.backup().id.to_string();
        self.cluster.sql("INSERT INTO t SELECT generate_series(1, 5000)");
        self.store_wal();
        id
    }
}

fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) }).sum()
}

#[test]
fn what_retention_keeps_restores_and_what_it_removed_is_never_the_end() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t (n int)");
    let first_segment = story.cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let days = [story.day(), story.day(), story.day()];
    let content = Checksums::of(&story.cluster);

    story.keep("keep = { last = 1 }");
    let before = size(&story.repository());
    let plan = story.json(&["expire", "--dry-run"]);
    let freed = plan["resources"][0]["plan"]["freed_bytes"].as_u64().expect("a number");
    assert_eq!((story.listed().len(), size(&story.repository())), (3, before), "a dry run changes nothing");

    story.holdfast.run(&["hold", &days[0], "--reason", "for the auditors"]);
    let text = story.holdfast.run(&["expire"]);
    assert!(text.contains("held: for the auditors") && text.contains("REMOVE"), "{text}");
    assert_eq!(story.listed(), [days[0].clone(), days[2].clone()]);

    // A server that has been promoted needs nothing any more, and its restore says so.
    assert_eq!(story.started("promoted", &[]).content(), content);
    let unused = story.json(&["expire", "--dry-run"]);
    let used = |plan: &Value| ["in use", "protected until"].iter().any(|words| plan.to_string().contains(words));
    assert!(!used(&unused), "{unused}");
    assert_eq!(story.restored_content("end", &[]), content);
    story.restored_content("held", &["--backup", &days[0], "--target", "immediate"]);

    // The restores above left word that their recovery may still need WAL.
    let waiting = story.json(&["expire", "--dry-run"]);
    assert!(waiting.to_string().contains("in case its recovery needs WAL again"), "{waiting}");
    assert!(!waiting.to_string().contains("in use"), "nobody is at work any more: {waiting}");
    for lease in std::fs::read_dir(story.repository().join("postgres/main/leases")).expect("leases") {
        std::fs::remove_dir_all(lease.expect("a lease").path()).expect("remove it");
    }
    story.holdfast.run(&["release", &days[0]]);
    story.holdfast.run(&["expire", "postgres/main"]);
    assert_eq!(story.listed(), [days[2].clone()]);
    let after = size(&story.repository());
    assert!(before - after >= freed * 9 / 10, "{before} - {after} is what was promised: {freed}");
    assert_eq!(story.restored_content("again", &[]), content);

    let to = story.place("segment").display().to_string();
    let fetched = story.holdfast.try_run(&["wal", "fetch", &first_segment, &to]);
    let words = String::from_utf8_lossy(&fetched.stderr).into_owned();
    assert_eq!(fetched.status.code(), Some(200), "{words}");
    let unknown = story.holdfast.try_run(&["hold", &days[0]]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no backup"));
}

/// Goes back to the restore point `back`, which begins the second timeline, and stores what is written there.
fn go_back(story: &Story) {
    let directory = story.restore("back", &["--target-name", "back"]);
    let cluster = story.recovered(&directory);
    cluster.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    let segment = cluster.switch_wal();
    assert!(segment.starts_with("00000002"), "{segment}");
    for name in ["00000002.history", &segment] {
        let path = directory.join("pg_wal").join(name).display().to_string();
        story.holdfast.run(&["wal", "push", "--resource", "postgres/main", &path]);
    }
}

/// The WAL of a timeline that `verify --deep` has looked at.
fn verified(story: &Story, timeline: u64) -> (Value, Option<i32>) {
    let (report, code) = damage::json(story, &["verify", "--deep"]);
    let mut wal = report["wal"].as_array().cloned().unwrap_or_default();
    wal.retain(|wal| wal["timeline"] == timeline);
    assert_eq!(wal.len(), 1, "{report:#}");
    (wal.remove(0), code)
}

/// Whether `check` and `status` say that nothing leads to the second timeline.
fn is_told(story: &Story) -> bool {
    let (check, _) = damage::json(story, &["check"]);
    let is_it = |finding: &Value| {
        let found = finding["found"].as_str().unwrap_or_default();
        finding["level"] == "critical" && found.starts_with("WAL of timeline 2 is stored, and no base backup leads to it")
    };
    let told = check["findings"].as_array().into_iter().flatten().any(is_it);
    assert_eq!(story.holdfast.run(&["status"]).contains("TIMELINE 2 IS NOT RECOVERABLE"), told, "{check:#}");
    told
}

#[test]
fn wal_that_a_kept_backup_needs_to_get_to_the_newest_timeline_is_verified_after_later_backups_have_gone() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t (n int)");
    let first = story.backup();
    story.cluster.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    story.store_wal();
    story.cluster.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    let needed = story.cluster.switch_wal();
    story.cluster.sql("SELECT pg_create_restore_point('back')");
    story.store_wal();
    let [_, third] = [story.day(), story.day()];
    go_back(&story);
    for lease in std::fs::read_dir(story.repository().join("postgres/main/leases")).expect("leases") {
        std::fs::remove_dir_all(lease.expect("a lease").path()).expect("remove it");
    }
    story.keep("keep = { last = 1 }");
    story.holdfast.run(&["expire"]);
    assert_eq!(story.listed(), [first.id.to_string(), third], "the first leads to the second timeline");
    let (wal, code) = verified(&story, 1);
    assert_eq!((&wal["from"], code), (&Value::from(first.postgres().start_lsn.to_string()), Some(0)), "{wal:#}");
    assert!(!is_told(&story));
    let windows = story.json(&["status"])["clusters"][0]["windows"].clone();
    assert_eq!((&windows[0]["timeline"], &windows[1]["timeline"]), (&Value::from(1), &Value::from(2)), "{windows:#}");

    // As an early version recorded it for the backup that went: above what the first one needs.
    let horizons = story.repository().join("postgres/main/horizons").join(story.cluster.system_identifier());
    std::fs::write(horizons.join("00000001-00000000FF000000.json"), "{}").expect("write a horizon");
    pg_fixtures::ServerUser::current().own_all(&story.repository());
    assert_eq!(verified(&story, 1), (wal, code), "a horizon does not hide what the newest timeline is restored from");

    std::fs::remove_file(story.object(&needed)).expect("remove a segment");
    let (wal, code) = verified(&story, 1);
    assert!(code == Some(1) && wal["damage"][0]["detail"].to_string().contains("is not there"), "{wal:#}");
    assert!(is_told(&story));
    assert!(story.refusal(&["--target-timeline", "2"]).contains("WAL is missing between"));
}
