//! Directories that hold data in the clear for a while, and are gone afterwards, whatever becomes of the process.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use nix::unistd::{Uid, geteuid};
use tempfile::TempDir;

use super::clock;

/// The file that is locked for as long as the process lives that made the directory.
const LOCK: &str = "in-use";
/// One that was made so short a time ago may not have its lock yet.
const NEW: Duration = Duration::from_mins(1);
/// What lies in it is in the clear, and only its owner may enter it.
const MODE: u32 = 0o700;

/// A directory that only its owner may enter. Dropped, it is removed; one of a process that was killed is removed when the next one is made
/// beside it.
#[derive(Debug)]
pub struct ScratchDirectory {
    directory: TempDir,
    _lock: File,
}

impl ScratchDirectory {
    /// Makes one below `parent`, named after its purpose, when those of killed processes are removed there (`sweep`).
    ///
    /// # Errors
    /// What the system says.
    pub fn make(parent: &Path, purpose: &str, end: impl Fn(&Path)) -> io::Result<Self> {
        Self::sweep(parent, purpose, end);
        // Made with it, not given it afterwards: there is no moment at which others can open it.
        let closed = Permissions::from_mode(MODE);
        let directory = tempfile::Builder::new().prefix(&prefix(purpose)).permissions(closed).tempdir_in(parent)?;
        let lock = File::create(directory.path().join(LOCK))?;
        lock.try_lock()?;
        Ok(Self { directory, _lock: lock })
    }

    /// Removes those that killed processes have left below `parent`; `end` ends what they have left running in one.
    pub fn sweep(parent: &Path, purpose: &str, end: impl Fn(&Path)) {
        for left in left_behind(parent, &prefix(purpose)) {
            end(&left);
            match fs::remove_dir_all(&left) {
                Ok(()) => tracing::info!("removed {}, which a killed process had left behind", left.display()),
                Err(error) => tracing::warn!("{}, which a killed process has left behind, stays: {error}", left.display()),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn prefix(purpose: &str) -> String {
    format!("holdfast-{purpose}-")
}

/// Those whose process is gone: its lock went with it.
fn left_behind(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let named = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    let paths = entries.filter_map(std::result::Result::ok).filter(named).map(|entry| entry.path());
    let user = geteuid();
    let is_left = |path: &PathBuf| {
        let old = path.symlink_metadata().is_ok_and(|found| is_own(&found, user) && !is_new(&found));
        old && is_unlocked(&path.join(LOCK))
    };
    paths.filter(is_left).collect()
}

/// Whether a directory was made by this user. Where everybody may make one, as in the directory for temporary files, another user's of this name can
/// lead to the data directory of a server that is in use, which must not be stopped. Root stops what is in it as its owner, who may do that anyway.
fn is_own(found: &Metadata, user: Uid) -> bool {
    found.is_dir() && (user.is_root() || found.uid() == user.as_raw())
}

/// Whether nobody holds a lock. What is no plain file is none.
fn is_unlocked(lock: &Path) -> bool {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits()).open(lock);
    opened.is_ok_and(|lock| lock.metadata().is_ok_and(|found| found.is_file()) && lock.try_lock().is_ok())
}

fn is_new(found: &Metadata) -> bool {
    // What cannot be told is left alone.
    found.modified().map_or(true, |at| SystemTime::from(clock::now()).duration_since(at).is_ok_and(|age| age < NEW))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn make_old(path: &Path) {
        let long_ago = SystemTime::from(clock::now()) - Duration::from_secs(3600);
        File::open(path).and_then(|file| file.set_modified(long_ago)).expect("set a time");
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().expect("a directory");
        let [left, other] = ["holdfast-dump-left", "somebody-else"].map(|name| parent.path().join(name));
        for directory in [&left, &other] {
            fs::create_dir(directory).expect("create a directory");
            fs::write(directory.join(LOCK), "").expect("write a file");
            make_old(directory);
        }
        let in_use = ScratchDirectory::make(parent.path(), "trial", |_| ()).expect("a directory");
        let ended = RefCell::new(Vec::new());
        let first =
            ScratchDirectory::make(parent.path(), "dump", |path| ended.borrow_mut().push(path.to_owned())).expect("a directory");
        assert_eq!(*ended.borrow(), std::slice::from_ref(&left));
        make_old(first.path());
        let second = ScratchDirectory::make(parent.path(), "dump", |_| panic!("it is in use")).expect("a directory");
        assert!(!left.exists() && other.exists() && in_use.path().exists() && first.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn only_its_owner_may_enter_it() {
        let parent = tempfile::tempdir().expect("a directory");
        let made = ScratchDirectory::make(parent.path(), "trial", |_| ()).expect("a directory");
        let found = made.path().symlink_metadata().expect("look at a directory");
        assert_eq!(found.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_others_have_made_is_not_taken_for_what_a_killed_process_left() {
        let parent = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        fs::write(elsewhere.path().join(LOCK), "").expect("write a file");
        make_old(elsewhere.path());
        std::os::unix::fs::symlink(elsewhere.path(), parent.path().join("holdfast-trial-link")).expect("link");
        let made =
            ScratchDirectory::make(parent.path(), "trial", |left| panic!("{} is not ours", left.display())).expect("a directory");
        assert!(elsewhere.path().join(LOCK).exists());
        let found = made.path().symlink_metadata().expect("look at a directory");
        let [owner, other] = [found.uid(), found.uid() + 1].map(Uid::from_raw);
        assert!(is_own(&found, owner) && !is_own(&found, other) && is_own(&found, Uid::from_raw(0)));
    }
}
