//! Where each member of an archive goes. Below its base no link is followed, whatever the archive or the directory holds.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::fsync;

use crate::config::Files;
use crate::repository::ResourceName;
use crate::resources::files::archive::stored_path;
use crate::resources::files::error::{Error, Result};
use crate::sys::durable::create_folders;
use crate::sys::fail_point;

/// How a folder is opened on the way: never through a link.
const STEP: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// New folders, until they get their own modes.
const NEW_FOLDER: Mode = Mode::S_IRWXU;

/// Folders above everything that a backup has, before the umask.
const BASE_MODE: u32 = 0o777;

/// Where members go.
#[derive(Debug, Clone)]
pub(super) struct Places {
    resource: String,
    target: Target,
    /// The only members that are wanted; empty: all.
    only: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Target {
    /// Everything below one directory.
    Directory(PathBuf),
    /// Everything to where it was: the paths of the resource.
    InPlace(Vec<PathBuf>),
}

/// The place of a member.
pub(super) struct Place {
    /// The folder, if it is there.
    pub folder: Option<OwnedFd>,
    /// The name in it.
    pub name: CString,
    /// The whole path, for people.
    pub path: PathBuf,
}

/// Whether a member is another one, or lies below it; everything lies below the root directory, whose path in an archive is empty.
pub(super) fn is_at_or_below(member: &[u8], other: &[u8]) -> bool {
    other.is_empty() || member.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

impl Places {
    /// Places in the directory `to`, or where the files were.
    pub(super) fn new(resource: &ResourceName, section: &Files, to: Option<&Path>, only: &[PathBuf]) -> Result<Self> {
        let target = match to {
            Some(to) => Target::Directory(std::path::absolute(to).map_err(Error::file("find", to))?),
            None => Target::InPlace(section.paths.clone()),
        };
        Ok(Self { resource: resource.to_string(), target, only: only.iter().map(|path| stored_path(path)).collect() })
    }

    /// Whether files go to where they were.
    pub(super) const fn is_in_place(&self) -> bool {
        matches!(self.target, Target::InPlace(_))
    }

    /// The target, for people.
    pub(super) fn text(&self) -> String {
        match &self.target {
            Target::Directory(path) => path.display().to_string(),
            Target::InPlace(paths) => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        }
    }

    /// The only members that are wanted; empty: all.
    pub(super) fn only(&self) -> &[Vec<u8>] {
        &self.only
    }

    /// Whether a member is wanted.
    pub(super) fn wants(&self, member: &[u8]) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| is_at_or_below(member, only))
    }

    /// The paths below which what is there is compared with the backup, with the member that each of them is.
    pub(super) fn roots(&self, section: &Files) -> Vec<(PathBuf, Vec<u8>)> {
        let root = |path: &PathBuf| {
            let member = stored_path(path);
            match &self.target {
                Target::Directory(to) => (to.join(OsStr::from_bytes(&member)), member),
                Target::InPlace(_) => (path.clone(), member),
            }
        };
        section.paths.iter().map(root).collect()
    }

    /// The member that lies at this path of the target.
    pub(super) fn member(&self, path: &Path) -> Vec<u8> {
        match &self.target {
            Target::Directory(to) => stored_path(path.strip_prefix(to).unwrap_or(path)),
            Target::InPlace(_) => stored_path(path),
        }
    }

    /// The place of a member; its folder is made where `create` is set.
    pub(super) fn find(&self, member: &[u8], create: bool) -> Result<Place> {
        let (base, relative) = self.base(member)?;
        let mut names: Vec<&[u8]> = relative.split(|byte| *byte == b'/').collect();
        let name = names.pop().unwrap_or_default();
        let name = CString::new(name).map_err(|_| Error::Interrupted("a name with a zero byte".to_owned()))?;
        let path = base.join(OsStr::from_bytes(relative));
        let folder = self.folder(&base, &names, create)?;
        Ok(Place { folder, name, path })
    }

    /// The folder to begin with, which is the user's own choice, and the rest of the way.
    fn base<'a>(&self, member: &'a [u8]) -> Result<(PathBuf, &'a [u8])> {
        match &self.target {
            Target::Directory(path) => Ok((path.clone(), member)),
            Target::InPlace(paths) => {
                let absolute = Path::new("/").join(OsStr::from_bytes(member));
                let elsewhere = || Error::Elsewhere { path: absolute.display().to_string(), resource: self.resource.clone() };
                let root = paths.iter().find(|root| absolute.starts_with(root)).ok_or_else(elsewhere)?;
                let base = root.parent().unwrap_or_else(|| Path::new("/"));
                let skipped = stored_path(base).len();
                let relative = &member[skipped..];
                Ok((base.to_owned(), relative.strip_prefix(b"/").unwrap_or(relative)))
            }
        }
    }

    fn folder(&self, base: &Path, names: &[&[u8]], create: bool) -> Result<Option<OwnedFd>> {
        if create {
            create_folders(base, BASE_MODE).map_err(Error::target(base))?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut folder = match open(base, flags, Mode::empty()) {
            Err(Errno::ENOENT) if !create => return Ok(None),
            opened => opened.map_err(|errno| Error::target(base)(errno.into()))?,
        };
        let mut path = base.to_owned();
        for name in names {
            path.push(OsStr::from_bytes(name));
            match step(&folder, name, create) {
                Ok(Some(next)) => folder = next,
                Ok(None) => return Ok(None),
                // While planning: what is in the way is spoken of as a change of its own.
                Err(Errno::ELOOP | Errno::ENOTDIR) if !create => return Ok(None),
                Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(Error::InTheWay(path)),
                Err(errno) => return Err(Error::errno(if create { "open or create" } else { "open" }, &path)(errno)),
            }
        }
        Ok(Some(folder))
    }
}

fn step(folder: &OwnedFd, name: &[u8], create: bool) -> nix::Result<Option<OwnedFd>> {
    let name = OsStr::from_bytes(name);
    match openat(folder.as_fd(), name, STEP, Mode::empty()) {
        Ok(next) => Ok(Some(next)),
        Err(Errno::ENOENT) if create => {
            mkdirat(folder.as_fd(), name, NEW_FOLDER)?;
            // A folder on the way is no member that is written: nobody else brings its name to disk.
            sync(folder, name)?;
            openat(folder.as_fd(), name, STEP, Mode::empty()).map(Some)
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Brings the new name of a folder to disk.
fn sync(folder: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    fail_point::reach("folder.before", || name.display().to_string()).map_err(|_| Errno::EIO)?;
    match fsync(folder.as_fd()) {
        // Some network and FUSE file systems cannot sync a folder: they have nothing to sync.
        Err(Errno::EINVAL) => Ok(()),
        synced => synced,
    }
}

/// What the system says of a name that is not there.
pub(super) fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
