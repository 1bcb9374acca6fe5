//! `holdfast verify`: what is sound is called sound, and whatever is not is named.

use std::fs;
use std::path::{Path, PathBuf};

use pg_fixtures::agent::Holdfast;
use serde_json::Value;

use super::command::{content, json, prepared};

/// Runs `verify` and returns its exit code and its report.
fn verify(holdfast: &Holdfast) -> (Option<i32>, Value) {
    let output = holdfast.try_run(&["verify", "--output", "json", "--quiet"]);
    (output.status.code(), json(&output.stdout))
}

/// The names in a report of damage.
fn damaged(report: &Value) -> Vec<String> {
    let damage = report["backups"][0]["damage"].as_array().expect("a list");
    damage.iter().map(|damage| damage["object"].as_str().expect("a name").to_owned()).collect()
}

fn stored(holdfast: &Holdfast) -> Vec<PathBuf> {
    let folder = fs::read_dir(content(holdfast)).expect("a folder").next().expect("a backup").expect("an entry").path();
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).expect("an object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("write an object");
}

#[test]
fn a_sound_backup_is_called_sound_and_each_damaged_object_is_named() {
    let (cluster, holdfast) = prepared("zstd");
    cluster.pgbench(&["-i", "-q"]);
    holdfast.run(&["backup", "--quiet"]);
    let (code, report) = verify(&holdfast);
    assert_eq!((code, &report["sound"], damaged(&report)), (Some(0), &Value::Bool(true), vec![]), "{report}");
    let compared = report["backups"][0]["compared"].to_string();
    assert!(compared.contains("files have the checksums of backup_manifest") && compared.contains("the WAL from"), "{compared}");
    let objects = stored(&holdfast);
    assert_eq!(report["backups"][0]["objects"].as_u64(), Some(objects.len() as u64), "{report}");
    let is_as_stored = |bytes: u64| bytes < 16 << 20;
    assert!(
        report["backups"][0]["stored_bytes"].as_u64().is_some_and(is_as_stored),
        "a segment counts as it is stored: {report}"
    );
    for object in &objects {
        let name = object.file_name().expect("a name").to_string_lossy().into_owned();
        let good = fs::read(object).expect("an object");
        flip_a_bit(object);
        let (code, report) = verify(&holdfast);
        assert!(code == Some(1) && damaged(&report).iter().any(|key| key.ends_with(&name)), "{name}: {report}");
        fs::remove_file(object).expect("remove an object");
        let (code, report) = verify(&holdfast);
        assert!(code == Some(1) && damaged(&report).iter().any(|key| key.ends_with(&name)), "{name}: {report}");
        fs::write(object, good).expect("write an object");
    }
    assert_eq!(verify(&holdfast).0, Some(0));
    damage_wal(&holdfast);
}

fn damage_wal(holdfast: &Holdfast) {
    let backups = json(holdfast.run(&["backups", "--output", "json"]).as_bytes());
    let backup = &backups["backups"][0];
    let start: u64 =
        backup["start_lsn"].as_str().and_then(|lsn| u64::from_str_radix(&lsn.replace('/', ""), 16).ok()).expect("an LSN");
    assert!(start < 1 << 32, "a small cluster");
    let name = format!("00000001{:08X}{:08X}", 0, start >> 24);
    let system = backup["system_id"].as_str().map_or_else(|| backup["system_id"].to_string(), str::to_owned);
    let wal = holdfast.scratch().path().join("repository/postgres/main/wal").join(system).join(&name[..16]).join(&name);
    let good = fs::read(&wal).expect("a segment");
    flip_a_bit(&wal);
    let (code, report) = verify(holdfast);
    assert!(code == Some(1) && damaged(&report).iter().any(|key| key.contains(&name)), "{report}");
    fs::remove_file(&wal).expect("remove a segment");
    let (code, report) = verify(holdfast);
    assert!(code == Some(1) && damaged(&report) == ["postgres/main/wal"], "{report}");
    let output = holdfast.try_run(&["verify", "--quiet"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("DAMAGED") && text.contains("is not there"), "{text}");
    fs::write(&wal, good).expect("write a segment");
}
