//! The transfer: what may go wrong with it, and that nothing of a broken one is ever listed.

use std::fs;

use pg_fixtures::proxy::{Fault, Proxy};
use pg_fixtures::redis::{Program, Redis};

use super::data::{fill, noise};
use super::site::Site;

fn small() -> Redis {
    let server = Redis::start(&Program::named("redis"), "");
    server.ask(&["SET", "a", "1"]);
    server
}

#[test]
fn a_transfer_that_is_cut_off_is_never_listed() {
    for lines in ["repl-diskless-sync yes\n", "repl-diskless-sync no\n"] {
        let server = Redis::start(&Program::named("redis"), lines);
        server.client().ask(&[&b"SET"[..], b"noise", &noise(3 << 20)]);
        let proxy = Proxy::to(server.port());
        let site = Site::new(&format!("redis://127.0.0.1:{}", proxy.port()), "");
        for bytes in [10, 8_000, 1 << 20, 3 << 20] {
            proxy.inject(Fault::CutAnswer(bytes), 1);
            let said = site.refused_backup();
            assert!(said.contains("cut off") || said.contains("closed the connection"), "{bytes}: {said}");
            proxy.heal();
        }
        assert_eq!(site.backup()["keys"], 1);
    }
}

#[test]
fn a_user_with_the_documented_rights_can_back_up() {
    let page = include_str!("../../docs/operations.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER holdfast")).expect("the page has the command");
    for program in Program::all() {
        let server = Redis::start(&program, "");
        fill(&server);
        let command = line.replace("PASSWORD", "hush-hush@:/");
        server.ask(&command.split_whitespace().collect::<Vec<_>>());
        server.ask(&["CONFIG", "SET", "requirepass", "another"]);
        let site = Site::new(&format!("redis://holdfast:hush-hush%40%3A%2F@127.0.0.1:{}", server.port()), "");
        let taken = site.backup();
        assert_eq!(taken["remarks"], serde_json::json!([]), "{}: {taken}", program.name);
        assert!(taken["offset"].is_u64(), "{}: {taken}", program.name);
    }
}

#[test]
fn a_wrong_password_is_spoken_of_and_not_shown() {
    let server = small();
    let site = Site::new(&server.url(), "password = { env = \"SECRET\" }");
    server.ask(&["CONFIG", "SET", "requirepass", "right"]);
    let output = site.command(&["backup", "redis/cache"]).env("SECRET", "hush-hush").output().expect("run the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("refuses AUTH") && said.contains("correct the user"), "{said}");
    let log = site.command(&["backup", "redis/cache", "-vv"]).env("SECRET", "hush-hush").output().expect("run the program");
    assert!(!said.contains("hush") && !String::from_utf8_lossy(&log.stderr).contains("hush"), "{said}");
    site.configure(&server.url(), "", "");
    let said = site.refused_backup();
    assert!(said.contains("NOAUTH") && said.contains("give the password"), "{said}");
    site.configure(&server.url(), "password = { command = \"/bin/echo right\" }", "");
    let taken = site.command(&["backup", "redis/cache"]).env("PATH", "/usr/bin:/bin").output().expect("run the program");
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
}

#[test]
fn a_server_that_does_not_know_auth_does_not_make_the_password_public() {
    let server = Redis::start(&Program::named("redis"), "rename-command AUTH \"\"\n");
    let site = Site::new(&format!("redis://:hush-hush@127.0.0.1:{}", server.port()), "");
    let said = site.refused_backup();
    assert!(said.contains("refuses AUTH") && !said.contains("hush"), "{said}");
}

#[test]
fn what_is_no_redis_server_and_what_is_not_there_is_spoken_of() {
    let mut server = small();
    let site = Site::new(&server.url(), "");
    server.kill();
    let said = site.refused_backup();
    assert!(said.contains("cannot connect") && said.contains("is the server up"), "{said}");
}

#[test]
fn a_replica_is_backed_up_as_long_as_it_has_its_master() {
    let mut master = small();
    let mut replica = Redis::start(&Program::named("redis"), &format!("replicaof 127.0.0.1 {}\n", master.port()));
    pg_fixtures::poll::until(std::time::Duration::from_secs(60), "the replica follows", || {
        replica.client().info("master_link_status") == "up"
    });
    let site = Site::new(&replica.url(), "");
    let taken = site.backup();
    assert!(taken["keys"] == 1 && taken["remarks"].to_string().contains("this is a replica"), "{taken}");
    master.kill();
    replica.restart();
    let said = site.refusal(&["backup", "redis/cache"]);
    assert!(said.contains("NOMASTERLINK") && said.contains("back up the master"), "{said}");
    assert_eq!(site.listed(), 1);
}

#[test]
fn a_corrupted_byte_is_found_by_verify() {
    let server = Redis::start(&Program::named("redis"), "");
    fill(&server);
    let site = Site::new(&server.url(), "");
    site.backup();
    let object = site.object();
    let mut bytes = fs::read(&object).expect("an object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, bytes).expect("write an object");
    let output = site.try_run(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("dump.rdb.zst"));
    let target = site.scratch.path().join("dump.rdb");
    site.refusal(&["restore", "redis/cache", "--to", &target.display().to_string()]);
    assert!(!target.exists());
}
