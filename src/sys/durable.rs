//! Files that survive a power cut: written beside their place, synced, given their name in one step, the folder synced.
//!
//! Invariants: a name never shows a file that is not whole and synced. What a function here has returned `Ok` for is on disk.
//! Everything here blocks: call it from a thread that may wait.

mod folders;

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use super::{clock, fail_point};
pub use folders::SyncedFolders;

/// Whether a name was free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Creation {
    /// It was; the file is there now.
    Created,
    /// It was taken; what is there was left alone.
    AlreadyExists,
}

/// A user and a group, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

impl Owner {
    /// Whom what is made in a folder has to be given to, so that the owner of the folder can use it: nobody, unless this process is root's and
    /// the folder somebody else's.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn to_give_to(folder: &Path) -> io::Result<Option<Self>> {
        if !nix::unistd::Uid::effective().is_root() {
            return Ok(None);
        }
        let found = fs::metadata(folder)?;
        Ok(Some(Self { user: found.uid(), group: found.gid() }).filter(|owner| owner.user != 0))
    }

    /// Gives them a file or a folder.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn give(self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.user), Some(self.group))
    }
}

/// A file that has no name of its own yet. Dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: Scrap,
}

/// The path of a file that is removed when this is dropped, unless it was given another name.
#[derive(Debug)]
struct Scrap(PathBuf, Cell<bool>);

impl Drop for Scrap {
    fn drop(&mut self) {
        // What cannot be removed is swept later.
        if !self.1.get() {
            drop(fs::remove_file(&self.0));
        }
    }
}

impl Draft {
    /// Begins a file in `folder`, which lies on the file system of its later place. `mode`: its permissions, before the umask.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn begin(folder: &Path, mode: u32) -> io::Result<Self> {
        loop {
            let path = folder.join(unique_name());
            match File::options().write(true).create_new(true).mode(mode).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return Ok(Self { file: opened?, path: Scrap(path, Cell::new(false)) }),
            }
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As the operating system says; the file is then of no more use.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it to a user and a group.
    ///
    /// # Errors
    /// As the operating system says: only root may.
    pub fn set_owner(&self, owner: Owner) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.file, Some(owner.user), Some(owner.group))
    }

    /// Sets its permissions, whatever the umask is.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// As the operating system says. Do not try again: after a failed sync the written pages may be gone.
    pub fn sync(self) -> io::Result<Synced> {
        fail_point::reach("sync.before", || self.path.0.display().to_string())?;
        self.file.sync_all()?;
        Ok(Synced { path: self.path })
    }
}

/// A name that no other draft has: the time, the process and a count, since the folder may be shared with other processes and hosts.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".draft-{:x}-{:x}-{count:x}", clock::now().as_nanosecond(), std::process::id())
}

/// A draft whose bytes are on disk, and which still lacks its name. Dropping it removes it.
#[derive(Debug)]
pub struct Synced {
    path: Scrap,
}

impl Synced {
    /// Gives the file its name unless that is taken. Either way the name is on disk on return, whoever gave it.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` if the folder is missing. The draft remains and can be tried again.
    pub fn create(&self, path: &Path) -> io::Result<Creation> {
        fail_point::reach("name.before", || path.display().to_string())?;
        let creation = rename_unless_taken(&self.path, path)?;
        fail_point::reach("name.after", || path.display().to_string())?;
        sync_folder(parent_of(path))?;
        Ok(creation)
    }

    /// Gives the file its name, in place of a file that had it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn replace(&self, path: &Path) -> io::Result<()> {
        fail_point::reach("name.before", || path.display().to_string())?;
        fs::rename(&self.path.0, path)?;
        self.path.1.set(true);
        fail_point::reach("name.after", || path.display().to_string())?;
        sync_folder(parent_of(path))
    }
}

/// Creates a file with that content unless its name is taken.
///
/// # Errors
/// As the operating system says.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Creation> {
    drafted(path, bytes, mode)?.create(path)
}

/// Creates a file with that content, in place of one that may be there.
///
/// # Errors
/// As the operating system says.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    drafted(path, bytes, mode)?.replace(path)
}

fn drafted(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Synced> {
    let mut draft = Draft::begin(parent_of(path), mode)?;
    draft.write(bytes)?;
    draft.sync()
}

/// Creates a folder and those above it that are missing. Each new one is on disk on return.
///
/// # Errors
/// As the operating system says.
pub fn create_folders(path: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().filter(|folder| !folder.as_os_str().is_empty()).take_while(|it| !it.is_dir()).collect();
    for folder in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(mode).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(parent_of(folder))?,
        }
    }
    Ok(())
}

/// Removes a file; that it is gone is on disk on return.
///
/// # Errors
/// As the operating system says.
pub fn remove(path: &Path) -> io::Result<()> {
    fail_point::reach("remove.before", || path.display().to_string())?;
    fs::remove_file(path)?;
    sync_folder(parent_of(path))
}

/// Brings the names in a folder to disk.
///
/// # Errors
/// As the operating system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network and FUSE file systems cannot sync a folder: they have nothing to sync.
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
        other => other,
    }
}

/// The folder that a path lies in; `.` for a bare name.
pub fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// `rename` that fails where the name is taken; through `link` on file systems without it.
fn rename_unless_taken(from: &Scrap, to: &Path) -> io::Result<Creation> {
    match rename_noreplace(&from.0, to) {
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => link_unless_taken(&from.0, to),
        Err(Errno::EEXIST) => Ok(Creation::AlreadyExists),
        Err(errno) => Err(errno.into()),
        Ok(()) => {
            from.1.set(true);
            Ok(Creation::Created)
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn rename_noreplace(from: &Path, to: &Path) -> nix::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn rename_noreplace(_from: &Path, _to: &Path) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

/// The draft keeps its first name too, until it is dropped.
fn link_unless_taken(from: &Path, to: &Path) -> io::Result<Creation> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Creation::AlreadyExists),
        Err(error) => Err(error),
        Ok(()) => Ok(Creation::Created),
    }
}

#[cfg(test)]
mod tests;
