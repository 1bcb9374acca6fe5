//! Who runs the server: root must not.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, User, geteuid};

use super::Error;

/// A user of the operating system to run PostgreSQL's programs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Set where it is not the user of this process.
    other: Option<(Uid, Gid)>,
}

impl Account {
    /// Who is to run a server in `directory`: the user of this process, or for root the owner of the directory, or of the nearest
    /// one above it that exists; `postgres` where that is root as well.
    ///
    /// # Errors
    /// `Error::NoUser`.
    pub fn for_directory(directory: &Path) -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let owner = directory.ancestors().find_map(|path| fs::metadata(path).ok());
        if let Some(owner) = owner.filter(|owner| owner.uid() != 0) {
            return Ok(Self { other: Some((Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()))) });
        }
        match User::from_name("postgres") {
            Ok(Some(user)) => Ok(Self { other: Some((user.uid, user.gid)) }),
            _ => Err(Error::NoUser),
        }
    }

    /// A command that runs as this user.
    #[must_use]
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.other {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }

    /// Gives a file or directory to this user; of a link the link itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn give(self, path: &Path) -> std::io::Result<()> {
        match self.other {
            Some((uid, gid)) => lchown(path, Some(uid.as_raw()), Some(gid.as_raw())),
            None => Ok(()),
        }
    }
}
