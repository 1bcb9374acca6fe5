//! The runner of the program under test, shown with a shell script in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pg_fixtures::agent::Holdfast;
use pg_fixtures::{Scratch, poll};

const SOON: Duration = Duration::from_secs(30);

/// Prints its configuration; as an agent, runs until it is told to end.
const SCRIPT: &str = r#"#!/bin/sh
case $1 in
agent) trap 'echo ends; exit 3' TERM; echo "agent $NOTE"; while :; do sleep 0.05; done ;;
show) cat "$HOLDFAST_CONFIG"; id -un ;;
*) echo "no verb $1" >&2; exit 2 ;;
esac
"#;

fn holdfast() -> (Holdfast, Scratch) {
    let scratch = Scratch::new();
    let program = scratch.path().join("program");
    fs::write(&program, SCRIPT).expect("write the script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("make the script a program");
    (Holdfast::new(program, "socket = '{scratch}/s'\n").environment("NOTE", "one"), scratch)
}

#[test]
fn a_command_finds_its_configuration_and_can_fail() {
    let (holdfast, _scratch) = holdfast();
    let shown = holdfast.run(&["show"]);
    assert!(shown.starts_with(&format!("socket = '{}/s'\n", holdfast.scratch().path().display())), "{shown}");
    assert!(!shown.ends_with("root\n"), "{shown}");
    assert_eq!(holdfast.try_run(&["other"]).status.code(), Some(2));
}

#[test]
fn an_agent_is_started_killed_and_told_to_end() {
    let (holdfast, _scratch) = holdfast();
    let starts = || holdfast.log().matches("agent one").count();
    holdfast.start_agent();
    holdfast.wait_until(SOON, "the agent starts", || starts() == 1);
    holdfast.crash_and_restart();
    holdfast.wait_until(SOON, "the agent starts again", || starts() == 2);
    assert_eq!(holdfast.terminate().code(), Some(3));
    assert!(holdfast.log().ends_with("ends\n"), "{}", holdfast.log());
}

#[test]
fn a_dropped_runner_leaves_no_agent_behind() {
    let (holdfast, _scratch) = holdfast();
    holdfast.start_agent();
    let pid = holdfast.agent_pid().expect("the agent was started");
    let alive = || fs::metadata(format!("/proc/{pid}")).is_ok();
    assert!(alive());
    drop(holdfast);
    poll::until(SOON, "the agent is gone", || !alive());
}

#[test]
fn a_program_below_a_closed_directory_is_reached_by_a_copy() {
    let closed = tempfile::tempdir().expect("create a directory");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("close the directory");
    let program = closed.path().join("holdfast");
    fs::write(&program, SCRIPT).expect("write the script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("make the script a program");
    assert!(Holdfast::new(program, "a = 1\n").run(&["show"]).starts_with("a = 1\n"));
}
