//! `make bench`, at its smallest: that it measures, and that it does not measure what failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pg_fixtures::Scratch;

const HOLDFAST: &str = env!("CARGO_BIN_EXE_holdfast");

/// Measures some rows with a few segments, beside `cp` alone.
fn bench(shims: &Path, rows: &[&str]) -> Output {
    let programs = Path::new(HOLDFAST).parent().expect("a program lies in a folder");
    let mut command = Command::new("python3");
    command.args(["-m", "bench", "--size", "tiny", "--no-peers", "--no-s3", "--programs"]).arg(programs);
    command.arg("--shims").arg(shims).arg("--only").args(rows);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("PYTHONDONTWRITEBYTECODE", "1").output().expect("run python3")
}

fn shims() -> PathBuf {
    let target = Path::new(HOLDFAST).ancestors().nth(2).expect("a program lies in a folder of the target directory");
    target.join("shim")
}

#[test]
fn the_benchmark_measures_what_was_archived_and_restored() {
    let measured = bench(&shims(), &["archive", "backlog", "restore"]);
    let (table, errors) = (String::from_utf8_lossy(&measured.stdout), String::from_utf8_lossy(&measured.stderr));
    assert!(measured.status.success(), "{errors}");
    for row in ["| `archive_command`, 4 segments waiting", "| backlog of 8 segments", "| a segment that does not exist"] {
        assert!(table.contains(row), "no row {row}:\n{table}");
    }
}

#[test]
fn a_command_that_fails_is_not_measured() {
    let broken = Scratch::new();
    fs::copy("/bin/false", broken.path().join("holdfast-archive-command")).expect("copy a program that fails");
    let shim = "holdfast-restore-command";
    fs::copy(shims().join(shim), broken.path().join(shim)).expect("copy a shim");
    let measured = bench(broken.path(), &["archive"]);
    let errors = String::from_utf8_lossy(&measured.stderr);
    assert!(!measured.status.success(), "it measured a command that fails");
    assert!(errors.contains("FAILED") && errors.contains("ended with 1, not 0"), "{errors}");
    assert!(measured.stdout.is_empty(), "it printed a table");
}
