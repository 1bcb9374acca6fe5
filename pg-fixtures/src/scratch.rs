//! A directory that is gone when the test ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::ServerUser;

/// The room that a socket's file name needs below the scratch directory, of the 107 bytes a socket's path may have.
const LONGEST_SCRATCH_PATH_BYTES: usize = 70;

/// A scratch directory: short enough for sockets, open to the servers' user, removed when dropped.
///
/// With `HOLDFAST_KEEP_SCRATCH` in the environment it stays, and its path is printed.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    user: ServerUser,
}

impl Scratch {
    /// A new directory that belongs to the servers' user.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn new() -> Self {
        let user = ServerUser::current();
        let mut directory = Self::create(&std::env::temp_dir());
        if directory.path().as_os_str().len() > LONGEST_SCRATCH_PATH_BYTES {
            directory = Self::create(Path::new("/tmp"));
        }
        if std::env::var_os("HOLDFAST_KEEP_SCRATCH").is_some() {
            directory.disable_cleanup(true);
            eprintln!("scratch directory kept: {}", directory.path().display());
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("open the scratch directory");
        user.own(directory.path());
        Self { directory, user }
    }

    fn create(parent: &Path) -> TempDir {
        tempfile::Builder::new().prefix("hf").tempdir_in(parent).expect("create a scratch directory")
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A new, empty directory in it, which belongs to the servers' user and which only that user may read (as PostgreSQL wants).
    ///
    /// # Panics
    /// When it exists.
    pub fn new_directory(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("set the mode of a scratch directory");
        self.user.own(&path);
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
