//! Carrying out a difference: each file is written beside its place, synced, and renamed over what is there.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use serde::Serialize;

use super::compare::{is_directory, status};
use super::difference::{AnyPath, Difference, PathMark};
use super::draft::draft_name;
use super::places::{Place, Places, absent};
use crate::resources::files::attributes::{beside, write_attributes};
use crate::resources::files::error::{Error, Result};
use crate::resources::files::tar::{Archive, Kind, Member};
use crate::sys::fail_point;

/// What was done.
#[derive(Debug, Default, Serialize)]
pub(super) struct Applied {
    /// How many things were written.
    written: u64,
    /// How many were removed.
    removed: u64,
    /// Directories that were to be removed, and stay.
    left: Vec<AnyPath>,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restored: {} written, {} removed", self.written, self.removed)?;
        self.left
            .iter()
            .try_for_each(|path| write!(f, "\nleft {path}: it holds something that backups leave out, or that came meanwhile"))
    }
}

/// Writes the members that the difference names, and removes what it says.
///
/// `again` is a second reading of the archive, for the further names of files whose first names are not wanted: only then is everything
/// there that they may lie in.
pub(super) fn apply<R: Read>(
    object: &str,
    archive: Archive<R>,
    again: Option<Archive<R>>,
    places: Places,
    difference: &Difference,
) -> Result<Applied> {
    let (inside, rest) = difference.removed();
    let owners = difference.owners;
    let mut work = Work { places, owners, inside, removed: Cell::new(0), folders: HashMap::new(), directories: Vec::new() };
    let mut applied = Applied::default();
    remove_drafts(&difference.drafts)?;
    let done = carry_out(&mut work, object, archive, again, difference, &mut applied).and_then(|()| remove(&rest, &mut applied));
    applied.removed += work.removed.get();
    // Where it ends early too, directories that were made get their modes.
    let finished = work.finish();
    done.and(finished).map(|()| applied)
}

fn carry_out<R: Read>(
    work: &mut Work<'_>,
    object: &str,
    mut archive: Archive<R>,
    again: Option<Archive<R>>,
    difference: &Difference,
    applied: &mut Applied,
) -> Result<()> {
    while let Some(member) = archive.next_member().map_err(Error::archive(object))? {
        let is_alone = matches!(&member.kind, Kind::HardLink(first) if difference.alone.contains_key(first));
        if is_alone {
            continue;
        }
        if difference.write.contains(&PathMark::of(&member.path)) {
            work.write(object, &mut archive, member)?;
            applied.written += 1;
        } else if member.kind == Kind::Directory && work.places.wants(&member.path) {
            work.directories.push(member);
        }
    }
    archive.finish().map_err(Error::archive(object))?;
    if let Some(archive) = again {
        applied.written += work.write_alone(object, archive, difference)?;
    }
    if difference.delete_extra {
        applied.left.extend_from_slice(&difference.occupied);
    }
    Ok(())
}

/// Removes what restores that were killed have left.
fn remove_drafts(drafts: &[AnyPath]) -> Result<()> {
    drafts.iter().try_for_each(|AnyPath(path)| absent(fs::remove_file(path)).map(drop).map_err(Error::file("remove", path)))
}

/// Removes what the backup does not have; directories after what is in them.
fn remove(extra: &[&AnyPath], applied: &mut Applied) -> Result<()> {
    for AnyPath(path) in extra.iter().rev() {
        let Some(metadata) = absent(fs::symlink_metadata(path)).map_err(Error::file("look at", path))? else { continue };
        let gone = if metadata.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        match gone {
            Ok(()) => applied.removed += 1,
            // Something came into it since it was looked at, or a file system is mounted there.
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) => {
                applied.left.push(AnyPath(path.clone()));
            }
            Err(error) => return Err(Error::file("remove", path)(error)),
        }
    }
    Ok(())
}

struct Work<'a> {
    places: Places,
    owners: bool,
    /// What is removed of directories that become something else, once that lies beside them.
    inside: Vec<&'a AnyPath>,
    /// How much of it was.
    removed: Cell<u64>,
    /// Folders in which names have changed, by their paths: they are synced at the end.
    folders: HashMap<PathBuf, OwnedFd>,
    /// Directories, which get their modes and times when everything in them is written.
    directories: Vec<Member>,
}

