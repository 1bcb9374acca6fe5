//! Restores of parts, to other places, in place.

use std::fs;
use std::os::unix::fs::symlink;

use pg_fixtures::proxy::Proxy;
use pg_fixtures::s3::SeaweedFs;
use tokio::runtime::Runtime;

use super::site::{Site, client, content, files_below};

#[test]
fn a_prefix_or_a_key_comes_back_alone() {
    let site = Site::new();
    for key in ["a/1", "a/2", "ab", "b"] {
        site.put(key, key);
    }
    site.backup();
    let to = format!("s3://{}", site.other);
    site.run(&["restore", "bucket/data", "--to", &to, "--key", "ab"]);
    assert_eq!(site.keys(&site.other), ["ab"]);
    site.put_into(&site.other, "a/3", "extra");
    site.put_into(&site.other, "c", "not asked for");
    site.run(&["restore", "bucket/data", "--to", &to, "--prefix", "a/", "--delete-extra", "--apply"]);
    let mut keys = site.keys(&site.other);
    keys.sort();
    assert_eq!(keys, ["a/1", "a/2", "ab", "c"]);
}

#[test]
fn nothing_that_is_there_is_changed_without_a_word() {
    let site = Site::new();
    for key in ["same", "changed", "gone"] {
        site.put(key, key);
    }
    site.backup();
    site.put("changed", "later");
    site.put("new", "later");
    site.delete("gone");
    let before = site.portrait(&site.source);
    let plan = site.json(&["restore", "bucket/data"]);
    assert_eq!(plan["restored"], false);
    let counts = ["create", "overwrite", "right", "extra"].map(|what| plan["plan"]["difference"][what]["objects"].as_u64());
    assert_eq!(counts, [Some(1); 4], "{plan}");
    assert_eq!(
        (&plan["plan"]["difference"]["overwrite_keys"][0], &plan["plan"]["difference"]["extra_keys"][0]),
        (&"changed".into(), &"new".into())
    );
    let shown = site.run(&["restore", "bucket/data", "--delete-extra"]);
    assert!(shown.contains("REMOVED\n    new") && shown.contains("\n    changed\n"), "what would be lost is named: {shown}");
    assert!(site.run(&["restore", "bucket/data"]).contains("add --apply to do this"));
    assert_eq!(site.portrait(&site.source), before);
    site.run(&["restore", "bucket/data", "--apply"]);
    let after = site.portrait(&site.source);
    assert_eq!(after.keys().collect::<Vec<_>>(), ["changed", "gone", "new", "same"]);
    assert_eq!(after["changed"].0, blake3::hash(b"changed"));
    site.run(&["restore", "bucket/data", "--apply", "--delete-extra"]);
    assert_eq!(site.keys(&site.source), ["changed", "gone", "same"]);
}

#[test]
fn what_comes_or_changes_while_a_restore_runs_is_left_and_spoken_of() {
    let site = Site::new();
    for key in ["changed", "gone", "other"] {
        site.put(key, key);
    }
    site.backup();
    for key in ["changed", "other", "extra", "further"] {
        site.put(key, "later");
    }
    site.delete("gone");
    let proxy = Proxy::to(Site::port());
    let bucket = site.source.clone();
    proxy.watch(move |line| {
        // The last look before each of them is written or removed.
        for key in ["changed", "gone", "extra"].iter().filter(|key| line.starts_with("HEAD ") && line.contains(**key)) {
            let put = client().put_object().bucket(&bucket).key(*key).body(b"somebody works on it".to_vec().into());
            Runtime::new().expect("a runtime").block_on(put.send()).expect("put it");
        }
    });
    site.configure_as(SeaweedFs::ACCESS_KEY_ID, &format!("s3://{}", site.source), &proxy.endpoint(), "", "");
    let output = site.try_run(&["restore", "bucket/data", "--apply", "--delete-extra"]);
    drop(proxy);
    let [said, why] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(1), "{said}{why}");
    assert!(why.contains("is not restored completely") && why.contains("left as it is, 3 objects"), "{why}");
    assert!(said.contains("left 3 object(s)") && said.contains("changed or come since the plan was made"), "{said}");
    assert!(said.contains("restored 1 object(s)") && said.contains("1 were removed"), "{said}");
    let there = site.portrait(&site.source);
    assert_eq!(there.keys().collect::<Vec<_>>(), ["changed", "extra", "gone", "other"]);
    for key in ["changed", "extra", "gone"] {
        assert_eq!(there[key].0, blake3::hash(b"somebody works on it"), "{key}");
    }
    assert_eq!(there["other"].0, blake3::hash(b"other"));
}

