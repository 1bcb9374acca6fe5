//! Everything that a server holds comes back, from every kind of server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use pg_fixtures::redis::{Program, Redis};

use super::data::{LIBRARY, fill};
use super::site::Site;

/// Backs a full server up, restores the file, starts another server on it, and compares.
fn comes_back(name: &str, lines: &str) {
    let program = Program::named(name);
    let server = Redis::start(&program, lines);
    fill(&server);
    let (portrait, keys) = (server.client().portrait(), keys(&server));
    let site = Site::new(&server.url(), "");
    let taken = site.backup();
    assert_eq!((taken["keys"].as_u64(), taken["databases"].as_u64()), (Some(keys), Some(3)), "{taken}");
    assert_eq!(taken["remarks"], serde_json::json!([]), "{taken}");
    assert_eq!(
        taken["server_version"],
        server.client().info(if name.starts_with("valkey") { "valkey_version" } else { "redis_version" })
    );
    site.install(&program);
    let verified = site.json(&["verify"]);
    assert_eq!(verified["sound"], true, "{verified}");
    assert!(verified.to_string().contains(&format!("has loaded it: {keys} keys")), "{verified}");
    assert_eq!(server.client().info("connected_slaves"), "0", "no replica stays behind");
    let mut restored = Redis::stopped(&program, lines);
    let file = restored.directory().join("dump.rdb");
    let said = site.run(&["restore", "redis/cache", "--to", &file.display().to_string()]);
    assert!(said.contains("appendonly yes"), "{said}");
    assert_eq!(program.check(&file).contains("Checksum OK"), !lines.contains("rdbchecksum no"));
    restored.restart();
    assert_eq!(restored.client().portrait(), portrait, "{name}");
    if name != "redis-6" {
        assert!(restored.ask(&["FUNCTION", "LIST", "WITHCODE"]).shown().contains("register_function"), "{LIBRARY}");
    }
}

fn keys(server: &Redis) -> u64 {
    let mut client = server.client();
    let databases = client.databases();
    let count = |database: &String| {
        client.ask(&["SELECT", database]);
        client.keys().len() as u64
    };
    databases.iter().map(count).sum()
}

#[test]
fn everything_comes_back_from_redis_7_without_a_disk() {
    comes_back("redis", "repl-diskless-sync yes\n");
}

#[test]
fn everything_comes_back_from_redis_7_by_way_of_its_disk() {
    comes_back("redis", "repl-diskless-sync no\n");
}

#[test]
fn everything_comes_back_from_redis_6() {
    comes_back("redis-6", "repl-diskless-sync yes\n");
}

#[test]
fn everything_comes_back_from_redis_8() {
    comes_back("redis-8", "");
}

#[test]
fn everything_comes_back_from_valkey_9() {
    comes_back("valkey-9", "");
}

#[test]
fn what_is_stored_opens_with_age_and_zstd_alone() {
    let program = Program::named("redis");
    let server = Redis::start(&program, "");
    fill(&server);
    let portrait = server.client().portrait();
    let keys = Site::new(&server.url(), "");
    let key = keys.scratch.path().join("key");
    let made = Command::new("age-keygen").arg("-o").arg(&key).output().expect("run age-keygen");
    let recipient = String::from_utf8_lossy(&made.stderr).trim().trim_start_matches("Public key: ").to_owned();
    let site = Site::with(&server.url(), "", &format!("[encryption]\nrecipients = [\"{recipient}\"]"));
    site.backup();
    let sealed = site.json(&["verify"]);
    assert!(sealed["sound"] == true && sealed.to_string().contains("no identity is at hand"), "{sealed}");
    let mut restored = Redis::stopped(&program, "");
    let file = restored.directory().join("dump.rdb");
    let page = include_str!("../../docs/hand-recovery.md");
    let step = page.lines().find(|line| line.contains("dump.rdb") && line.contains("age -d")).expect("the page has the step");
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-euc", step]).env("IDENTITY", &key).env("TARGET", restored.directory());
    let output = shell.current_dir(site.object().parent().expect("a folder")).output().expect("run bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(program.check(&file).contains("Checksum OK"));
    restored.restart();
    assert_eq!(restored.client().portrait(), portrait);
    let found = Command::new("grep").args(["-r", "-a", "-l", "a long name"]).arg(site.scratch.path().join("repository")).output();
    assert_eq!(String::from_utf8_lossy(&found.expect("run grep").stdout), "");
}

#[test]
fn a_server_without_a_checksum_is_spoken_of() {
    let server = Redis::start(&Program::named("redis"), "rdbchecksum no\n");
    server.ask(&["SET", "a", "1"]);
    let site = Site::new(&server.url(), "");
    let taken = site.backup();
    assert!(taken["remarks"].to_string().contains("writes no checksum"), "{taken}");
    let verified = site.json(&["verify"]);
    assert!(verified.to_string().contains("it has no checksum"), "{verified}");
}

#[test]
fn an_empty_server_has_a_backup_and_a_missing_scratch_server_is_spoken_of() {
    let server = Redis::start(&Program::named("valkey-9"), "");
    let site = Site::new(&server.url(), "");
    let taken = site.backup();
    assert_eq!((taken["keys"].as_u64(), taken["databases"].as_u64()), (Some(0), Some(0)), "{taken}");
    let verified = site.json(&["verify"]);
    assert!(verified["sound"] == true && verified.to_string().contains("neither redis-server nor valkey-server"), "{verified}");
    site.install(&Program::named("redis-6"));
    let verified = site.json(&["verify"]);
    assert!(verified["sound"] == true && verified.to_string().contains("was not loaded into a server"), "{verified}");
    let check = site.json(&["check"]);
    assert!(check.to_string().contains("valkey 9."), "{check}");
}

#[test]
fn a_file_belongs_to_whom_it_belonged_to() {
    let server = Redis::start(&Program::named("redis"), "");
    let site = Site::new(&server.url(), "");
    site.backup();
    let folder = site.scratch.new_directory("data");
    let to = folder.display().to_string();
    site.run(&["restore", "redis/cache", "--to", &to]);
    let (made, around) = (fs::metadata(folder.join("dump.rdb")).expect("a file"), fs::metadata(&folder).expect("a folder"));
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (around.uid(), around.gid(), 0o640));
}
