//! Ctrl-C: what has been begun ends at once, nothing that looks finished stays, and no server goes on by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pg_fixtures::postgres::Installation;
use pg_fixtures::{FreePort, ServerUser, poll};

use super::support::{DEADLINE, Story};

/// Starts `holdfast restore --to DIRECTORY`.
fn begin(story: &Story, to: &Path, programs: &Path, arguments: &[&str], fail_points: &str) -> Child {
    let (to, programs) = (to.display().to_string(), programs.display().to_string());
    let mut all = vec!["restore", "postgres/main", "--to", &to, "--programs", &programs];
    all.extend(arguments);
    let mut command = story.holdfast.command(&all);
    command.env("HOLDFAST_FAIL_POINTS", fail_points).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("start a restore")
}

/// Asks it to stop once `begun` is there, and returns what it says.
fn interrupt(mut restore: Child, begun: &Path, what: &str) -> Output {
    let ended = poll::try_for(DEADLINE, || match restore.try_wait().expect("ask for the restore") {
        Some(status) => Some(Some(status)),
        None => begun.exists().then_some(None),
    });
    if ended == Some(None) {
        kill(Pid::from_raw(restore.id().cast_signed()), Signal::SIGINT).expect("signal the restore");
    }
    let output = restore.wait_with_output().expect("wait for the restore");
    assert_eq!(ended, Some(None), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_restore_that_is_interrupted_leaves_nothing_that_a_server_starts_on() {
    let story = Story::new(&Installation::newest());
    story.backup();
    story.store_wal();
    let (to, programs) = (story.place("interrupted"), story.cluster.program("postgres"));
    let programs = programs.parent().expect("a program lies in a directory");
    let restore = begin(&story, &to, programs, &[], "file.before base/ 3 wait:200");
    let output = interrupt(restore, &to.join("base"), "it has begun to write");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cancelled while restoring into") && errors.contains("remove it, and restore again"), "{errors}");
    assert!(!to.join("global/pg_control").exists(), "a server would start on what was written");
    let again = story.try_restore(&to, &[]);
    let errors = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success(), "a restore over the rest of one: {errors}");
}

#[test]
fn a_recovery_that_is_interrupted_stops_its_server() {
    let story = Story::new(&Installation::newest());
    story.backup();
    story.store_wal();
    // The server asks for a segment, and waits for it for ever.
    let programs = story.scratch.new_directory("programs");
    let asks = story.scratch.new_directory("asks");
    ServerUser::current().own(&asks);
    let asked = asks.join("asked");
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\ncase \" $* \" in *' start '*) echo \"restore_command = 'touch {}; exec sleep 3600'\" >> \"$last/postgresql.auto.conf\";; esac\nexec {} \"$@\"\n",
        asked.display(),
        story.cluster.program("pg_ctl").display()
    );
    fs::write(programs.join("pg_ctl"), script).expect("write a program");
    fs::set_permissions(programs.join("pg_ctl"), fs::Permissions::from_mode(0o755)).expect("make it executable");
    ServerUser::current().own_all(&programs);
    let (to, port) = (story.place("recovering"), FreePort::take());
    let (number, sockets) = (port.number().to_string(), story.scratch.new_directory("sockets").display().to_string());
    let start = ["--start", "--port", &number, "--socket-directory", &sockets];
    let output = interrupt(begin(&story, &to, &programs, &start, ""), &asked, "the server recovers");
    let errors = String::from_utf8_lossy(&output.stderr);
    let running = to.join("postmaster.pid").exists();
    if running {
        story.cluster.try_run("pg_ctl", &["stop", "--mode=immediate", "--pgdata", &to.display().to_string()]);
    }
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cancelled while the server in") && errors.contains("it was stopped"), "{errors}");
    assert!(!running, "the server goes on: {errors}");
}
