//! Directories on disks that are full, read-only or gone. They need mounts, so these tests need root; without it they say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use holdfast::storage::{Failure, FileStore, ObjectKey, Put, Store, list_all};
use tempfile::TempDir;

/// A small ext4 file system in a file, mounted.
struct Disk {
    folder: TempDir,
    mounted: bool,
}

impl Disk {
    /// `None`, with a word about it, where mounting is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a scratch directory");
        let image = folder.path().join("image");
        let file = std::fs::File::create(&image).expect("create an image");
        file.set_len(16 << 20).expect("size an image");
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image)).expect("mkfs.ext4 makes a file system");
        let mut disk = Self { folder, mounted: false };
        std::fs::create_dir(disk.path()).expect("create a mount point");
        match disk.attach() {
            Ok(()) => Some(disk),
            Err(word) => {
                eprintln!("NOT TESTED: a real disk cannot be mounted here (root is needed): {word}");
                None
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn attach(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.folder.path().join("image")).arg(self.path()))?;
        self.mounted = true;
        Ok(())
    }

    fn detach(&mut self) {
        if std::mem::take(&mut self.mounted) {
            run(Command::new("umount").arg(self.path())).expect("umount");
        }
    }

    fn remount(&self, mode: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(self.path())).expect("remount");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.detach();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).expect("a plain name")
}

async fn store_on(path: &Path) -> FileStore {
    FileStore::create(path.join("store")).await.expect("create a store")
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_keeps_what_it_has() {
    let Some(disk) = Disk::mount() else { return };
    let store = store_on(&disk.path()).await;
    assert_eq!(store.put_if_absent(&key("kept"), "kept".into()).await.unwrap(), Put::Created);
    let body = Bytes::from(vec![7; 1 << 20]);
    let mut stored = 0;
    let failure = loop {
        match store.put_if_absent(&key(&format!("filler/{stored}")), body.clone()).await {
            Ok(_) => stored += 1,
            Err(error) => break error.failure,
        }
        assert!(stored < 16, "16 MB fit onto a disk of 16 MB");
    };
    assert!(matches!(failure, Failure::Full(_)), "{failure:?}");
    let mut upload = store.upload(&key("upload")).await.unwrap();
    let written = match upload.write(body.clone()).await {
        Ok(()) => upload.finish().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(written.unwrap_err().failure, Failure::Full(_)));
    assert_eq!(store.get(&key("kept")).await.unwrap(), "kept");
    assert_eq!(list_all(&store, "").await.unwrap().len(), stored + 1, "half an object is listed");
    assert_eq!(std::fs::read_dir(disk.path().join("store/.tmp")).unwrap().count(), 0, "drafts fill the disk");
    store.delete(&key("filler/0")).await.unwrap();
    assert_eq!(store.put_if_absent(&key("after"), body).await.unwrap(), Put::Created);
}

#[tokio::test]
async fn a_read_only_disk_is_said_to_be_read_only_and_can_be_read() {
    let Some(disk) = Disk::mount() else { return };
    let store = store_on(&disk.path()).await;
    store.put_if_absent(&key("a/b"), "b".into()).await.unwrap();
    disk.remount("ro");
    let read_only = |failure: Failure| assert!(matches!(failure, Failure::ReadOnly(_)), "{failure:?}");
    read_only(store.put_if_absent(&key("c"), "c".into()).await.unwrap_err().failure);
    read_only(store.upload(&key("c")).await.map(drop).unwrap_err().failure);
    read_only(store.delete(&key("a/b")).await.unwrap_err().failure);
    let reopened = FileStore::open(disk.path().join("store")).await.unwrap();
    assert_eq!(reopened.get(&key("a/b")).await.unwrap(), "b");
    assert_eq!(list_all(&reopened, "").await.unwrap().len(), 1);
    disk.remount("rw");
    assert_eq!(store.put_if_absent(&key("c"), "c".into()).await.unwrap(), Put::Created);
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_a_missing_store() {
    let Some(mut disk) = Disk::mount() else { return };
    // The root of the store is the mount point itself, whose directory stays when the disk goes.
    let store = FileStore::create(disk.path()).await.unwrap();
    store.put_if_absent(&key("a"), "a".into()).await.unwrap();
    disk.detach();
    let missing = |failure: Failure| assert!(matches!(failure, Failure::NoStore(_)), "{failure:?}");
    missing(store.get(&key("a")).await.unwrap_err().failure);
    missing(store.list("", None, 10).await.unwrap_err().failure);
    missing(store.put_if_absent(&key("b"), "b".into()).await.unwrap_err().failure);
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0, "something was written below the mount point");
    disk.attach().unwrap();
    assert_eq!(store.get(&key("a")).await.unwrap(), "a");
    assert_eq!(store.put_if_absent(&key("b"), "b".into()).await.unwrap(), Put::Created);
}
