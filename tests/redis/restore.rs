//! Restores into a file, and what stands in their way.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use pg_fixtures::redis::{Program, Redis, Value};
use pg_fixtures::{FreePort, Scratch, poll};

use super::site::Site;

/// A server that goes by another name is found by its answers alone.
#[test]
fn a_directory_that_the_configured_server_calls_its_own_is_refused() {
    let scratch = Scratch::new();
    let (data, port) = (scratch.new_directory("data"), FreePort::take());
    let program = Program::named("redis").link_into(scratch.path());
    let hidden = scratch.path().join("hidden");
    fs::rename(program, &hidden).expect("rename the program");
    let number = port.number().to_string();
    let mut command = Command::new(hidden);
    command.args(["--port", &number, "--bind", "127.0.0.1", "--save", "", "--dir", &data.display().to_string()]);
    let mut server = command.stdout(Stdio::null()).spawn().expect("start a server");
    let site = Site::new(&format!("redis://127.0.0.1:{number}"), "");
    let backed_up = poll::try_until(Duration::from_secs(60), || site.try_run(&["backup", "redis/cache"]).status.success());
    let said = site.try_run(&["restore", "redis/cache", "--to", &data.display().to_string()]);
    server.kill().and_then(|()| server.wait()).expect("end the server");
    assert!(backed_up, "the server does not answer");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("a server is running in") && said.contains(&format!("(the Redis server 127.0.0.1:{number})")),
        "{said}"
    );
}

#[test]
fn a_file_that_is_there_is_replaced_only_when_told() {
    let server = Redis::start(&Program::named("redis"), "");
    server.ask(&["SET", "a", "1"]);
    let site = Site::new(&server.url(), "");
    site.backup();
    let file = site.scratch.path().join("dump.rdb");
    let to = file.display().to_string();
    fs::write(&file, "old").expect("write a file");
    assert!(site.run(&["restore", "redis/cache", "--to", &to]).contains("add --apply"));
    assert_eq!(fs::read_to_string(&file).expect("a file"), "old");
    site.run(&["restore", "redis/cache", "--to", &to, "--apply"]);
    assert!(fs::read(&file).expect("a file").starts_with(b"REDIS0010"));
    assert!(site.refusal(&["restore", "redis/cache"]).contains("no place"));
    assert_eq!(site.try_run(&["restore", "redis/cache"]).status.code(), Some(2));
}

#[test]
fn a_directory_in_which_a_server_runs_is_refused() {
    let mut server = Redis::start(&Program::named("redis"), "");
    let site = Site::new(&server.url(), "");
    site.backup();
    let directory = server.directory().display().to_string();
    for arguments in
        [&["restore", "redis/cache", "--to", &directory][..], &["restore", "redis/cache", "--to", &directory, "--apply"]]
    {
        let said = site.refusal(arguments);
        assert!(said.contains("a server is running in") && said.contains("stop it first"), "{said}");
    }
    server.kill();
    site.run(&["restore", "redis/cache", "--to", &directory]);
}

#[test]
fn a_server_in_append_only_mode_ignores_the_file_and_the_way_past_that_works() {
    let mut server = Redis::start(&Program::named("redis"), "appendonly yes\nappendfsync always\n");
    server.ask(&["SET", "a", "before"]);
    let site = Site::new(&server.url(), "");
    site.backup();
    server.ask(&["SET", "a", "after"]);
    let mut stopped = Redis::stopped(&Program::named("redis"), "");
    let restore = |server: &Redis| site.run(&["restore", "redis/cache", "--to", &server.directory().display().to_string()]);
    server.kill();
    let plan = site.json(&["restore", "redis/cache", "--to", &server.directory().display().to_string(), "--dry-run"]);
    assert!(plan.to_string().contains("appendonlydir is there"), "{plan}");
    let said = restore(&server);
    assert!(said.contains("appendonly yes") && said.contains("CONFIG SET appendonly yes"), "{said}");
    server.restart();
    assert_eq!(server.ask(&["GET", "a"]), Value::text("after"), "the trap is there");
    // What the text says, step by step.
    server.kill();
    fs::remove_dir_all(server.directory().join("appendonlydir")).expect("move the append-only file away");
    server.configure("appendonly no");
    server.restart();
    assert_eq!(server.ask(&["GET", "a"]), Value::text("before"));
    server.ask(&["CONFIG", "SET", "appendonly", "yes"]);
    poll::until(Duration::from_secs(60), "the append-only file is written", || {
        server.client().info("aof_rewrite_in_progress") == "0" && server.client().info("aof_last_bgrewrite_status") == "ok"
    });
    server.kill();
    server.configure("appendonly yes");
    server.restart();
    assert_eq!(server.ask(&["GET", "a"]), Value::text("before"));
    // And a server without an append-only file starts empty.
    stopped.configure("appendonly yes");
    restore(&stopped);
    stopped.restart();
    assert_eq!(stopped.ask(&["DBSIZE"]), Value::Number(0));
}
