//! Restores into servers that run.

use std::fs;

use pg_fixtures::redis::{Program, Redis, Value};

use super::data::{LIBRARY, fill, noise};
use super::site::Site;

const INTO: [&str; 3] = ["restore", "redis/cache", "--into"];

fn arguments<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&INTO[..], &[url], more].concat()
}

#[test]
fn everything_comes_back_into_a_running_server() {
    for program in Program::all() {
        let server = Redis::start(&program, "");
        fill(&server);
        let site = Site::new(&server.url(), "");
        site.backup();
        let target = Redis::start(&program, "");
        let done = site.json(&arguments(&target.url(), &[]));
        let portrait = server.client().portrait();
        assert_eq!(target.client().portrait(), portrait, "{}", program.name);
        assert_eq!(done["result"]["keys_now"].as_u64(), Some(portrait.lines().count() as u64), "{done}");
        if program.name != "redis-6" {
            assert!(target.ask(&["FUNCTION", "LIST"]).shown().contains("holdfast"), "{LIBRARY}");
        }
        let said = site.refusal(&arguments(&target.url(), &[]));
        assert!(said.contains("a restore does not mix with them") && said.contains("FLUSHALL"), "{said}");
    }
}

#[test]
fn values_that_are_too_large_for_memory_come_back() {
    let program = Program::named("redis");
    let (server, target) = (Redis::start(&program, ""), Redis::start(&program, ""));
    let mut client = server.client();
    client.ask(&[&b"SET"[..], b"large", &noise(30 << 20)]);
    client.ask(&["SELECT", "1"]);
    for number in 0..6 {
        client.ask(&[&b"RPUSH"[..], b"list", &noise((1 << 20) + number)]);
    }
    client.ask(&["EXPIRE", "list", "100000"]);
    client.ask(&["SET", "small", "1"]);
    let site = Site::new(&server.url(), "");
    site.backup();
    site.run(&arguments(&target.url(), &[]));
    assert_eq!(target.client().portrait(), server.client().portrait());
}

#[test]
fn keys_that_have_expired_since_are_left_out() {
    let program = Program::named("redis");
    let (server, target) = (Redis::start(&program, "enable-debug-command yes\n"), Redis::start(&program, ""));
    // A server that does not look for keys that have expired has them in its file.
    server.ask(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    server.ask(&["SET", "stays", "1"]);
    server.ask(&["SET", "goes", "1", "PX", "1"]);
    let site = Site::new(&server.url(), "");
    assert_eq!(site.backup()["keys"], 2);
    site.install(&program);
    let verified = site.json(&["verify"]).to_string();
    assert!(verified.contains("has loaded it: 2 keys"), "{verified}");
    let done = site.json(&arguments(&target.url(), &[]));
    assert_eq!((&done["result"]["restored"]["keys"], &done["result"]["restored"]["expired"]), (&1.into(), &1.into()), "{done}");
    assert_eq!(target.client().keys().into_iter().collect::<Vec<_>>(), [b"stays".to_vec()]);
}

#[test]
fn a_user_with_the_documented_rights_can_restore_and_no_password_is_on_the_command_line() {
    let program = Program::named("redis");
    let server = Redis::start(&program, "");
    fill(&server);
    let site = Site::new(&server.url(), "");
    site.backup();
    let target = Redis::start(&program, "");
    let page = include_str!("../../docs/operations.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER restorer")).expect("the page has the command");
    target.ask(&line.replace("PASSWORD", "hush-hush").split_whitespace().collect::<Vec<_>>());
    let with = |login: &str| format!("redis://{login}@127.0.0.1:{}", target.port());
    let said = site.refusal(&arguments(&with("restorer:hush-hush"), &[]));
    assert!(said.contains("holds a password") && said.contains("--into-password-file") && !said.contains("hush"), "{said}");
    let file = site.scratch.path().join("password");
    fs::write(&file, "hush-hush\n").expect("write the password");
    site.run(&arguments(&with("restorer"), &["--into-password-file", &file.display().to_string()]));
    assert_eq!(target.client().portrait(), server.client().portrait());
}

#[test]
fn what_cannot_be_restored_into_a_server_is_said_before_anything_is_written() {
    let redis_8 = Program::named("redis-8");
    let server = Redis::start(&redis_8, "");
    fill(&server);
    let site = Site::new(&server.url(), "");
    site.backup();
    let old = Redis::start(&Program::named("redis"), "");
    let said = site.refusal(&arguments(&old.url(), &[]));
    assert!(said.contains("refuses the") && said.contains("not older") && said.contains("FLUSHALL"), "{said}");
    let node = Redis::start(&redis_8, "cluster-enabled yes\n");
    assert!(site.refusal(&arguments(&node.url(), &[])).contains("is a node of a cluster"));
    let replica = Redis::start(&redis_8, &format!("replicaof 127.0.0.1 {}\n", node.port()));
    assert!(site.refusal(&arguments(&replica.url(), &[])).contains("is a replica"));
    assert!(site.refusal(&arguments(&old.url(), &["--to", "/tmp/x"])).contains("two places"));
}

#[test]
fn values_of_modules_are_counted_and_need_their_module() {
    let redis_8 = Program::named("redis-8");
    let (server, target) = (Redis::start(&redis_8, ""), Redis::start(&redis_8, ""));
    server.ask(&["VADD", "vectors", "VALUES", "3", "0.1", "1.2", "0.5", "element"]);
    let site = Site::new(&server.url(), "");
    let taken = site.backup();
    assert!(taken["keys"] == 1 && taken["remarks"].to_string().contains("the modules of vectorset"), "{taken}");
    site.install(&redis_8);
    let verified = site.json(&["verify"]);
    assert!(verified["sound"] == true && verified.to_string().contains("has loaded it: 1 keys"), "{verified}");
    let said = site.refusal(&arguments(&target.url(), &[]));
    assert!(said.contains("values of modules (vectorset)") && said.contains("--to"), "{said}");
    assert_eq!(target.ask(&["DBSIZE"]), Value::Number(0));
}
