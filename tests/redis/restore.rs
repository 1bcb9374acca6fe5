//! Restores into a file, and what stands in their way.

use std::fs;

use pg_fixtures::redis::{Program, Redis, Value};

use super::site::Site;

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
    pg_fixtures::poll::until(std::time::Duration::from_secs(60), "the append-only file is written", || {
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
