//! Restores: the difference first, then file by file, and never anywhere else.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pg_fixtures::{ServerUser, poll};

use super::site::{Site, below, mode, output, portrait};

#[test]
fn a_restore_in_place_shows_the_difference_and_changes_nothing_before_it_is_told_to() {
    let site = Site::new("");
    let changed = site.write("changed.conf", "one\ntwo\nthree\n");
    let gone = site.write("gone.conf", "gone");
    let open = site.write("mode", "m");
    mode(&open, 0o640);
    site.write("same", "same");
    site.backup();
    let before = portrait(&site.tree);
    fs::write(&changed, "one\n2\nthree\n").expect("change a file");
    fs::remove_file(&gone).expect("remove a file");
    mode(&open, 0o666);
    let new = site.write("new/file", "new");
    let after = portrait(&site.tree);
    let shown = site.run(&["restore", "files/tree"]);
    for part in [
        "changed.conf (content, time)",
        "-2\n",
        "+two\n",
        "gone.conf\n",
        "(mode 0666 -> 0640)",
        "not in the backup: stays",
        "add --apply",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(portrait(&site.tree), after, "nothing was changed");
    let inode = fs::metadata(site.tree.join("same")).expect("a file").ino();
    site.run(&["restore", "files/tree", "--apply"]);
    assert_eq!(fs::read_to_string(&new).expect("what the backup does not have stays"), "new");
    assert_eq!(fs::metadata(site.tree.join("same")).expect("a file").ino(), inode, "what is the same is left alone");
    site.run(&["restore", "files/tree", "--apply", "--delete-extra"]);
    assert_eq!(portrait(&site.tree), before);
    assert!(!below(&site.tree).iter().any(|path| path.to_string_lossy().contains(".holdfast")), "no draft is left");
    let nothing = site.run(&["restore", "files/tree"]);
    assert!(nothing.contains("0 to add, 0 to change"), "{nothing}");
    // Pipes and sockets are in no backup, so that their absence from it says nothing.
    let pipe = site.tree.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("make a pipe");
    site.run(&["restore", "files/tree", "--apply", "--delete-extra"]);
    assert!(pipe.exists(), "a pipe is left alone");
}

#[test]
fn an_older_backup_and_a_single_file_can_be_restored() {
    let site = Site::new("");
    let (a, b) = (site.write("a", "a1"), site.write("b", "b1"));
    let first = site.backup();
    fs::write(&a, "a2").expect("change a file");
    fs::write(&b, "b2").expect("change a file");
    site.backup();
    let id = first["id"].as_str().expect("an id");
    site.run(&["restore", "files/tree", "--backup", id, "--only", &a.display().to_string(), "--apply"]);
    assert_eq!((fs::read_to_string(&a).expect("a"), fs::read_to_string(&b).expect("b")), ("a1".to_owned(), "b2".to_owned()));
    // That nothing is there is no success of a restore, with one path of two either.
    let never = site.tree.join("never").display().to_string();
    let said = site.refusal(&["restore", "files/tree", "--only", &a.display().to_string(), "--only", &never, "--apply"]);
    assert!(said.contains(&format!("the backup has nothing at {never}")) && said.contains("--backup"), "{said}");
    fs::write(&never, "came later").expect("write a file");
    site.run(&["restore", "files/tree", "--only", &never, "--apply", "--delete-extra"]);
    assert!(!Path::new(&never).exists(), "it was not there when the backup was taken");
}

#[test]
fn folders_on_the_way_to_a_file_are_brought_to_disk() {
    let site = Site::new("");
    let file = site.write("way/deep/file", "content");
    site.backup();
    let (to, tree) = site.target("restored");
    let only = file.display().to_string();
    let restore = ["restore", "files/tree", "--to", to.as_str(), "--only", only.as_str()];
    let mut command = site.command(&restore);
    let failed = command.env("HOLDFAST_FAIL_POINTS", "folder.before way 0 fail").output().expect("run it");
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("way"), "{said}");
    assert!(!tree.join("way/deep").exists(), "nothing is written into a folder whose name is not on disk");
    site.run(&restore);
    assert_eq!(fs::read_to_string(tree.join("way/deep/file")).expect("a file"), "content");
}

