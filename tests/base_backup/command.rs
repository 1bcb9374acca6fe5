//! `holdfast backup` and `holdfast backups`, run as programs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use pg_fixtures::agent::Holdfast;
use pg_fixtures::poll;
use pg_fixtures::postgres::{Cluster, Installation};
use serde_json::Value;

use super::key::Key;

const DEADLINE: Duration = Duration::from_secs(120);

/// A cluster that archives through `holdfast wal push`, and the program, `init` done.
pub fn prepared(compression: &str) -> (Cluster, Holdfast) {
    prepared_with(compression, "")
}

/// The same with this `[encryption]`.
fn prepared_with(compression: &str, encryption: &str) -> (Cluster, Holdfast) {
    let cluster = Cluster::builder(&Installation::newest()).setting("archive_mode", "on").start();
    let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), "");
    holdfast.scratch().new_directory("repository");
    holdfast.configure(&format!(
        "[repository]\nurl = \"file://{{scratch}}/repository\"\ncompression = \"{compression}\"\n{encryption}\n\
         [agent]\nsocket = \"{{scratch}}/agent.sock\"\n\
         [postgres.main]\nconninfo = \"{}\"\nstream = false\n",
        cluster.conninfo()
    ));
    holdfast.run(&["init"]);
    let program = holdfast.command(&[""]).get_program().display().to_string();
    let command = format!("{program} --config {} wal push %p", holdfast.configuration().display());
    cluster.sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
    cluster.reload();
    (cluster, holdfast)
}

pub fn content(holdfast: &Holdfast) -> PathBuf {
    holdfast.scratch().path().join("repository/postgres/main/data")
}

/// Writes files that do not compress into the data directory: `BASE_BACKUP` sends whatever is there.
fn add_ballast(cluster: &Cluster, megabytes: usize) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = Vec::with_capacity(1 << 20);
    while block.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    let directory = cluster.data_directory().join("ballast");
    fs::create_dir(&directory).expect("create a directory");
    for number in 0..megabytes.div_ceil(100) {
        let mut file = fs::File::create(directory.join(number.to_string())).expect("create a file");
        for _ in 0..100.min(megabytes - number * 100) {
            block.rotate_left(8);
            file.write_all(&block).expect("write a file");
        }
    }
    pg_fixtures::ServerUser::current().own_all(&directory);
}

pub fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

fn listed(holdfast: &Holdfast) -> usize {
    json(holdfast.run(&["--output", "json", "backups"]).as_bytes())["backups"].as_array().expect("a list").len()
}

fn spawn(holdfast: &Holdfast, arguments: &[&str]) -> Child {
    let mut command = holdfast.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start a backup")
}

fn has_files(directory: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(directory) else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_file() || has_files(&entry.path())))
}

fn finished(backup: Child) -> Output {
    backup.wait_with_output().expect("wait for a backup")
}

#[test]
fn a_backup_is_reported_and_listed_for_people_and_for_programs() {
    for compression in ["zstd:3", "lz4"] {
        let (cluster, holdfast) = prepared(compression);
        cluster.pgbench(&["-i", "-q"]);
        assert!(holdfast.run(&["backups"]).contains("no backups"));
        let taken = json(holdfast.run(&["backup", "postgres/main", "--output", "json"]).as_bytes());
        let text = holdfast.run(&["backup", "--label", "it's nightly", "--checkpoint", "spread", "--quiet"]);
        assert!(text.contains("of postgres/main") && text.contains("stored"), "{text}");
        let backups = json(holdfast.run(&["backups", "postgres/main", "--output", "json"]).as_bytes());
        assert_eq!(backups["backups"].as_array().map(Vec::len), Some(2));
        for key in ["id", "start_lsn", "stop_lsn", "timeline", "plain_bytes", "stored_bytes", "duration_s", "system_id"] {
            assert!(!taken[key].is_null(), "{key}");
            assert_eq!(backups["backups"][0][key], taken[key], "{key}");
        }
        let table = holdfast.run(&["backups"]);
        assert!(table.lines().count() == 3 && table.contains(taken["id"].as_str().expect("an id")), "{table}");
    }
}

/// Waits for the end of a command that must succeed: what it printed, and how many kB of memory it took at its peak.
fn measured(command: Child) -> (Value, u64) {
    let status = format!("/proc/{}/status", command.id());
    let mut most = 0;
    let ended = poll::try_until(DEADLINE, || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0));
        peak.is_none()
    });
    assert!(ended, "it takes too long");
    let output = finished(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (json(&output.stdout), most)
}

#[test]
fn memory_stays_small_whatever_the_size_of_the_cluster() {
    const MEMORY_KB: std::ops::Range<u64> = 10_000..150_000;
    let key = Key::new();
    for (compression, encryption) in [("zstd", key.reader()), ("lz4", String::new())] {
        let (cluster, holdfast) = prepared_with(compression, &encryption);
        add_ballast(&cluster, 1024);
        let (taken, most) = measured(spawn(&holdfast, &["backup", "postgres/main", "--output", "json"]));
        println!("{compression}: {most} kB at most, {} s", taken["duration_s"]);
        assert!(taken["plain_bytes"].as_u64() > Some(1 << 30) && MEMORY_KB.contains(&most), "{most} kB");
        let to = holdfast.scratch().path().join("restored").display().to_string();
        let (_, most) = measured(spawn(&holdfast, &["restore", "--to", &to, "--output", "json"]));
        println!("{compression}: {most} kB at most to restore");
        assert!(MEMORY_KB.contains(&most), "{most} kB");
    }
}

#[test]
fn a_killed_backup_is_not_listed() {
    let (cluster, holdfast) = prepared("zstd");
    add_ballast(&cluster, 600);
    let mut backup = spawn(&holdfast, &["backup", "--max-rate", "200000"]);
    poll::until(DEADLINE, "a pack is stored", || has_files(&content(&holdfast)));
    assert_eq!(backup.try_wait().expect("ask for its state"), None, "it ended before it was killed");
    backup.kill().expect("kill the backup");
    finished(backup);
    assert_eq!(listed(&holdfast), 0);
    holdfast.run(&["backup"]);
    assert_eq!(listed(&holdfast), 1);
}

#[test]
fn a_cancelled_backup_removes_what_it_stored() {
    let (cluster, holdfast) = prepared("zstd");
    add_ballast(&cluster, 600);
    let backup = spawn(&holdfast, &["backup", "--max-rate", "200000"]);
    poll::until(DEADLINE, "a pack is stored", || has_files(&content(&holdfast)));
    let pid = backup.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("run kill").success());
    let output = finished(backup);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cancelled"), "{said}");
    assert!(!has_files(&content(&holdfast)) && listed(&holdfast) == 0, "{said}");
}
