//! What cannot be backed up or restored is said plainly, and leaves nothing behind.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use pg_fixtures::{ServerUser, poll};

use super::site::{Site, mode};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn what_may_not_be_read_is_named_and_the_backup_is_not_listed() {
    let site = Site::new("");
    site.write("open", "o");
    mode(&site.write("closed", "c"), 0o000);
    mode(site.write("locked/inner", "i").parent().expect("a folder"), 0o000);
    ServerUser::current().own_all(site.scratch.path());
    let arguments = ["backup", "files/tree"];
    let program = ServerUser::current().reachable(env!("CARGO_BIN_EXE_holdfast").as_ref());
    let mut command = ServerUser::current().command(&program);
    let output =
        command.args(arguments).env("HOLDFAST_CONFIG", site.scratch.path().join("holdfast.toml")).output().expect("run it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("closed (") && said.contains("locked ("), "{said}");
    assert!(said.contains("not listed") && said.contains("exclude"), "{said}");
    assert_eq!((site.listed(), site.stored()), (0, vec![]));
    // It is said before a backup fails at it, too.
    let mut check = ServerUser::current().command(&program);
    let check = check.args(["check", "files/tree"]).env("HOLDFAST_CONFIG", site.scratch.path().join("holdfast.toml"));
    let checked = String::from_utf8_lossy(&check.output().expect("run it").stdout).into_owned();
    assert!(checked.contains("closed (") && checked.contains("locked ("), "{checked}");
    mode(&site.tree.join("locked"), 0o700);
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let site = Site::new("");
    fs::remove_dir(&site.tree).expect("remove the tree");
    let said = site.refusal(&["backup", "files/tree"]);
    assert!(said.contains(&site.tree.display().to_string()) && said.contains("No such file"), "{said}");
    assert_eq!(site.listed(), 0);
}

#[test]
fn a_killed_backup_is_not_listed_and_the_next_one_is_whole() {
    let site = Site::new("");
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for number in 0..8 {
        let noise = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        site.write(&format!("noise-{number}"), (0..2 << 20).flat_map(noise).collect::<Vec<u8>>());
    }
    let mut backup =
        site.command(&["backup", "files/tree"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a backup");
    let drafts = site.scratch.path().join("repository");
    let begun = || {
        super::site::below(&drafts).iter().any(|path| fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 1 << 20))
    };
    poll::until(DEADLINE, "a part is stored", begun);
    backup.kill().expect("kill the backup");
    backup.wait().expect("wait for it");
    assert_eq!(site.listed(), 0);
    site.backup();
    assert_eq!((site.listed(), site.json(&["verify"])["sound"].clone()), (1, true.into()));
}

#[test]
fn options_of_another_kind_are_refused() {
    let site = Site::new("");
    site.backup();
    let output = site.try_run(&["restore", "files/tree", "--to", "/tmp/x", "--target-lsn", "0/1"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(site.try_run(&["backup", "files/tree", "--label", "x"]).status.code(), Some(2));
}

#[test]
fn a_damaged_entry_keeps_retention_from_its_own_resource_alone() {
    let site = Site::new("");
    let other = site.scratch.new_directory("other");
    site.configure(&format!("keep = {{ last = 1 }}\n[files.other]\npaths = [\"{}\"]\nkeep = {{ last = 1 }}", other.display()));
    for content in ["1", "2"] {
        site.write("file", content);
        site.backup();
        fs::write(other.join("file"), content).expect("write a file");
        site.run(&["backup", "files/other"]);
    }
    let entries = || super::site::below(&site.scratch.path().join("repository/files/other/backups"));
    let damaged = entries().into_iter().find(|path| path.is_file()).expect("an entry");
    fs::write(&damaged, "{ damaged").expect("damage it");
    let stored = super::site::below(&site.scratch.path().join("repository/files/other/data"));
    let output = site.try_run(&["expire"]);
    let (said, shown) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let name = damaged.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not applied to files/other") && said.contains(&name) && said.contains("hint:"), "{said}");
    assert!(shown.contains("removed 1 backup(s)") && shown.contains("files/other\n  NOT APPLIED"), "{shown}");
    assert_eq!(entries().into_iter().filter(|path| path.is_file()).count(), 2, "nothing of it was touched");
    assert_eq!(super::site::below(&site.scratch.path().join("repository/files/other/data")), stored);
}