#[test]
fn what_a_backup_left_out_is_not_removed_by_its_restore_though_it_is_left_out_no_more() {
    let site = Site::with("exclude = [\"*.tmp\"]", "");
    for key in ["a", "work.tmp"] {
        site.put(key, key);
    }
    site.backup();
    site.configure("", "");
    site.put("extra", "later");
    let plan = site.json(&["restore", "bucket/data", "--delete-extra"]);
    let difference = &plan["plan"]["difference"];
    assert_eq!(difference["left_out_then"], serde_json::json!(["'*.tmp'"]), "{plan}");
    assert_eq!(difference["extra_keys"], serde_json::json!(["extra"]), "{plan}");
    // As entries were before that was recorded: what stands in one without a hash of itself is taken as it is.
    let path = files_below(&site.scratch.path().join("repository/bucket/data/backups")).remove(0);
    let recorded = fs::read(&path).expect("an entry");
    let mut entry: serde_json::Value = serde_json::from_slice(&recorded).expect("JSON");
    entry.as_object_mut().expect("an entry").remove("check").expect("the hash");
    entry["bucket"].as_object_mut().expect("what buckets have").remove("exclusions").expect("what was left out");
    fs::write(&path, entry.to_string()).expect("write the entry");
    let said = site.refusal(&["restore", "bucket/data", "--delete-extra", "--apply"]);
    assert!(said.contains("does not record what the configuration left out"), "{said}");
    fs::write(&path, recorded).expect("write the entry");
    let shown = site.run(&["restore", "bucket/data", "--delete-extra", "--dry-run"]);
    assert!(shown.contains("'*.tmp' was left out when the backup was taken"), "{shown}");
    site.run(&["restore", "bucket/data", "--delete-extra", "--apply"]);
    assert_eq!(site.keys(&site.source), ["a", "work.tmp"]);
}

#[test]
fn a_part_of_a_bucket_is_a_source_too() {
    let site = Site::new();
    for key in ["in/a", "in/b/c", "into", "out"] {
        site.put(key, key);
    }
    site.configure_as("holdfast", &format!("s3://{}/in", site.source), &Site::endpoint(), "", "");
    assert_eq!(site.backup()["objects"], 2);
    site.run(&["restore", "bucket/data", "--to", &format!("s3://{}/x", site.other)]);
    let mut keys = site.keys(&site.other);
    keys.sort();
    assert_eq!(keys, ["x/a", "x/b/c"]);
}

#[test]
fn a_directory_gets_the_files_and_nothing_lands_outside() {
    let site = Site::new();
    let large = content(1, 5 << 20);
    site.put("large", large.clone());
    for key in ["a", "b/c", "50%", "größe/x y"] {
        site.put(key, key);
    }
    site.backup();
    let to = site.scratch.path().join("target");
    let target = to.display().to_string();
    let restored = site.json(&["restore", "bucket/data", "--to", &target]);
    assert_eq!(restored["result"]["written"]["objects"], 5, "{restored}");
    assert_eq!(fs::read(to.join("large")).expect("a file"), large);
    assert_eq!(fs::read(to.join("50%25")).expect("a file"), b"50%");
    assert_eq!(fs::read(to.join("größe/x y")).expect("a file"), "größe/x y".as_bytes());
    assert_eq!(files_below(&to).len(), 5);
    // What is right is left alone; what differs waits for a word.
    fs::write(to.join("a"), "b").expect("change a file");
    fs::write(to.join("extra"), "b").expect("add a file");
    let plan = site.json(&["restore", "bucket/data", "--to", &target]);
    assert_eq!((&plan["restored"], &plan["plan"]["difference"]["right"]["objects"]), (&false.into(), &4.into()), "{plan}");
    site.run(&["restore", "bucket/data", "--to", &target, "--apply", "--delete-extra"]);
    assert_eq!((fs::read(to.join("a")).expect("a file").as_slice(), to.join("extra").exists()), (b"a".as_slice(), false));
    // A link in the way is not followed.
    let elsewhere = site.scratch.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::remove_dir_all(to.join("b")).expect("remove a folder");
    symlink(&elsewhere, to.join("b")).expect("a link");
    let said = site.refusal(&["restore", "bucket/data", "--to", &target, "--apply"]);
    assert!(said.contains("is in the way: it is not a directory"), "{said}");
    assert_eq!(files_below(&elsewhere).len(), 0);
}
