//! Retention: content that a kept backup needs stays, whoever has stored it; what none needs goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pg_fixtures::dice::Dice;
use pg_fixtures::poll;

use super::site::{Site, content, files_below};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn content_stays_as_long_as_a_kept_backup_needs_it() {
    let site = Site::with("keep = { last = 1 }", "");
    for number in 0..5 {
        site.put(&format!("{number}"), content(number, 1000));
    }
    site.backup();
    site.put("5", content(5, 1000));
    site.backup();
    site.put("5", content(50, 1000));
    site.backup();
    assert_eq!((site.listed(), site.packs()), (3, 3));
    let plan = site.json(&["expire", "bucket/data", "--dry-run"]).to_string();
    assert_eq!((site.listed(), site.packs()), (3, 3));
    let before = site.bytes();
    site.run(&["expire", "bucket/data"]);
    // The pack of the first is needed by the third; that of the second is not.
    assert_eq!((site.listed(), site.packs()), (1, 2));
    let freed = before - site.bytes();
    assert!(plan.contains(&format!("\"freed_bytes\":{freed}")), "{freed} bytes were freed, and planned was: {plan}");
    assert_eq!(site.json(&["verify"])["sound"], true);
    site.run(&["restore", "bucket/data", "--to", &format!("s3://{}", site.other)]);
    assert_eq!(site.portrait(&site.other), site.portrait(&site.source));
    // When nothing refers to it any more it goes, though its backup is long off the catalog.
    for number in 0..6 {
        site.put(&format!("{number}"), content(100 + number, 1000));
    }
    site.backup();
    site.run(&["expire", "bucket/data"]);
    assert_eq!((site.listed(), site.packs()), (1, 1));
    assert_eq!(site.json(&["verify"])["sound"], true);
}

#[test]
fn what_a_running_backup_refers_to_is_not_removed_under_it() {
    let site = Site::with("keep = { last = 1 }", "");
    site.put("x", content(1, 1000));
    site.put("y", content(2, 1000));
    site.backup();
    // It has found 'x' as it was, and waits a moment before it is listed.
    let mut slow = site.command(&["backup", "bucket/data"]);
    let slow = slow
        .env("HOLDFAST_FAIL_POINTS", "put.before bucket/data/backups/ 0 wait:4000")
        .stdout(Stdio::null())
        .spawn()
        .expect("run the program");
    let waits = || site.stored().iter().filter(|path| path.ends_with("listing.jsonl.zst")).count() == 2;
    poll::until(DEADLINE, "the slow backup has stored its listing", waits);
    site.put("x", content(3, 1000));
    site.put("y", content(4, 1000));
    site.backup();
    site.run(&["expire", "bucket/data"]);
    assert_eq!(site.listed(), 1, "the first backup should be off the catalog");
    let ended = slow.wait_with_output().expect("wait for the slow backup");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(site.listed(), 2);
    assert_eq!(site.json(&["verify"])["sound"], true);
}

/// What each backup must bring back.
type Expected = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

#[test]
fn whatever_is_killed_the_kept_backups_are_whole_and_the_rest_goes() {
    let mut dice = Dice::new();
    let site = Site::with("keep = { last = 2 }", "");
    // A short lease, so that what a killed process held is soon free.
    let root = site.scratch.path().display().to_string();
    site.configure("keep = { last = 2 }", &format!("[repository]\nurl = \"file://{root}/repository\"\nlease = \"1s\"\n"));
    let (mut source, mut expected) = (BTreeMap::new(), Expected::new());
    for round in 0..12 {
        for _ in 0..3 {
            let (key, seed) = (format!("key {}", dice.below(12)), dice.below(40));
            let size = 100 + dice.choose(4000);
            site.put(&key, content(seed, size));
            source.insert(key, content(seed, size));
        }
        let arguments = if round % 3 == 2 { ["expire", "bucket/data"] } else { ["backup", "bucket/data"] };
        let rule = format!("any any {} kill", dice.below(30));
        let mut command = site.command(&arguments);
        if dice.below(3) > 0 {
            command.env("HOLDFAST_FAIL_POINTS", rule);
        }
        command.output().expect("run the program");
        for id in ids(&site) {
            expected.entry(id).or_insert_with(|| source.clone());
        }
        assert_eq!(site.json(&["verify"])["sound"], true, "round {round}");
    }
    // The last ones run to their end, and then nothing is there that no listed backup needs.
    site.backup();
    expected.extend(ids(&site).pop().map(|id| (id, source.clone())));
    // What killed processes held is in the way for a moment; and where nearly everything was killed there may be but one.
    let wanted = expected.len().min(2);
    let clean = || {
        let expired = site.try_run(&["expire", "bucket/data"]).status.success();
        expired && ids(&site).len() == wanted && needed(&site) == stored(&site)
    };
    poll::until(DEADLINE, "what is not needed is removed", clean);
    let ids = ids(&site);
    for id in ids {
        let to = site.scratch.path().join(&id);
        site.run(&["restore", "bucket/data", "--backup", &id, "--to", &to.display().to_string()]);
        let read = |path: PathBuf| (name(&path), fs::read(&path).expect("a file"));
        let restored: BTreeMap<String, Vec<u8>> = files_below(&to).into_iter().map(read).collect();
        assert!(restored == expected[&id], "{id} does not bring back what there was");
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// The listed backups, the oldest first.
fn ids(site: &Site) -> Vec<String> {
    let backups = site.json(&["backups"]);
    let ids = backups["backups"].as_array().expect("a list").iter();
    ids.map(|backup| backup["id"].as_str().expect("an id").to_owned()).collect()
}

/// What the catalog says that backups need, with the frame indexes, as `ID/NAME`.
fn needed(site: &Site) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for path in files_below(&site.scratch.path().join("repository/bucket/data/backups")) {
        let entry: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("an entry")).expect("JSON");
        let own = [(&entry["id"], &entry["objects"])];
        let kept = entry["bucket"]["kept"].as_array().expect("a list").iter().map(|kept| (&kept["backup"], &kept["objects"]));
        for (id, objects) in own.into_iter().chain(kept) {
            for object in objects.as_array().expect("a list") {
                let name = format!("{}/{}", id.as_str().expect("an id"), object["name"].as_str().expect("a name"));
                needed.insert(format!("{}.frames", name.trim_end_matches(".frames")));
                needed.insert(name);
            }
        }
    }
    needed
}

/// What is there.
fn stored(site: &Site) -> BTreeSet<String> {
    let folder = |path: &PathBuf| name(path.parent().expect("a folder"));
    site.stored().iter().map(|path| format!("{}/{}", folder(path), name(path))).collect()
}