#[test]
fn a_slash_at_the_end_of_a_path_or_a_second_one_in_it_means_nothing() {
    let site = Site::new("");
    let configuration = site.scratch.path().join("holdfast.toml");
    let text = fs::read_to_string(&configuration).expect("the configuration").replace("/tree\"]", "//tree/\"]");
    fs::write(&configuration, text).expect("write the configuration");
    let (a, b) = (site.write("sub/a", "a1"), site.write("sub/b", "b1"));
    site.backup();
    let write_both = || [&a, &b].iter().for_each(|path| fs::write(path, "changed").expect("change a file"));
    let folder = site.tree.join("sub").display().to_string();
    for only in [format!("{folder}/"), folder.replace("/sub", "//sub//"), "/".to_owned()] {
        write_both();
        site.run(&["restore", "files/tree", "--only", &only, "--apply"]);
        let now = [&a, &b].map(|path| fs::read_to_string(path).expect("a file"));
        assert_eq!(now, ["a1", "b1"], "{only}");
    }
}

#[test]
fn a_directory_that_holds_what_backups_leave_out_stays_and_everything_else_is_done() {
    let site = Site::new("exclude = [\"*.tmp\"]");
    let kept = site.write("kept/file", "kept");
    mode(kept.parent().expect("a folder"), 0o755);
    site.backup();
    fs::remove_dir_all(kept.parent().expect("a folder")).expect("remove a folder");
    let excluded = site.write("extra/deep/work.tmp", "excluded");
    site.write("extra/deep/gone", "extra");
    site.write("extra/gone/gone", "extra");
    site.write("last", "extra");
    let plan = site.json(&["restore", "files/tree", "--delete-extra"]);
    let occupied = ["extra", "extra/deep"].map(|name| site.tree.join(name).display().to_string());
    assert_eq!(plan["plan"]["difference"]["occupied"], serde_json::json!(occupied), "{plan}");
    let shown = site.run(&["restore", "files/tree", "--delete-extra"]);
    assert!(shown.contains("extra/deep (not in the backup: stays in any case"), "{shown}");
    let said = site.run(&["restore", "files/tree", "--delete-extra", "--apply"]);
    assert!(said.contains("2 written, 4 removed") && said.contains(&format!("left {}", occupied[1])), "{said}");
    let left: Vec<_> = below(&site.tree.join("extra")).into_iter().filter(|path| path.is_file()).collect();
    assert_eq!(left, [excluded]);
    assert!(kept.exists() && !site.tree.join("last").exists());
    assert_eq!(fs::metadata(kept.parent().expect("a folder")).expect("a folder").mode() & 0o7777, 0o755);
}

#[test]
fn what_a_backup_left_out_is_not_removed_by_its_restore_though_it_is_left_out_no_more() {
    let site = Site::new("exclude = [\"*.tmp\"]");
    let (kept, work) = (site.write("kept", "kept"), site.write("work.tmp", "in no backup"));
    site.backup();
    site.configure("");
    let extra = site.write("extra", "extra");
    let plan = site.json(&["restore", "files/tree", "--delete-extra"]);
    let difference = &plan["plan"]["difference"];
    assert_eq!(difference["left_out_then"], serde_json::json!(["'*.tmp'"]), "{plan}");
    assert_eq!(difference["extra"], serde_json::json!([extra.display().to_string()]), "{plan}");
    let shown = site.run(&["restore", "files/tree", "--delete-extra", "--dry-run"]);
    assert!(shown.contains("'*.tmp' was left out when the backup was taken"), "{shown}");
    assert!(site.run(&["restore", "files/tree", "--delete-extra", "--apply"]).contains("1 removed"));
    assert!(kept.exists() && work.exists() && !extra.exists());
}

