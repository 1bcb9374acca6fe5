//! Files with several names: as many files as before come back, each with all its names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::site::{Site, portrait};

/// A site with a file that has three names, and one that has one.
fn site() -> (Site, [PathBuf; 3]) {
    let site = Site::new("");
    let names = [site.write("a", "one\n"), site.tree.join("b"), site.write("sub/other", "x").with_file_name("c")];
    fs::hard_link(&names[0], &names[1]).expect("link");
    fs::hard_link(&names[0], &names[2]).expect("link");
    (site, names)
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").ino()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

#[test]
fn a_changed_file_comes_back_under_all_its_names_at_once() {
    let (site, [a, b, _]) = site();
    site.backup();
    let before = portrait(&site.tree);
    let changes: [&dyn Fn(); 4] = [
        &|| fs::write(&a, "changed").expect("change a file"),
        &|| fs::remove_file(&a).expect("remove a name"),
        &|| fs::rename(site.write("new", "another file"), &b).expect("replace a name"),
        &|| super::site::mode(&a, 0o600),
    ];
    for (number, change) in changes.iter().enumerate() {
        change();
        site.run(&["restore", "files/tree", "--apply"]);
        assert_eq!(portrait(&site.tree), before, "change {number}");
        let again = site.run(&["restore", "files/tree"]);
        assert!(again.contains("0 to add, 0 to change"), "change {number}: {again}");
    }
}

#[test]
fn two_files_that_became_one_are_two_again() {
    let site = Site::new("");
    let (a, b) = (site.write("a", "same"), site.write("b", "same"));
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    for path in [&a, &b] {
        fs::File::open(path).and_then(|file| file.set_times(times)).expect("set the time");
    }
    site.backup();
    fs::remove_file(&b).expect("remove a file");
    fs::hard_link(&a, &b).expect("link");
    let shown = site.run(&["restore", "files/tree"]);
    assert!(shown.contains("b (becomes a file of its own)"), "{shown}");
    site.run(&["restore", "files/tree", "--apply"]);
    assert_ne!(inode(&a), inode(&b));
    assert_eq!((text(&a), text(&b)), ("same".to_owned(), "same".to_owned()));
}

#[test]
fn a_further_name_that_alone_is_wanted_gets_the_content_of_the_backup() {
    let (site, names) = site();
    let [a, b, c] = &names;
    site.backup();
    let only = |paths: &[&Path], more: &[&str]| {
        let paths = paths.iter().flat_map(|path| ["--only".to_owned(), path.display().to_string()]);
        let given: Vec<String> = ["restore", "files/tree"].map(str::to_owned).into_iter().chain(paths).collect();
        site.run(&given.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let unchanged = only(&[b], &[]);
    assert!(unchanged.contains("0 to add, 0 to change, 1 as they were"), "{unchanged}");
    // Changed under all its names.
    fs::write(a, "changed").expect("change a file");
    let shown = only(&[b], &[]);
    assert!(shown.contains("b (content, time)") && shown.contains("1 to change"), "{shown}");
    only(&[b], &["--apply"]);
    assert_eq!([a, b, c].map(|path| text(path)), ["changed", "one\n", "changed"]);
    // The first name leads to something else now.
    fs::remove_file(a).and_then(|()| fs::remove_file(b)).expect("remove two names");
    fs::write(a, "other").expect("write a file");
    only(&[b], &["--apply"]);
    assert_eq!([a, b].map(|path| text(path)), ["other", "one\n"]);
    // All names are gone, and two of them are wanted, one with its folder.
    fs::remove_file(a).and_then(|()| fs::remove_file(b)).expect("remove the names");
    fs::remove_dir_all(c.parent().expect("a folder")).expect("remove a folder");
    only(&[b, &c.with_file_name("")], &["--apply"]);
    assert_eq!((text(b).as_str(), inode(b), a.exists()), ("one\n", inode(c), false));
    assert_eq!(text(&c.with_file_name("other")), "x");
    let nothing = only(&[b, c], &[]);
    assert!(nothing.contains("0 to add, 0 to change, 2 as they were"), "{nothing}");
    // Elsewhere.
    let (to, tree) = site.target("elsewhere");
    only(&[c], &["--to", &to]);
    assert_eq!((text(&tree.join("sub/c")).as_str(), tree.join("a").exists()), ("one\n", false));
}

#[test]
fn a_further_name_is_written_where_something_else_stands_in_the_way_of_its_folder() {
    let (site, [_, _, c]) = site();
    site.backup();
    let folder = c.parent().expect("a folder");
    fs::remove_dir_all(folder).expect("remove a folder");
    fs::write(folder, "in the way").expect("write a file");
    site.run(&["restore", "files/tree", "--only", &folder.display().to_string(), "--apply"]);
    assert_eq!(text(&c), "one\n");
}
