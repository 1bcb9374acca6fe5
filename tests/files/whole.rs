//! Everything that a tree can have goes in and comes back.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::site::{Site, mode, output, portrait};

/// A tree with all that a file system has.
fn furnish(site: &Site) {
    site.write("plain.conf", "a = 1\n");
    mode(&site.write("secret", "s3cret"), 0o600);
    mode(&site.write("bin/tool", "#!/bin/sh\n"), 0o4755);
    site.write("empty", "");
    site.write(
        "large",
        (0..9_000_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap_or(0)).collect::<Vec<u8>>(),
    );
    fs::create_dir(site.tree.join("hollow")).expect("create a directory");
    mode(&site.tree.join("hollow"), 0o1777);
    let name = std::ffi::OsStr::from_bytes(b"n\xffame with \n line =%");
    fs::write(site.tree.join(name), "odd").expect("write a file");
    let deep = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    site.write(&deep, "deep");
    fs::hard_link(site.tree.join(&deep), site.tree.join("zz-second-name")).expect("link");
    symlink("plain.conf", site.tree.join("link")).expect("link");
    symlink("/nowhere/".to_owned() + &"x".repeat(150), site.tree.join("dangling")).expect("link");
    let attribute = ["-n", "user.origin=%", "-v", "v a\u{1}l"];
    output("setfattr", &[&attribute[..], &[&site.tree.join("plain.conf").display().to_string()]].concat());
    output("setfattr", &["-n", "user.folder", "-v", "yes", &site.tree.join("hollow").display().to_string()]);
    let sparse = fs::File::create(site.tree.join("sparse")).expect("create a file");
    sparse.set_len(300 << 20).expect("make a hole");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 100 << 20).expect("write");
    output("touch", &["-d", "1965-03-01 10:00:00.25 UTC", &site.tree.join("empty").display().to_string()]);
    output("touch", &["-h", "-d", "2001-09-09 01:46:40.123456789 UTC", &site.tree.join("link").display().to_string()]);
    if nix::unistd::geteuid().is_root() {
        output("chown", &["3000001:12345", &site.tree.join("secret").display().to_string()]);
    }
    drop(UnixListener::bind(site.tree.join("socket")).expect("a socket"));
}

#[test]
fn a_tree_comes_back_with_everything_that_it_has() {
    let site = Site::new("");
    furnish(&site);
    let taken = site.backup();
    assert_eq!(taken["skipped"], 1, "{taken}");
    assert!(taken["remarks"].to_string().contains("socket: it is a socket"), "{taken}");
    assert!(taken["stored_bytes"].as_u64() < Some(20 << 20), "holes are not stored: {taken}");
    let (to, tree) = site.target("restored");
    site.run(&["restore", "files/tree", "--to", &to]);
    assert_eq!(portrait(&tree), portrait(&site.tree));
    let blocks = |tree: &Path| fs::metadata(tree.join("sparse")).expect("a file").blocks();
    assert!(blocks(&tree) <= blocks(&site.tree) + 8, "{} blocks", blocks(&tree));
    let verified = site.json(&["verify"]);
    assert_eq!((&verified["sound"], &verified["backups"][0]["objects"]), (&true.into(), &2.into()), "{verified}");
}

#[test]
fn the_size_of_a_backup_is_that_of_its_files() {
    let site = Site::new("");
    site.write("small", "12345");
    site.write("sub/larger", vec![b'x'; 3000]);
    let taken = site.backup();
    assert_eq!(taken["plain_bytes"], 3005, "{taken}");
    let shown = site.run(&["backups"]);
    assert!(shown.contains("2.93 KiB"), "{shown}");
}

#[test]
fn gnu_tar_restores_what_is_stored() {
    let site = Site::new("");
    furnish(&site);
    site.backup();
    let archive = site.stored().into_iter().find(|path| path.to_string_lossy().ends_with("files.tar.zst")).expect("the archive");
    let to = site.scratch.new_directory("by-tar");
    let script = "zstd -dc \"$0\" | tar -x -p --same-owner --numeric-owner --xattrs --xattrs-include='*' -C \"$1\"";
    output("bash", &["-o", "pipefail", "-c", script, &archive.display().to_string(), &to.display().to_string()]);
    let (_, tree) = site.target("by-tar");
    assert_eq!(portrait(&tree), portrait(&site.tree));
}

#[test]
fn what_is_excluded_stays_out() {
    let site = Site::new("exclude = [\"*.tmp\", \"cache\"]");
    for name in ["a.conf", "a.tmp", "cache/b", "sub/cache/c", "sub/d"] {
        site.write(name, name);
    }
    let taken = site.backup();
    assert_eq!((&taken["files"], &taken["directories"]), (&2.into(), &2.into()), "{taken}");
    let again = site.json(&["restore", "files/tree"]);
    assert_eq!(again["plan"]["difference"]["extra"], serde_json::json!([]), "excluded files are not extra: {again}");
}

#[test]
fn names_of_files_stand_in_no_clear_place() {
    let site = Site::new("");
    site.write("passwords-of-the-board.txt", "x");
    site.backup();
    let root = site.scratch.path().join("repository").display().to_string();
    let found =
        std::process::Command::new("grep").args(["-r", "-l", "passwords-of-the-board", &root]).output().expect("run grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn status_and_check_know_the_trees() {
    let site = Site::new("");
    site.write("a", "1");
    let output = site.try_run(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("files/tree: there is no backup"), "{text}");
    assert!(site.run(&["status"]).contains("NOT RECOVERABLE"));
    let taken = site.backup();
    assert_eq!(site.try_run(&["check"]).status.code(), Some(0), "{}", site.run(&["check"]));
    let status = site.json(&["status", "files/tree"]);
    assert_eq!(status["resources"][0]["newest_backup"], taken["id"], "{status}");
    assert!(site.run(&["status"]).contains("recoverable to"));
}
