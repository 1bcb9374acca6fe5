//! Which folders are on disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{Owner, parent_of, sync_folder};

/// Folders of which it is known that they, and those above them, are on disk, so that they are synced once and not at each file.
///
/// A folder is recognised by its inode and its birth, since another process may remove it and make it anew.
#[derive(Debug, Default)]
pub struct SyncedFolders {
    known: Mutex<HashSet<(PathBuf, FolderIdentity)>>,
}

/// Device, inode, time of birth where the file system keeps it.
type FolderIdentity = (u64, u64, Option<SystemTime>);

impl SyncedFolders {
    /// How many folders are remembered before all are forgotten: a bound on memory, nothing else.
    const REMEMBERED: usize = 4096;

    /// Makes `folder` and those between it and `root`, for a user and a group if they are named, and sees to it that all of them are on disk.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` if one is removed meanwhile.
    pub fn ensure(&self, root: &Path, folder: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        // Those above it were on disk before it was.
        if self.is_known(folder) {
            return Ok(());
        }
        let chain: Vec<&Path> = folder.ancestors().take_while(|it| *it != root).collect();
        for folder in chain.into_iter().rev() {
            self.ensure_one(folder, mode, owner)?;
        }
        Ok(())
    }

    fn is_known(&self, folder: &Path) -> bool {
        identity(folder).is_ok_and(|found| self.lock().contains(&(folder.to_owned(), found)))
    }

    fn ensure_one(&self, folder: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        match (fs::DirBuilder::new().mode(mode).create(folder), owner) {
            (Ok(()), Some(owner)) => owner.give(folder)?,
            (Err(error), _) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let entry = (folder.to_owned(), identity(folder)?);
        if self.lock().contains(&entry) {
            return Ok(());
        }
        sync_folder(parent_of(folder))?;
        let mut known = self.lock();
        if known.len() >= Self::REMEMBERED {
            known.clear();
        }
        known.insert(entry);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(PathBuf, FolderIdentity)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(folder: &Path) -> io::Result<FolderIdentity> {
    let metadata = fs::metadata(folder)?;
    Ok((metadata.dev(), metadata.ino(), metadata.created().ok()))
}
