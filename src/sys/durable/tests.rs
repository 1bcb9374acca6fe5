use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_taken_name_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    assert_eq!(create(&path, b"first", 0o640).unwrap(), Creation::Created);
    assert_eq!(create(&path, b"second", 0o640).unwrap(), Creation::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"first");
}

#[test]
fn a_taken_name_is_left_alone_where_only_links_are_to_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let one = drafted(&path, b"first", 0o640).unwrap();
    let two = drafted(&path, b"second", 0o640).unwrap();
    assert_eq!(link_unless_taken(&one.path.0, &path).unwrap(), Creation::Created);
    assert_eq!(link_unless_taken(&two.path.0, &path).unwrap(), Creation::AlreadyExists);
    drop((one, two));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn of_many_writers_exactly_one_creates_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let race = |writer: usize| create(&path, format!("writer {writer}").as_bytes(), 0o640).unwrap();
    let outcomes: Vec<Creation> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|writer| scope.spawn(move || race(writer))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winners: Vec<usize> = (0..16).filter(|writer| outcomes[*writer] == Creation::Created).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("writer {}", winners[0]));
}

#[test]
fn replacing_shows_the_new_content_and_leaves_no_draft() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&path, b"first", 0o600).unwrap();
    replace(&path, b"second", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_dropped_draft_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::begin(folder.path(), 0o640).unwrap();
    draft.write(b"never").unwrap();
    drop(draft);
    drop(drafted(&folder.path().join("file"), b"never", 0o640).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn missing_folders_are_made_and_existing_ones_kept() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    create_folders(&deep, 0o750).unwrap();
    create_folders(&deep, 0o750).unwrap();
    assert!(deep.is_dir());
    let synced = SyncedFolders::default();
    synced.ensure(folder.path(), &folder.path().join("a/x/y"), 0o750, None).unwrap();
    assert!(folder.path().join("a/x/y").is_dir());
    assert_eq!(synced.remembered(), 3);
}

#[test]
fn a_folder_made_anew_is_not_taken_for_the_old_one() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a");
    let synced = SyncedFolders::default();
    synced.ensure(root.path(), &folder, 0o750, None).unwrap();
    fs::remove_dir(&folder).unwrap();
    synced.ensure(root.path(), &folder, 0o750, None).unwrap();
    assert!(folder.is_dir());
    assert_eq!(synced.remembered(), 2);
}

#[test]
fn a_draft_that_cannot_be_begun_says_why_by_number() {
    let error = Draft::begin(Path::new("/proc/self/fd"), 0o640).map(drop).unwrap_err();
    assert!(error.raw_os_error().is_some(), "{error:?}");
}