/// How many folders are kept open.
const FOLDERS_MAX: usize = 100;

impl Work<'_> {
    fn write<R: Read>(&mut self, object: &str, archive: &mut Archive<R>, member: Member) -> Result<()> {
        let place = self.places.find(&member.path, true)?;
        let Some(folder) = &place.folder else { return Err(Error::InTheWay(place.path)) };
        match &member.kind {
            Kind::Directory => self.directory(folder, &place)?,
            Kind::File => self.file(object, archive, &member, folder, &place)?,
            Kind::Symlink(target) => {
                let target = std::ffi::OsStr::from_bytes(target);
                self.replace(folder, &place, |name| {
                    symlinkat(target, folder.as_fd(), name)?;
                    self.own_link(folder, name, &member)
                })?;
            }
            Kind::HardLink(first) => {
                let first = self.places.find(first, true)?;
                let Some(of) = &first.folder else { return Err(Error::InTheWay(first.path)) };
                self.replace(folder, &place, |name| {
                    linkat(of.as_fd(), first.name.as_c_str(), folder.as_fd(), name, LinkatFlags::empty())
                })?;
            }
        }
        self.changed(place)?;
        if member.kind == Kind::Directory {
            self.directories.push(member);
        }
        Ok(())
    }

    /// Writes the further names of files whose first names are not wanted.
    fn write_alone<R: Read>(&mut self, object: &str, mut archive: Archive<R>, difference: &Difference) -> Result<u64> {
        let mut written = 0;
        while let Some(member) = archive.next_member().map_err(Error::archive(object))? {
            for stand_in in difference.stand_ins(&member) {
                if difference.write.contains(&PathMark::of(&stand_in.path)) {
                    self.write(object, &mut archive, stand_in)?;
                    written += 1;
                }
            }
        }
        archive.finish().map_err(Error::archive(object))?;
        Ok(written)
    }

    /// Makes a directory, in place of anything that is none.
    fn directory(&self, folder: &OwnedFd, place: &Place) -> Result<()> {
        match status(place)?.map(|status| is_directory(&status)) {
            Some(true) => return Ok(()),
            Some(false) => unlinkat(folder.as_fd(), place.name.as_c_str(), UnlinkatFlags::NoRemoveDir)
                .map_err(Error::errno("remove", &place.path))?,
            None => {}
        }
        mkdirat(folder.as_fd(), place.name.as_c_str(), Mode::S_IRWXU).map_err(Error::errno("create", &place.path))
    }

    fn file<R: Read>(
        &self,
        object: &str,
        archive: &mut Archive<R>,
        member: &Member,
        folder: &OwnedFd,
        place: &Place,
    ) -> Result<()> {
        let name = draft_name();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let created = openat(folder.as_fd(), name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = File::from(created.map_err(Error::errno("create a file beside", &place.path))?);
        let written = archive.content(|offset, piece| file.write_all_at(piece, offset)).map_err(Error::archive(object));
        let done = written.and_then(|()| {
            file.set_len(member.size).map_err(Error::file("write", &place.path))?;
            self.dress(folder, &cstring(&name), &place.path, member)?;
            file.sync_all().map_err(Error::file("sync", &place.path))?;
            fail_point::reach("name.before", || place.path.display().to_string()).map_err(Error::file("name", &place.path))?;
            self.rename(folder, &name, place)
        });
        if done.is_err() {
            discard(folder, &name, &place.path);
        }
        done
    }

    /// Makes something beside its place and renames it over what is there.
    fn replace(&self, folder: &OwnedFd, place: &Place, make: impl FnOnce(&str) -> nix::Result<()>) -> Result<()> {
        let name = draft_name();
        let made = make(&name).map_err(Error::errno("create", &place.path)).and_then(|()| self.rename(folder, &name, place));
        // Renaming one name of a file over another one leaves both: the draft is removed in any case.
        discard(folder, &name, &place.path);
        made
    }

    fn rename(&self, folder: &OwnedFd, name: &str, place: &Place) -> Result<()> {
        let rename = || renameat(folder.as_fd(), name, folder.as_fd(), place.name.as_c_str());
        match rename() {
            // A directory gives way only if it is empty.
            Err(Errno::EISDIR) => {
                self.empty(&place.path)?;
                unlinkat(folder.as_fd(), place.name.as_c_str(), UnlinkatFlags::RemoveDir)
                    .map_err(Error::errno("replace", &place.path))?;
                rename().map_err(Error::errno("replace", &place.path))
            }
            other => other.map_err(Error::errno("replace", &place.path)),
        }
    }

    /// Removes what is to be removed of a directory that becomes something else. What came into it since the plan was made keeps it there.
    fn empty(&self, directory: &Path) -> Result<()> {
        let inside: Vec<&AnyPath> = self.inside.iter().copied().filter(|AnyPath(path)| path.starts_with(directory)).collect();
        let mut emptied = Applied::default();
        let done = remove(&inside, &mut emptied);
        self.removed.set(self.removed.get() + emptied.removed);
        done
    }

    /// Owner, attributes, mode and times: the owner first, since changing it takes capabilities and set-id bits away, and the mode after the
    /// attributes, since what its owner may not write to takes none. An access control list stays as it is: the mode was taken with it.
    fn dress(&self, folder: &OwnedFd, name: &std::ffi::CString, path: &Path, member: &Member) -> Result<()> {
        self.own(folder, name, member).map_err(Error::errno("give away", path))?;
        let mode = Mode::from_bits_truncate(member.mode);
        let set_mode = |mode| {
            let set = fchmodat(folder.as_fd(), name.as_c_str(), mode, FchmodatFlags::FollowSymlink);
            set.map_err(Error::errno("set the mode of", path))
        };
        let mut written = write_attributes(&beside(folder, name), &member.attributes);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
            set_mode(mode | Mode::S_IRWXU)?;
            written = write_attributes(&beside(folder, name), &member.attributes);
        }
        let written = written.map_err(Error::file("set the extended attributes of", path));
        set_mode(mode).and(written)?;
        let (seconds, nanoseconds) = member.modified;
        let time = TimeSpec::new(seconds, i64::from(nanoseconds));
        utimensat(folder.as_fd(), name.as_c_str(), &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(Error::errno("set the time of", path))
    }

    fn own(&self, folder: &OwnedFd, name: &std::ffi::CString, member: &Member) -> nix::Result<()> {
        if !self.owners {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
        fchownat(folder.as_fd(), name.as_c_str(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn own_link(&self, folder: &OwnedFd, name: &str, member: &Member) -> nix::Result<()> {
        let name = cstring(name);
        self.own(folder, &name, member)?;
        let (seconds, nanoseconds) = member.modified;
        let time = TimeSpec::new(seconds, i64::from(nanoseconds));
        utimensat(folder.as_fd(), name.as_c_str(), &time, &time, UtimensatFlags::NoFollowSymlink)
    }

    /// Remembers that a name in a folder has changed.
    fn changed(&mut self, place: Place) -> Result<()> {
        let Some(folder) = place.folder else { return Ok(()) };
        let path = place.path.parent().unwrap_or(&place.path).to_owned();
        if self.folders.len() >= FOLDERS_MAX {
            self.sync_folders()?;
        }
        self.folders.entry(path).or_insert(folder);
        Ok(())
    }

    fn sync_folders(&mut self) -> Result<()> {
        for (path, folder) in self.folders.drain() {
            File::from(folder).sync_all().map_err(Error::file("sync", &path))?;
        }
        Ok(())
    }

    /// Gives the directories their modes and times, the deepest first, and brings all new names to disk.
    fn finish(mut self) -> Result<()> {
        for member in std::mem::take(&mut self.directories).iter().rev() {
            let place = self.places.find(&member.path, false)?;
            let Some(folder) = &place.folder else { continue };
            if status(&place)?.is_some() {
                self.dress(folder, &place.name, &place.path, member)?;
            }
        }
        self.sync_folders()
    }
}

/// Removes a draft, if it is still there.
fn discard(folder: &OwnedFd, name: &str, beside: &Path) {
    match unlinkat(folder.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => tracing::warn!("the draft {name} beside {} was not removed: {errno}", beside.display()),
    }
}

fn cstring(name: &str) -> std::ffi::CString {
    std::ffi::CString::new(name).expect("the name of a draft has no zero byte")
}
