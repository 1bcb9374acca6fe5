//! The user that servers run as: PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User, chown};

/// Who runs the servers: `postgres` where the test is root, else whoever runs the test.
#[derive(Clone, Copy, Debug)]
pub struct ServerUser {
    switch_to: Option<(Uid, Gid)>,
}

impl ServerUser {
    /// The user for this process.
    ///
    /// # Panics
    /// When the test is root and there is no user `postgres`.
    #[must_use]
    pub fn current() -> Self {
        if !Uid::effective().is_root() {
            return Self { switch_to: None };
        }
        let user = User::from_name("postgres").expect("read the user database");
        let user = user.expect("there is no user 'postgres' to run servers as: run scripts/install test");
        Self { switch_to: Some((user.uid, user.gid)) }
    }

    /// A command that will run as this user, in `/` (the current directory may be closed to it).
    #[must_use]
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Some((uid, gid)) = self.switch_to {
            command.uid(uid.as_raw()).gid(gid.as_raw()).env("HOME", "/nonexistent").env("USER", "postgres");
        }
        command
    }

    /// Makes this user the owner of a file or directory.
    ///
    /// # Panics
    /// When the path is not there.
    pub fn own(self, path: &Path) {
        if let Some((uid, gid)) = self.switch_to {
            chown(path, Some(uid), Some(gid)).unwrap_or_else(|error| panic!("chown {}: {error}", path.display()));
        }
    }

    /// Makes this user the owner of a directory and everything in it. Links are not followed.
    ///
    /// # Panics
    /// When a path is not there.
    pub fn own_all(self, path: &Path) {
        let Some((uid, gid)) = self.switch_to else { return };
        let owner = format!("{uid}:{gid}");
        let status = Command::new("chown").args(["-R", "-h", &owner]).arg(path).status().expect("run chown");
        assert!(status.success(), "chown -R {owner} {}", path.display());
    }

    /// A path of `program` that this user can run: the same, or that of a copy where it lies below a closed directory (`/root`).
    ///
    /// # Panics
    /// When it cannot be read or copied.
    #[must_use]
    pub fn reachable(self, program: &Path) -> PathBuf {
        let open = |directory: &Path| fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
        if self.switch_to.is_none() || program.ancestors().skip(1).filter(|path| *path != Path::new("")).all(open) {
            return program.to_owned();
        }
        copy_of(program)
    }
}

/// A copy outside, made once for each state of the program.
fn copy_of(program: &Path) -> PathBuf {
    let metadata = fs::metadata(program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let directory = format!("holdfast-test-programs/{}-{}-{}", metadata.ino(), metadata.mtime_nsec(), metadata.len());
    let directory = std::env::temp_dir().join(directory);
    let copy = directory.join(program.file_name().expect("a program has a name"));
    if !copy.exists() {
        fs::create_dir_all(&directory).expect("create the directory of copied programs");
        remove_old_copies(directory.parent().expect("it was joined of two parts"));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("open the directory of copied programs");
        let unfinished = directory.join(format!("unfinished-{}", std::process::id()));
        fs::copy(program, &unfinished).expect("copy a program");
        fs::rename(&unfinished, &copy).expect("name the copied program");
    }
    copy
}

/// Removes copies that no test can be using any more: those of more than a day ago.
fn remove_old_copies(directory: &Path) {
    let old = |entry: &fs::DirEntry| {
        entry.metadata().is_ok_and(|metadata| {
            metadata.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > Duration::from_secs(24 * 60 * 60)))
        })
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().filter(old) {
        drop(fs::remove_dir_all(entry.path())); // another test may have removed it
    }
}
