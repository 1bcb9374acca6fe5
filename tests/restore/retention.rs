//! Restores after retention has been applied: what is kept comes back, and what is gone never looks like the end.

use std::path::Path;

use pg_fixtures::checksum::Checksums;
use pg_fixtures::postgres::Installation;
use serde_json::Value;

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
    assert!(!unused.to_string().contains("in use"), "{unused}");
    assert_eq!(story.restored_content("end", &[]), content);
    story.restored_content("held", &["--backup", &days[0], "--target", "immediate"]);

    // The restores above left word that their recovery may still need WAL.
    let waiting = story.json(&["expire", "--dry-run"]);
    assert!(waiting.to_string().contains("in use"), "{waiting}");
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
