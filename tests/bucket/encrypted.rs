//! Encrypted: nothing to be seen, opened by public tools, and what an agent without a key does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::site::{Site, content};

const PAGE: &str = include_str!("../../docs/hand-recovery.md");

/// A key of its own, and the lines that encrypt to it.
fn key(site: &Site) -> (PathBuf, String) {
    let key = site.scratch.path().join("key");
    let made = Command::new("age-keygen").arg("-o").arg(&key).output().expect("run age-keygen");
    let recipient = String::from_utf8_lossy(&made.stderr).trim().trim_start_matches("Public key: ").to_owned();
    (key, format!("[encryption]\nrecipients = [\"{recipient}\"]\n"))
}

fn reader(key: &std::path::Path, writer: &str) -> String {
    format!("{writer}identity_file = \"{}\"\n", key.display())
}

/// A bucket of which two backups were taken: one object is in a pack of the first, one in one of the second.
fn twice(site: &Site) -> [String; 2] {
    site.put("secret/passwd.txt", "marshall-island");
    site.put("empty", "");
    let first = site.backup();
    site.put("later", content(1, 100_000));
    let second = site.backup();
    assert_eq!(second["read_objects"], 1);
    [first, second].map(|taken| taken["id"].as_str().expect("an id").to_owned())
}

/// The page's steps for buckets.
fn steps() -> String {
    let section = PAGE.split_once("## Buckets").expect("the section is there").1;
    let section = section.split_once("\n## ").expect("another section follows").0;
    section.split("```bash\n").skip(1).map(|rest| rest.split_once("```").expect("a block ends").0).collect()
}

#[test]
fn the_page_brings_back_objects_and_nothing_lies_in_the_clear() {
    let site = Site::new();
    let (key, writer) = key(&site);
    site.configure("", &reader(&key, &writer));
    // Both may be of the same second, and then the newest is not the last by name.
    let [_, backup] = twice(&site);
    let repository = site.scratch.path().join("repository");
    for words in ["marshall", "passwd"] {
        let found = Command::new("grep").args(["-r", "-a", "-l", words]).arg(&repository).output().expect("run grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{words}");
    }
    for (object, expected) in
        [("secret/passwd.txt", b"marshall-island".to_vec()), ("empty", vec![]), ("later", content(1, 100_000))]
    {
        let files = site.scratch.path().join("files");
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &steps()])
            .env("NAME", "data")
            .env("KEY", object)
            .env("FILES", &files)
            .env("BACKUP", &backup);
        let output = shell.env("REPOSITORY", &repository).env("IDENTITY", &key).output().expect("run the steps");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fs::read(files.join("object")).expect("the object") == expected, "{object}");
    }
}

#[test]
fn an_agent_without_a_key_stores_everything_again_and_says_so() {
    let site = Site::new();
    let (key, writer) = key(&site);
    site.configure("", &writer);
    site.put("a", content(1, 1000));
    site.backup();
    let second = site.backup();
    assert_eq!(second["read_objects"], 1);
    assert!(second["remarks"].to_string().contains("every object was read and stored again"), "{second}");
    // It cannot look into what it has stored, and can still compare it.
    let verified = site.json(&["verify"]);
    assert_eq!(verified["sound"], true, "{verified}");
    assert!(verified.to_string().contains("no identity is at hand"), "{verified}");
    site.configure("", &reader(&key, &writer));
    assert_eq!(site.backup()["read_objects"], 0);
    let verified = site.json(&["verify"]);
    assert!(verified["sound"] == true && verified.to_string().contains("the content of each is there"), "{verified}");
}

#[test]
fn damage_is_found_wherever_it_is() {
    let site = Site::new();
    let [first, _] = twice(&site);
    // Its pack is needed by the second.
    let of_first = |name: &str| {
        let path = site.scratch.path().join("repository/bucket/data/data").join(&first).join(name);
        path.exists().then_some(path).expect("an object of that name")
    };
    for name in ["listing.jsonl.zst", "content-000001.tar.zst", "content-000001.tar.zst.frames"] {
        let path = of_first(name);
        let sound = fs::read(&path).expect("an object");
        let mut altered = sound.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        fs::write(&path, altered).expect("damage it");
        let report = site.try_run(&["verify", "--output", "json"]);
        let text = String::from_utf8_lossy(&report.stdout).into_owned();
        assert_eq!(report.status.code(), Some(1), "{name}: {text}");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let damaged = |backup: &serde_json::Value| !backup["damage"].as_array().expect("a list").is_empty();
        let count = report["backups"].as_array().expect("a list").iter().filter(|backup| damaged(backup)).count();
        assert_eq!(count, if name.starts_with("listing") { 1 } else { 2 }, "{name}: {report}");
        fs::write(&path, sound).expect("make it sound again");
    }
    // A pack that is gone is noticed by the next backup, which reads what was in it.
    fs::remove_file(of_first("content-000001.tar.zst")).expect("remove a pack");
    assert_eq!(site.backup()["read_objects"], 1);
    site.run(&["restore", "bucket/data", "--to", &format!("s3://{}", site.other)]);
    assert_eq!(site.portrait(&site.other), site.portrait(&site.source));
}
