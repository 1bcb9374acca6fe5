//! What must hold after any number of kills: everything acknowledged comes back, and every listed backup restores.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::{Scratch, ServerUser};

use crate::clients::Confirmed;
use crate::site::Site;

/// Longer than recovery takes on a busy machine.
const RECOVERY: Duration = Duration::from_secs(180);

/// pgbench keeps four sums equal: one differs if a commit came back in part, or not in its order.
const BALANCED: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches) \
                        AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers) \
                        AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)";

/// Restores a backup (the newest, or one by its id, to its first consistent point) into an empty directory, and checks its files.
pub fn restore(site: &Site<'_>, installation: &Installation, scratch: &Scratch, backup: Option<&str>) -> PathBuf {
    let to = scratch.path().join("restored");
    let directory = to.display().to_string();
    let programs = programs(installation);
    let mut arguments = vec!["restore", Site::resource(), "--to", &directory, "--programs", &programs];
    arguments.extend(backup.into_iter().flat_map(|id| ["--backup", id, "--target", "immediate"]));
    site.holdfast.run(&arguments);
    verify(installation, &to);
    to
}

/// Whether the stored WAL has a hole: what was pushed, or sent ahead, lies behind what could not be sent yet. The server still has it.
pub fn has_hole(site: &Site<'_>, installation: &Installation) -> bool {
    let scratch = Scratch::new();
    let to = scratch.path().join("restored").display().to_string();
    let plan = ["restore", Site::resource(), "--to", &to, "--programs", &programs(installation), "--dry-run"];
    let output = site.holdfast.try_run(&plan);
    !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("WAL is missing between")
}

/// Asks PostgreSQL whether a restored directory has every file that the backup had.
pub fn verify(installation: &Installation, directory: &Path) {
    let mut command = ServerUser::current().command(&installation.program("pg_verifybackup"));
    let output = command
        .args(["--no-parse-wal", "--ignore=holdfast_restore_unfinished"])
        .arg(directory)
        .output()
        .expect("run pg_verifybackup");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "pg_verifybackup: {said}");
}

/// Starts a restored cluster and compares it with what its original has confirmed.
pub fn compare(installation: &Installation, directory: &Path, expected: &[Confirmed], thoroughly: bool) {
    let restored = Cluster::builder(installation).start_existing(directory);
    restored.wait_until(RECOVERY, "recovery ends", || {
        restored.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
    });
    let rows = restored.sql("SELECT client, number FROM marks");
    let found: BTreeSet<(i32, i64)> = rows.lines().filter_map(row).collect();
    let missing: Vec<&Confirmed> = expected.iter().filter(|mark| !found.contains(&(mark.client, mark.number))).collect();
    let (first, last) = (missing.first(), missing.last());
    assert!(missing.is_empty(), "{} of {} commits are lost, from {first:?} to {last:?}", missing.len(), expected.len());
    assert_eq!(restored.sql(BALANCED), "t", "a commit came back in part");
    if thoroughly {
        restored.run("pg_amcheck", &["--all", "--install-missing", "--heapallindexed"]);
    }
}

fn row(line: &str) -> Option<(i32, i64)> {
    let (client, number) = line.split_once('|')?;
    Some((client.parse().ok()?, number.parse().ok()?))
}

/// The ids of all listed backups, the oldest first.
pub fn listed(site: &Site<'_>) -> Vec<String> {
    let text = site.holdfast.run(&["backups", "--output", "json"]);
    let catalog: serde_json::Value = serde_json::from_str(&text).expect("the catalog is JSON");
    let backups = catalog["backups"].as_array().expect("a list of backups");
    backups.iter().map(|backup| backup["id"].as_str().expect("an id").to_owned()).collect()
}

/// The directory of an installation's programs.
pub fn programs(installation: &Installation) -> String {
    installation.program("postgres").parent().expect("a program lies in a directory").display().to_string()
}