#[test]
fn what_is_left_out_by_its_whole_path_stays_in_another_directory_too() {
    let site = Site::new("");
    site.configure(&format!("exclude = [\"{}/cache\"]", site.tree.display()));
    site.write("kept", "kept");
    site.backup();
    let (to, tree) = site.target("mirror");
    site.run(&["restore", "files/tree", "--to", &to]);
    fs::create_dir_all(tree.join("cache/deep")).expect("create folders");
    for name in ["cache/own", "cache/deep/own", "extra"] {
        fs::write(tree.join(name), "in no backup").expect("write a file");
    }
    let said = site.run(&["restore", "files/tree", "--to", &to, "--delete-extra", "--apply"]);
    assert!(said.contains("1 removed"), "{said}");
    assert!(tree.join("cache/own").exists() && tree.join("cache/deep/own").exists() && !tree.join("extra").exists());
}

#[test]
fn nothing_is_removed_by_the_restore_of_a_backup_that_does_not_record_what_it_left_out() {
    let site = Site::new("exclude = [\"*.tmp\"]");
    let (kept, work) = (site.write("kept", "kept"), site.write("work.tmp", "in no backup"));
    site.backup();
    // As such entries were: what stands in one without a hash of itself is taken as it is.
    let entries = below(&site.scratch.path().join("repository/files/tree/backups"));
    let mut entry: serde_json::Value = serde_json::from_slice(&fs::read(&entries[0]).expect("an entry")).expect("JSON");
    entry.as_object_mut().expect("an entry").remove("check").expect("the hash");
    entry["files"].as_object_mut().expect("what files have").remove("exclusions").expect("what was left out");
    fs::write(&entries[0], entry.to_string()).expect("write the entry");
    site.configure("");
    fs::remove_file(&kept).expect("remove a file");
    let said = site.refusal(&["restore", "files/tree", "--delete-extra", "--apply"]);
    assert!(
        said.contains("does not record what the configuration left out") && said.contains("without --delete-extra"),
        "{said}"
    );
    assert!(work.exists() && !kept.exists(), "nothing was restored");
    let shown = site.run(&["restore", "files/tree", "--dry-run"]);
    assert!(shown.contains("does not record whether it was left out"), "{shown}");
    site.run(&["restore", "files/tree", "--apply"]);
    assert!(work.exists() && kept.exists());
    // Where nothing is to be removed there is no question.
    fs::remove_file(&work).expect("remove a file");
    site.run(&["restore", "files/tree", "--delete-extra", "--apply"]);
}

