//! Directories that hold a database in the clear for a while, and are gone afterwards, whatever becomes of the process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::error::{Error, Result};
use crate::sys::clock;

/// The file that is locked for as long as the process lives that made the directory.
const LOCK: &str = "in-use";
/// One that was made so short a time ago may not have its lock yet.
const NEW: Duration = Duration::from_mins(1);

/// A directory that only its owner may enter. Dropped, it is removed; one of a process that was killed is removed when the next one is made
/// beside it.
#[derive(Debug)]
pub(super) struct Place {
    directory: TempDir,
    _lock: File,
}

impl Place {
    /// Makes one below `parent`. Those of killed processes are removed there first; `end` ends what they have left running in one.
    pub(super) fn make(parent: &Path, purpose: &str, end: impl Fn(&Path)) -> Result<Self> {
        let prefix = format!("holdfast-{purpose}-");
        for left in left_behind(parent, &prefix) {
            end(&left);
            match fs::remove_dir_all(&left) {
                Ok(()) => tracing::info!("removed {}, which a killed process had left behind", left.display()),
                Err(error) => tracing::warn!("{}, which a killed process has left behind, stays: {error}", left.display()),
            }
        }
        let failed = || Error::file("make a directory in", parent);
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).map_err(failed())?;
        let lock = File::create(directory.path().join(LOCK)).map_err(failed())?;
        lock.try_lock().map_err(|error| failed()(error.into()))?;
        Ok(Self { directory, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Those whose process is gone: its lock went with it.
fn left_behind(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let named = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    let paths = entries.filter_map(std::result::Result::ok).filter(named).map(|entry| entry.path());
    paths.filter(|path| !is_new(path) && File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())).collect()
}

fn is_new(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    // What cannot be told is left alone.
    modified.map_or(true, |at| SystemTime::from(clock::now()).duration_since(at).is_ok_and(|age| age < NEW))
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
        let in_use = Place::make(parent.path(), "trial", |_| ()).expect("a place");
        let ended = RefCell::new(Vec::new());
        let first = Place::make(parent.path(), "dump", |path| ended.borrow_mut().push(path.to_owned())).expect("a place");
        assert_eq!(*ended.borrow(), std::slice::from_ref(&left));
        make_old(first.path());
        let second = Place::make(parent.path(), "dump", |_| panic!("it is in use")).expect("a place");
        assert!(!left.exists() && other.exists() && in_use.path().exists() && first.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
