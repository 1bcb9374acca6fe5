//! What came in the way of a restore since it was planned.

use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

/// A tree that is restored to a directory.
fn places(to: &Path) -> Places {
    let section: crate::config::Files = toml::from_str("paths = [\"/tree\"]").expect("a section");
    let resource = "files/a".parse().expect("a name");
    Places::new(&resource, &section, Some(to), &[]).expect("places")
}

fn work(places: Places) -> Work<'static> {
    Work {
        places,
        owners: false,
        inside: Vec::new(),
        removed: Cell::new(0),
        folders: HashMap::new(),
        directories: Vec::new(),
        ours: HashSet::new(),
        left: HashSet::new(),
    }
}

#[test]
fn no_link_that_came_meanwhile_leads_a_removal_elsewhere() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [to, outside] = ["to", "outside"].map(|name| scratch.path().join(name));
    for directory in [&to.join("tree"), &outside] {
        fs::create_dir_all(directory).expect("create a directory");
    }
    for file in [&to.join("tree/other"), &outside.join("file")] {
        fs::write(file, "").expect("write a file");
    }
    // When it was looked at, this was a directory.
    symlink(&outside, to.join("tree/sub")).expect("link");
    let extra = ["tree/other", "tree/sub", "tree/sub/file"].map(|name| AnyPath(to.join(name)));
    let mut applied = Applied::default();
    remove(&places(&to), &extra.iter().collect::<Vec<_>>(), &mut applied).expect("remove");
    assert!(outside.join("file").exists(), "it is no part of the tree");
    assert_eq!((applied.removed, applied.left), (2, vec![extra[2].clone()]));
    assert!(fs::read_dir(to.join("tree")).expect("a directory").next().is_none());
}

#[test]
fn no_link_in_the_place_of_a_draft_gives_its_mode_and_time_to_something_else() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [draft, victim] = ["draft", "victim"].map(|name| scratch.path().join(name));
    fs::write(&victim, "").expect("write a file");
    let before = fs::metadata(&victim).expect("look at a file");
    let file = File::create(&draft).expect("create a file");
    fs::remove_file(&draft).expect("remove a file");
    symlink(&victim, &draft).expect("link");
    let member = Member {
        path: b"tree/draft".to_vec(),
        kind: Kind::File,
        mode: 0o4755,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        modified: (1, 0),
        size: 0,
        attributes: Vec::new(),
        data: None,
    };
    work(places(scratch.path())).dress(file.as_fd(), &draft, &draft, &member).expect("dress");
    let after = fs::metadata(&victim).expect("look at a file");
    assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
    let dressed = file.metadata().expect("look at a file");
    assert_eq!((dressed.mode() & 0o7777, dressed.mtime()), (0o4755, 1));
}

#[test]
fn no_link_in_the_place_of_a_directory_gives_its_mode_to_something_else() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [tree, victim] = ["tree", "victim"].map(|name| scratch.path().join(name));
    fs::create_dir(&victim).expect("create a directory");
    symlink(&victim, &tree).expect("link");
    let place = places(scratch.path()).find(b"tree", false).expect("a place");
    let folder = place.folder.as_ref().expect("a folder");
    assert!(matches!(open_directory(folder, &place), Err(Error::InTheWay(path)) if path == tree));
}

#[test]
fn what_a_file_gives_way_to_is_what_was_seen_or_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("file");
    let place = places(scratch.path()).find(b"file", false).expect("a place");
    let changed = |seen| has_changed(&place, Some(seen)).expect("look at it");
    let seen = || Seen::of(status(&place).expect("look at it").as_ref());
    assert!(!changed(Seen::NOTHING));
    fs::write(&path, "1").expect("write a file");
    let first = seen();
    assert!(changed(Seen::NOTHING), "something came");
    assert!(!changed(first));
    // A further name is no change of it.
    fs::hard_link(&path, scratch.path().join("other")).expect("link");
    assert!(!changed(first));
    fs::write(&path, "22").expect("write a file");
    assert!(changed(first), "its size");
    let second = seen();
    let time = fs::metadata(&path).expect("look at it").modified().expect("a time") + std::time::Duration::from_secs(1);
    File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("set its time");
    assert!(changed(second), "its time");
    let third = seen();
    fs::write(scratch.path().join("new"), "22").expect("write a file");
    File::options().write(true).open(scratch.path().join("new")).and_then(|file| file.set_modified(time)).expect("set its time");
    fs::rename(scratch.path().join("new"), &path).expect("replace it");
    assert!(changed(third), "it is another one");
    fs::remove_file(&path).expect("remove it");
    assert!(!changed(third), "nothing is lost");
    // A directory changes with what is in it.
    fs::create_dir(&path).expect("create a directory");
    let directory = seen();
    fs::write(path.join("new"), "").expect("write a file");
    assert!(!changed(directory) && changed(third));
}

#[test]
fn what_stays_as_planned_is_not_left_undone() {
    let [occupied, removed, changed] = ["occupied", "removed", "changed"].map(|name| AnyPath(PathBuf::from(name)));
    let planned = std::slice::from_ref(&occupied);
    let applied = |left, changed| Applied { written: 1, removed: 0, left, changed };
    assert_eq!(applied(vec![occupied.clone()], vec![]).undone(planned), 0);
    assert_eq!(applied(vec![occupied.clone(), removed], vec![changed]).undone(planned), 2);
}
