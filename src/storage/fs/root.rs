//! The directory itself: whether it is there, and what is done in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Done, failure};
use crate::storage::{Failure, ObjectKey, Put};
use crate::sys::clock;
use crate::sys::durable::{self, Creation, Draft, Owner, Synced, SyncedFolders};

/// The folder of the files that are being written, and the mark of a store.
pub const DRAFTS: &str = ".tmp";

/// Of folders and files, before the umask: a group may be let in to read.
const FOLDER_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

/// How often a put makes its folder anew when a delete that left it empty removes it at the same moment.
const ATTEMPTS: usize = 16;

/// The root directory of a store.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    folders: SyncedFolders,
}

impl Root {
    pub fn new(path: PathBuf) -> Self {
        Self { path, folders: SyncedFolders::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory a store.
    pub fn create(&self) -> Done<()> {
        let drafts = self.drafts();
        let created = durable::create_folders(&drafts, FOLDER_MODE).and_then(|()| match self.owner()? {
            Some(owner) => owner.give(&drafts),
            None => Ok(()),
        });
        created.map_err(|error| failure::of(&error))
    }

    /// Whom everything in the store belongs to: a command that root ran must leave nothing that the agent cannot read or remove.
    fn owner(&self) -> io::Result<Option<Owner>> {
        Owner::to_give_to(&self.path)
    }

    /// Does work while the store is there: looks before and after, so that its absence is not taken for an object's.
    pub fn watched<T>(&self, work: impl FnOnce(&Self) -> Done<T>) -> Done<T> {
        let before = self.identity()?;
        let done = work(self);
        if self.identity()? == before {
            done
        } else {
            Err(Failure::Unavailable("the directory was exchanged for another".to_owned()))
        }
    }

    /// Device and inode of the mark.
    fn identity(&self) -> Done<(u64, u64)> {
        match fs::metadata(self.drafts()) {
            Ok(metadata) => Ok((metadata.dev(), metadata.ino())),
            Err(error) => Err(match failure::of(&error) {
                Failure::NotFound => self.missing(),
                failure => failure,
            }),
        }
    }

    fn missing(&self) -> Failure {
        let path = self.path.display();
        Failure::NoStore(match self.path.is_dir() {
            true => format!("{path} holds no repository (no folder {DRAFTS} in it): is the disk mounted?"),
            false => format!("there is no directory {path}"),
        })
    }

    fn drafts(&self) -> PathBuf {
        self.path.join(DRAFTS)
    }

    /// The path of an object.
    pub fn file(&self, key: &ObjectKey) -> Done<PathBuf> {
        if key.as_str().split('/').next() == Some(DRAFTS) {
            return Err(Failure::Other(format!("{DRAFTS} is the store's own")));
        }
        Ok(self.path.join(key.as_str()))
    }

    /// Begins a file that has no name yet.
    pub fn draft(&self) -> Done<Draft> {
        let begun = Draft::begin(&self.drafts(), FILE_MODE).and_then(|draft| {
            if let Some(owner) = self.owner()? {
                draft.set_owner(owner)?;
            }
            Ok(draft)
        });
        begun.map_err(|error| failure::of(&error))
    }

    /// Makes a draft the file at `path`, durably, unless there is one.
    pub fn publish(&self, draft: Draft, path: &Path) -> Done<Put> {
        let synced = draft.sync().map_err(|error| failure::of(&error))?;
        match self.place(&synced, path) {
            Ok(Creation::Created) => Ok(Put::Created),
            Ok(Creation::AlreadyExists) if path.is_dir() => {
                Err(Failure::Other("the key is the folder of other objects".to_owned()))
            }
            Ok(Creation::AlreadyExists) => Ok(Put::AlreadyExists),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    Failure::Other("a part of the key's path is an object itself".to_owned())
                }
                io::ErrorKind::NotFound => Failure::Unavailable("its folder is removed again and again".to_owned()),
                _ => failure::of(&error),
            }),
        }
    }

    /// Sees to it that the name of a file that is there is on disk; its content was before it had the name.
    pub fn settle(&self, path: &Path) -> Done<()> {
        let folder = path.parent().unwrap_or(&self.path);
        let settled = self.ensure(folder).and_then(|()| durable::sync_folder(folder));
        settled.map_err(|error| failure::of(&error))
    }

    fn ensure(&self, folder: &Path) -> io::Result<()> {
        self.folders.ensure(&self.path, folder, FOLDER_MODE, self.owner()?)
    }

    fn place(&self, synced: &Synced, path: &Path) -> io::Result<Creation> {
        let folder = path.parent().unwrap_or(&self.path);
        let mut attempt = 1;
        loop {
            let placed = self.ensure(folder).and_then(|()| synced.create(path));
            match placed {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
                placed => return placed,
            }
        }
    }

    /// Removes files, and the folders that they leave empty.
    pub fn delete_all(&self, paths: &[PathBuf]) -> Done<()> {
        for (index, path) in paths.iter().enumerate() {
            if let Err(error) = fs::remove_file(path) {
                failure::absent_or(&error)?;
            }
            if paths.get(index + 1).is_none_or(|next| next.parent() != path.parent()) {
                self.remove_empty_above(path);
            }
        }
        Ok(())
    }

    fn remove_empty_above(&self, path: &Path) {
        let above = path.ancestors().skip(1).take_while(|folder| *folder != self.path);
        // Fails at the first folder that is not empty: this is how the climb ends.
        for folder in above {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// Removes drafts that have not been written to for longer than `age`.
    pub fn sweep(&self, age: Duration) -> Done<usize> {
        let removed = self.remove_drafts(age);
        removed.map_err(|error| failure::of(&error))
    }

    fn remove_drafts(&self, age: Duration) -> io::Result<usize> {
        let now = std::time::SystemTime::from(clock::now());
        let mut removed = 0;
        for entry in fs::read_dir(self.drafts())? {
            let entry = entry?;
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            // One that vanished meanwhile was finished or aborted.
            let stale = written.is_ok_and(|written| now.duration_since(written).unwrap_or_default() >= age);
            if stale && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }
}