#[test]
fn attributes_of_what_its_owner_may_not_write_to_come_back_to_a_user_who_is_not_root() {
    let site = Site::new("");
    let file = site.write("sub/file", "read only");
    let folder = file.parent().expect("a folder").to_owned();
    for path in [&file, &folder] {
        output("setfattr", &["-n", "user.a", "-v", "1", &path.display().to_string()]);
    }
    // Access control lists that let one more user read; both files may be written to by nobody.
    for (path, list) in [
        (&file, "0x0200000001000400ffffffff020004003930000004000400ffffffff10000400ffffffff20000400ffffffff"),
        (&folder, "0x0200000001000500ffffffff020004003930000004000500ffffffff10000500ffffffff20000500ffffffff"),
    ] {
        output("setfattr", &["-n", "system.posix_acl_access", "-v", list, &path.display().to_string()]);
    }
    ServerUser::current().own_all(site.scratch.path());
    let program = ServerUser::current().reachable(env!("CARGO_BIN_EXE_holdfast").as_ref());
    let run = |arguments: &[&str]| {
        let mut command = ServerUser::current().command(&program);
        let output = command.args(arguments).env("HOLDFAST_CONFIG", site.scratch.path().join("holdfast.toml")).output();
        let output = output.expect("run it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["backup", "files/tree"]);
    let before = portrait(&site.tree);
    let (to, tree) = site.target("restored");
    run(&["restore", "files/tree", "--to", &to]);
    assert_eq!(portrait(&tree), before);
    // In place, where the folder is as little open.
    output("setfattr", &["-n", "user.a", "-v", "2", &folder.display().to_string()]);
    run(&["restore", "files/tree", "--apply"]);
    assert_eq!(portrait(&site.tree), before);
}

#[test]
fn no_link_in_the_target_leads_a_restore_elsewhere() {
    let site = Site::new("");
    site.write("sub/file", "from the backup");
    site.backup();
    let outside = site.scratch.new_directory("outside");
    fs::write(outside.join("file"), "outside").expect("write a file");
    fs::remove_dir_all(site.tree.join("sub")).expect("remove a directory");
    symlink(&outside, site.tree.join("sub")).expect("link");
    let shown = site.run(&["restore", "files/tree"]);
    assert!(shown.contains("sub (becomes a directory)"), "{shown}");
    site.run(&["restore", "files/tree", "--apply"]);
    assert_eq!(fs::read_to_string(outside.join("file")).expect("a file"), "outside");
    assert_eq!(fs::read_to_string(site.tree.join("sub/file")).expect("a file"), "from the backup");
    fs::remove_dir_all(site.tree.join("sub")).expect("remove a directory");
    symlink(&outside, site.tree.join("sub")).expect("link");
    let only = site.tree.join("sub/file").display().to_string();
    let said = site.refusal(&["restore", "files/tree", "--apply", "--only", &only]);
    assert!(said.contains("is in the way"), "{said}");
    assert_eq!(fs::read_to_string(outside.join("file")).expect("a file"), "outside");
}

#[test]
fn a_damaged_archive_is_named_before_anything_is_written() {
    let site = Site::new("");
    site.write("a", "a".repeat(100_000));
    site.backup();
    let archive = site.stored().into_iter().find(|path| path.to_string_lossy().ends_with("files.tar.zst")).expect("the archive");
    let mut bytes = fs::read(&archive).expect("an object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).expect("write an object");
    let (to, tree) = site.target("restored");
    let said = site.refusal(&["restore", "files/tree", "--to", &to]);
    assert!(said.contains("files.tar.zst"), "{said}");
    assert!(!tree.exists());
    let output = site.try_run(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("files.tar.zst"));
}

/// A plan that was killed has left its lease: so one that is being made has it too.
#[test]
fn a_backup_of_which_a_restore_is_planned_is_left_alone_by_retention() {
    let site = Site::new("keep = { last = 1 }");
    let file = site.write("file", "first");
    let first = site.backup()["id"].as_str().expect("an id").to_owned();
    fs::write(&file, "second").expect("change a file");
    site.backup();
    let mut plan = site.command(&["restore", "files/tree", "--backup", &first, "--dry-run"]);
    let killed = plan.env("HOLDFAST_FAIL_POINTS", "get.before /data/ 0 kill").output().expect("run it");
    assert!(!killed.status.success() && killed.stdout.is_empty(), "{killed:?}");
    site.run(&["expire", "files/tree"]);
    assert_eq!(site.listed(), 2, "what a restore is planned of was removed");
    assert!(site.run(&["restore", "files/tree", "--backup", &first]).contains("file (content"));
}

#[test]
fn what_came_to_the_paths_after_a_backup_is_not_removed_by_its_restore() {
    let site = Site::new("");
    let (inner, tree) = (site.tree.join("inner"), site.tree.display().to_string());
    site.write("inner/kept", "kept");
    let beside = site.write("beside", "never backed up");
    let added = site.scratch.new_directory("added").join("file");
    fs::write(&added, "never backed up").expect("write a file");
    let root = site.scratch.path().display();
    let paths = |paths: &str| {
        let text = format!("[repository]\nurl = \"file://{root}/repository\"\n[files.tree]\npaths = [{paths}]\n");
        fs::write(site.configuration(), text).expect("write the configuration");
    };
    paths(&format!("\"{}\"", inner.display()));
    site.backup();
    // One path is new, and one was widened.
    paths(&format!("\"{tree}\", \"{root}/added\""));
    let extra = site.write("inner/extra", "extra");
    let plan = site.json(&["restore", "files/tree", "--delete-extra"]);
    let difference = &plan["plan"]["difference"];
    assert_eq!(difference["beyond"], serde_json::json!([tree, format!("{root}/added")]), "{plan}");
    assert_eq!(difference["extra"], serde_json::json!([extra.display().to_string()]), "{plan}");
    let shown = site.run(&["restore", "files/tree", "--delete-extra", "--apply"]);
    assert!(shown.contains("1 removed"), "{shown}");
    assert!(beside.exists() && added.exists() && !extra.exists(), "{shown}");
    let only = added.display().to_string();
    let said = site.refusal(&["restore", "files/tree", "--only", &only, "--delete-extra", "--apply"]);
    assert!(said.contains("the backup has nothing at") && added.exists(), "{said}");
}

#[test]
fn a_directory_where_the_backup_has_a_file_gives_way_when_all_that_is_in_it_may_go() {
    let site = Site::new("exclude = [\"*.tmp\"]");
    let (file, other) = (site.write("file", "file"), site.write("other", "other"));
    site.backup();
    fs::remove_file(&file).and_then(|()| fs::write(&other, "changed")).expect("change the tree");
    let inner = site.write("file/deep/inner", "extra");
    let said = site.refusal(&["restore", "files/tree", "--apply"]);
    assert!(said.contains("file is a directory that is not empty") && said.contains("--delete-extra"), "{said}");
    assert!(inner.exists() && fs::read_to_string(&other).expect("a file") == "changed", "nothing was restored");
    let excluded = site.write("file/deep/work.tmp", "excluded");
    let shown = site.run(&["restore", "files/tree", "--delete-extra"]);
    assert!(shown.contains("file (cannot be replaced"), "{shown}");
    site.refusal(&["restore", "files/tree", "--delete-extra", "--apply"]);
    assert!(inner.exists() && excluded.exists());
    fs::remove_file(excluded).expect("remove a file");
    let said = site.run(&["restore", "files/tree", "--delete-extra", "--apply"]);
    assert!(said.contains("2 removed"), "{said}");
    let now = [&file, &other].map(|path| fs::read_to_string(path).expect("a file"));
    assert_eq!(now, ["file", "other"]);
}

#[test]
fn what_has_changed_since_the_plan_is_left_and_spoken_of() {
    let site = Site::new("");
    let [file, other] = ["file", "other"].map(|name| site.write(name, "as it was"));
    // A further name of what is left would be one of what the backup does not have.
    let further = site.tree.join("further");
    fs::hard_link(&file, &further).expect("link");
    site.backup();
    fs::remove_file(&further).expect("remove a file");
    [&file, &other, &further].iter().for_each(|path| fs::write(path, "changed").expect("change a file"));
    let mut restore = site.command(&["restore", "files/tree", "--apply"]);
    restore.env("HOLDFAST_FAIL_POINTS", "name.before tree/file 0 wait:3000").stdout(Stdio::piped()).stderr(Stdio::piped());
    let restore = restore.spawn().expect("run it");
    let has_draft = || below(&site.tree).iter().any(|path| path.to_string_lossy().contains(".holdfast-"));
    poll::until(Duration::from_secs(30), "it is about to be replaced", has_draft);
    fs::write(&file, "somebody works on it").expect("change a file");
    let output = restore.wait_with_output().expect("wait for it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}{why}");
    assert!(said.contains("file: it has changed since the plan was made") && said.contains("1 written"), "{said}");
    assert!(why.contains("is not restored completely") && why.contains("2 paths"), "{why}");
    let now = [&file, &further, &other].map(|path| fs::read_to_string(path).expect("a file"));
    assert_eq!(now, ["somebody works on it", "changed", "as it was"]);
    assert!(!has_draft());
}

#[test]
fn what_a_killed_restore_has_left_is_removed_by_the_next_one() {
    let site = Site::new("");
    let file = site.write("file", "as it was");
    site.backup();
    fs::write(&file, "changed").expect("change a file");
    let mut restore = site.command(&["restore", "files/tree", "--apply"]);
    let killed = restore.env("HOLDFAST_FAIL_POINTS", "name.before tree/file 0 kill").output().expect("run it");
    assert!(!killed.status.success(), "{killed:?}");
    let drafts = || below(&site.tree).into_iter().filter(|path| path.to_string_lossy().contains(".holdfast-")).count();
    assert_eq!((drafts(), fs::read_to_string(&file).expect("a file").as_str()), (1, "changed"));
    let shown = site.run(&["restore", "files/tree"]);
    assert!(shown.contains("left by a restore that was killed: will be removed"), "{shown}");
    site.run(&["restore", "files/tree", "--apply"]);
    assert_eq!((drafts(), fs::read_to_string(&file).expect("a file").as_str()), (0, "as it was"));
}
