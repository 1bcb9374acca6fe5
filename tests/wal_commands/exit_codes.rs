//! What PostgreSQL hears: 1 from anything that stands for `restore_command` means that absence is proven.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use pg_fixtures::agent::shim;
use pg_fixtures::postgres::Installation;

use super::site::Site;

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

#[test]
fn a_file_that_is_proven_absent_is_1_and_everything_else_above_125() {
    let site = Site::new(&Installation::newest());
    let segment = site.write_segment("a");
    site.wait_for(&segment);
    let target = site.holdfast.scratch().new_directory("target").join("RECOVERYXLOG").display().to_string();
    let fetch = |name: &str, more: &[&str]| {
        let arguments: Vec<&str> = ["wal", "fetch", name, &target].iter().chain(more).copied().collect();
        code(&site.holdfast.try_run(&arguments))
    };
    assert_eq!(fetch(&segment, &[]), 0);
    assert_eq!(fetch("0000000100000000000000F0", &[]), 1);
    assert_eq!(fetch("00000002.history", &[]), 1);
    assert_eq!(fetch("000000010000000000000001", &["--lineage", "5"]), 126);
    assert_eq!(fetch(&segment, &["--resource", "postgres/other"]), 126);
    assert_eq!(fetch(&segment, &["--no-such-option"]), 126);
    assert_eq!(fetch("garbage", &[]), 126);
    assert_eq!(fetch(&segment, &["--config", "/nonexistent"]), 126);
    std::fs::rename(site.store(), site.store().with_extension("away")).expect("take the store away");
    assert!(fetch("0000000100000000000000F0", &[]) >= 126);
}

#[test]
fn the_restore_shim_alone_never_says_absent() {
    let program = shim(env!("CARGO_BIN_EXE_holdfast"), "holdfast-restore-command");
    let run = |arguments: &[&str], path: &str| {
        let output = Command::new(&program).args(arguments).env("PATH", path).current_dir("/").output().expect("run the shim");
        code(&output)
    };
    assert_eq!(run(&[], "/usr/bin"), 126);
    assert_eq!(run(&["--no-such-option", "a", "b"], "/usr/bin"), 126);
    // No holdfast anywhere.
    assert_eq!(run(&["000000010000000000000001", "x"], "/nonexistent"), 126);
    // A program of that name that fails in its own way, and one that a signal ends.
    let folder = tempfile::tempdir().expect("a scratch folder");
    for (script, expected) in
        [("exit 2", 126), ("exit 101", 126), ("exit 1", 1), ("exit 200", 200), ("kill -9 $$", 137), ("kill $$", 143)]
    {
        write_program(&folder.path().join("holdfast"), script);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        assert_eq!(run(&["000000010000000000000001", "x"], &path), expected, "{script}");
    }
}

fn write_program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("write a program");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
}

#[test]
fn no_wal_server_is_asked_for_where_no_server_runs() {
    let program = shim(env!("CARGO_BIN_EXE_holdfast"), "holdfast-restore-command");
    let folder = tempfile::tempdir().expect("a scratch folder");
    let in_folder = |name: &str| folder.path().join(name);
    write_program(&in_folder("holdfast"), "echo \"$2\" >> asked; exit 1");
    std::fs::create_dir(in_folder("global")).expect("make a folder");
    for file in ["PG_VERSION", "global/pg_control"] {
        std::fs::write(in_folder(file), "").expect("write a file");
    }
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let asked = || {
        let mut command = Command::new(&program);
        command.args(["000000010000000000000001", "x"]).env("PATH", &path).current_dir(folder.path());
        assert_eq!(code(&command.output().expect("run the shim")), 1);
        std::fs::read_to_string(in_folder("asked")).expect("what was run")
    };
    // As pg_rewind runs it, which could not remove the folder of a WAL server.
    assert_eq!(asked(), "fetch\n");
    assert!(!in_folder("holdfast-restore").exists());
    std::fs::write(in_folder("postmaster.pid"), "").expect("write a file");
    assert_eq!(asked(), "fetch\nserve\nserve\nfetch\n");
}

#[test]
fn the_archive_shim_returns_the_agents_verdict_and_nothing_else_as_success() {
    let program = shim(env!("CARGO_BIN_EXE_holdfast"), "holdfast-archive-command");
    let folder = tempfile::tempdir().expect("a scratch folder");
    let socket = folder.path().join("agent.sock");
    let run = |path: &str| {
        let mut command = Command::new(&program);
        command.arg("--socket").arg(&socket).arg("pg_wal/x").env("PATH", path).current_dir("/");
        command.output().expect("run the shim")
    };
    // No agent: holdfast wal push decides, or nobody.
    assert_eq!(code(&run("/nonexistent")), 1);
    write_program(&folder.path().join("holdfast"), "echo \"$@\"");
    let output = run(&format!("{}:/usr/bin:/bin", folder.path().display()));
    assert_eq!((code(&output), output.stdout.as_slice()), (0, &b"wal push -- /pg_wal/x\n"[..]));
    // An agent whose verdict is success, failure, out of range, not a verdict, cut off, missing.
    let verdicts: [(&[u8], i32); 6] = [
        (b"HFSH\x01\x00\x00\x00\x00\x00", 0),
        (b"HFSH\x01\x01\x02\x00\x00\x00no", 1),
        (b"HFSH\x01\xC8\x00\x00\x00\x00", 1),
        (b"HTTP/1.1 200 OK\r\n\r\n", 1),
        (b"HFSH\x01\x00\x00\x00", 1),
        (b"", 1),
    ];
    let listener = UnixListener::bind(&socket).expect("listen");
    for (verdict, expected) in verdicts {
        let served = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("accept");
                let mut request = [0; 10];
                stream.read_exact(&mut request).expect("read the request");
                stream.write_all(verdict).expect("send the verdict");
            });
            code(&run("/nonexistent"))
        });
        assert_eq!(served, expected, "{verdict:?}");
    }
}
