use super::*;
use crate::storage::list_all;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

async fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::create(folder.path().join("store")).await.unwrap();
    (folder, store)
}

async fn put(store: &FileStore, name: &str) {
    assert_eq!(store.put_if_absent(&key(name), Bytes::from(name.to_owned())).await.unwrap(), Put::Created);
}

fn drafts(store: &FileStore) -> usize {
    std::fs::read_dir(store.root.path().join(root::DRAFTS)).unwrap().count()
}

#[tokio::test]
async fn a_directory_that_went_away_is_never_taken_for_an_empty_store() {
    let (_folder, store) = store().await;
    put(&store, "a/b").await;
    let path = store.root.path().to_owned();
    // What an unmounted disk leaves behind: an empty directory.
    std::fs::rename(&path, path.with_extension("elsewhere")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let no_store = |failure: Failure| assert!(matches!(failure, Failure::NoStore(_)), "{failure:?}");
    no_store(store.get(&key("a/b")).await.unwrap_err().failure);
    no_store(store.size(&key("a/b")).await.unwrap_err().failure);
    no_store(store.list("", None, 10).await.unwrap_err().failure);
    no_store(store.folders("").await.unwrap_err().failure);
    no_store(store.delete(&key("a/b")).await.unwrap_err().failure);
    no_store(store.put_if_absent(&key("a/c"), Bytes::new()).await.unwrap_err().failure);
    no_store(store.upload(&key("a/c")).await.map(drop).unwrap_err().failure);
    no_store(FileStore::open(&path).await.unwrap_err().failure);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    std::fs::remove_dir(&path).unwrap();
    no_store(store.list("", None, 10).await.unwrap_err().failure);
    std::fs::rename(path.with_extension("elsewhere"), &path).unwrap();
    assert_eq!(store.get(&key("a/b")).await.unwrap(), "a/b");
}

#[tokio::test]
async fn folders_are_listed_where_their_keys_belong() {
    let (_folder, store) = store().await;
    let mut names = vec!["a-b", "a/x", "a/y/z", "a/y-z", "a0", "a!", "b", "a.b/c"];
    for name in &names {
        put(&store, name).await;
    }
    names.sort_unstable();
    let listed = |page: Vec<Entry>| page.into_iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>();
    assert_eq!(listed(store.list("", None, 100).await.unwrap()), names);
    for (position, after) in names.iter().enumerate() {
        assert_eq!(listed(store.list("", Some(after), 100).await.unwrap()), names[position + 1..], "after {after}");
    }
    assert_eq!(listed(store.list("a/y", None, 100).await.unwrap()), ["a/y-z", "a/y/z"]);
    assert_eq!(listed(store.list("a/y/", None, 100).await.unwrap()), ["a/y/z"]);
    assert_eq!(listed(store.list("../", None, 100).await.unwrap()), [] as [&str; 0]);
}

#[tokio::test]
async fn a_folder_of_more_names_than_are_held_at_once_is_listed_whole() {
    let (_folder, store) = store().await;
    let folder = store.root.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..5000 {
        std::fs::write(folder.join(format!("{number:05}")), b"").unwrap();
    }
    let listed: Vec<String> = list_all(&store, "many/").await.unwrap().into_iter().map(|entry| entry.key.to_string()).collect();
    let expected: Vec<String> = (0..5000).map(|number| format!("many/{number:05}")).collect();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn the_folders_that_a_delete_leaves_empty_are_gone() {
    let (_folder, store) = store().await;
    put(&store, "wal/1/a").await;
    put(&store, "wal/2/b").await;
    store.delete(&key("wal/1/a")).await.unwrap();
    assert!(!store.root.path().join("wal/1").exists());
    assert_eq!(store.folders("wal/").await.unwrap(), ["2"]);
    store.delete(&key("wal/2/b")).await.unwrap();
    assert!(!store.root.path().join("wal").exists());
    put(&store, "wal/1/a").await;
}

/// Tried as root it fails where they stay root's; every other user owns what it makes.
#[tokio::test]
async fn what_is_made_belongs_to_the_owner_of_the_directory_whoever_runs_the_command() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(4321), Some(8765)).unwrap();
    }
    let owner = |path: &str| std::fs::metadata(folder.path().join(path)).map(|it| (it.uid(), it.gid())).unwrap();
    let store = FileStore::create(folder.path()).await.unwrap();
    put(&store, "a/b/c").await;
    let mut upload = store.upload(&key("a/d")).await.unwrap();
    upload.write(Bytes::from_static(b"content")).await.unwrap();
    upload.finish().await.unwrap();
    for made in [".tmp", "a", "a/b", "a/b/c", "a/d"] {
        assert_eq!(owner(made), owner("."), "{made}");
    }
}

#[tokio::test]
async fn a_put_wins_over_deletes_that_remove_its_folder() {
    let (_folder, store) = store().await;
    let remover = {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..300 {
                store.delete(&key("a/b/other")).await.unwrap();
                put(&store, "a/b/other").await;
            }
        })
    };
    for _ in 0..300 {
        put(&store, "a/b/mine").await;
        store.delete(&key("a/b/mine")).await.unwrap();
    }
    remover.await.unwrap();
}

#[tokio::test]
async fn an_upload_that_is_dropped_or_aborted_leaves_no_file() {
    let (_folder, store) = store().await;
    let mut dropped = store.upload(&key("a")).await.unwrap();
    dropped.write(Bytes::from_static(b"bytes")).await.unwrap();
    let mut aborted = store.upload(&key("b")).await.unwrap();
    aborted.write(Bytes::from_static(b"bytes")).await.unwrap();
    assert_eq!(drafts(&store), 2);
    aborted.abort().await.unwrap();
    assert_eq!(drafts(&store), 1);
    drop(dropped);
    let deadline = crate::sys::clock::Deadline::after(Duration::from_secs(10));
    while drafts(&store) > 0 {
        assert!(!deadline.has_passed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept_when_it_is_old() {
    let (_folder, store) = store().await;
    std::fs::write(store.root.path().join(".tmp/left"), b"half").unwrap();
    assert_eq!(store.sweep(Duration::from_secs(3600), |_| true).await.unwrap(), 0);
    assert_eq!(store.sweep(Duration::ZERO, |_| true).await.unwrap(), 1);
    assert_eq!(drafts(&store), 0);
}

#[tokio::test]
async fn the_stores_own_folder_holds_no_objects() {
    let (_folder, store) = store().await;
    std::fs::write(store.root.path().join(".tmp/left"), b"half").unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
    assert_eq!(store.folders("").await.unwrap(), [] as [String; 0]);
    assert!(store.put_if_absent(&key(".tmp/left"), Bytes::new()).await.is_err());
    assert!(store.get(&key(".tmp/left")).await.is_err());
}

#[tokio::test]
async fn a_key_below_an_object_and_an_object_above_keys_are_refused_and_said_to_be_absent() {
    let (_folder, store) = store().await;
    put(&store, "a/b").await;
    for name in ["a", "a/b/c", "a/b/c/d"] {
        let failure = store.put_if_absent(&key(name), Bytes::new()).await.unwrap_err().failure;
        assert!(matches!(failure, Failure::Other(_)), "{name}: {failure:?}");
        assert!(store.get(&key(name)).await.unwrap_err().is_not_found(), "{name}");
        assert_eq!(store.size(&key(name)).await.unwrap(), None, "{name}");
        store.delete(&key(name)).await.unwrap();
    }
    assert_eq!(store.get(&key("a/b")).await.unwrap(), "a/b");
}
