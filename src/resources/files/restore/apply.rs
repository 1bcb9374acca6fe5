//! Carrying out a difference: each file is written beside its place, synced, and renamed over what is there.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use serde::Serialize;

use super::compare::{is_directory, status};
use super::difference::{AnyPath, Difference, PathMark, Seen};
use super::draft::draft_name;
use super::places::{Place, Places};
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
    /// What was to be removed, and stays.
    left: Vec<AnyPath>,
    /// What was to be replaced, and stays because it has changed since the plan was made.
    changed: Vec<AnyPath>,
}

impl Applied {
    /// Takes note of what was written, or left as it is.
    fn take(&mut self, left: Option<AnyPath>) {
        self.written += u64::from(left.is_none());
        self.changed.extend(left);
    }

    /// How much was left against the plan, in which `occupied` stays.
    pub(super) fn undone(&self, occupied: &[AnyPath]) -> usize {
        self.changed.len() + self.left.iter().filter(|path| !occupied.contains(path)).count()
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restored: {} written, {} removed", self.written, self.removed)?;
        self.left.iter().try_for_each(|path| {
            write!(f, "\nleft {path}: it holds something that backups leave out, or something came in the way meanwhile")
        })?;
        let mut changed = self.changed.iter();
        changed
            .try_for_each(|path| write!(f, "\nleft {path}: it has changed since the plan was made; restore it again to see how"))
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
    let (folders, directories, ours, left) = (HashMap::new(), Vec::new(), HashSet::new(), HashSet::new());
    let mut work = Work { places, owners, inside, removed: Cell::new(0), folders, directories, ours, left };
    let mut applied = Applied::default();
    remove_drafts(&work.places, &difference.drafts)?;
    let done = carry_out(&mut work, object, archive, again, difference, &mut applied);
    let done = done.and_then(|()| remove(&work.places, &rest, &mut applied));
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
        if let Some(seen) = difference.write.get(&PathMark::of(&member.path)) {
            applied.take(work.write(object, &mut archive, member, *seen)?);
        } else if member.kind == Kind::Directory && work.places.wants(&member.path) {
            work.directories.push(member);
        }
    }
    archive.finish().map_err(Error::archive(object))?;
    if let Some(archive) = again {
        work.write_alone(object, archive, difference, applied)?;
    }
    if difference.delete_extra {
        applied.left.extend_from_slice(&difference.occupied);
    }
    Ok(())
}

/// Removes what restores that were killed have left.
fn remove_drafts(places: &Places, drafts: &[AnyPath]) -> Result<()> {
    for draft in drafts {
        let place = places.find(&places.member(draft.as_ref()), false)?;
        let Some(folder) = &place.folder else { continue };
        match unlinkat(folder.as_fd(), place.name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Error::errno("remove", &place.path)(errno)),
        }
    }
    Ok(())
}

/// Removes what the backup does not have; directories after what is in them. No link is followed on the way to it: what was a directory when it
/// was looked at may lead elsewhere by now.
fn remove(places: &Places, extra: &[&AnyPath], applied: &mut Applied) -> Result<()> {
    for found in extra.iter().rev() {
        let place = places.find(&places.member(found.as_ref()), false)?;
        let (Some(folder), Some(there)) = (&place.folder, status(&place)?) else {
            // It is gone, or something else has come in the way.
            if fs::symlink_metadata(found).is_ok() {
                applied.left.push((*found).clone());
            }
            continue;
        };
        let kind = if is_directory(&there) { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        match unlinkat(folder.as_fd(), place.name.as_c_str(), kind) {
            Ok(()) => applied.removed += 1,
            Err(Errno::ENOENT) => {}
            // Something came into it since it was looked at, or a file system is mounted there.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY) => applied.left.push((*found).clone()),
            Err(errno) => return Err(Error::errno("remove", &place.path)(errno)),
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
    /// What was written: a member that is in the archive twice finds what this restore has put there.
    ours: HashSet<PathMark>,
    /// What was to be written, and was left as it is.
    left: HashSet<PathMark>,
}

/// How many folders are kept open.
const FOLDERS_MAX: usize = 100;

impl Work<'_> {
    /// Writes a member, unless what is in its place is not what was `seen` there; the path of what was left then.
    fn write<R: Read>(&mut self, object: &str, archive: &mut Archive<R>, member: Member, seen: Seen) -> Result<Option<AnyPath>> {
        let mark = PathMark::of(&member.path);
        let place = self.places.find(&member.path, true)?;
        let Some(folder) = &place.folder else { return Err(Error::InTheWay(place.path)) };
        let seen = (!self.ours.contains(&mark)).then_some(seen);
        let done = match &member.kind {
            Kind::Directory => self.directory(folder, &place, seen)?,
            Kind::File => self.file(object, archive, &member, folder, &place, seen)?,
            Kind::Symlink(target) => {
                let target = std::ffi::OsStr::from_bytes(target);
                self.replace(folder, &place, seen, |name| {
                    symlinkat(target, folder.as_fd(), name)?;
                    self.own_link(folder, name, &member)
                })?
            }
            // It would be a name of what the backup does not have.
            Kind::HardLink(first) if self.left.contains(&PathMark::of(first)) => false,
            Kind::HardLink(first) => {
                let first = self.places.find(first, true)?;
                let Some(of) = &first.folder else { return Err(Error::InTheWay(first.path)) };
                self.replace(folder, &place, seen, |name| {
                    linkat(of.as_fd(), first.name.as_c_str(), folder.as_fd(), name, LinkatFlags::empty())
                })?
            }
        };
        if !done {
            self.left.insert(mark);
            return Ok(Some(AnyPath(place.path)));
        }
        self.ours.insert(mark);
        self.changed(place)?;
        if member.kind == Kind::Directory {
            self.directories.push(member);
        }
        Ok(None)
    }

    /// Writes the further names of files whose first names are not wanted.
    fn write_alone<R: Read>(
        &mut self,
        object: &str,
        mut archive: Archive<R>,
        difference: &Difference,
        applied: &mut Applied,
    ) -> Result<()> {
        while let Some(member) = archive.next_member().map_err(Error::archive(object))? {
            for stand_in in difference.stand_ins(&member) {
                if let Some(seen) = difference.write.get(&PathMark::of(&stand_in.path)) {
                    applied.take(self.write(object, &mut archive, stand_in, *seen)?);
                }
            }
        }
        archive.finish().map_err(Error::archive(object))
    }

    /// Makes a directory, in place of anything that is none.
    fn directory(&self, folder: &OwnedFd, place: &Place, seen: Option<Seen>) -> Result<bool> {
        match status(place)?.map(|status| is_directory(&status)) {
            Some(true) => return Ok(true),
            // What is to be in the directory has no place then.
            Some(false) if has_changed(place, seen)? => return Err(Error::InTheWay(place.path.clone())),
            Some(false) => unlinkat(folder.as_fd(), place.name.as_c_str(), UnlinkatFlags::NoRemoveDir)
                .map_err(Error::errno("remove", &place.path))?,
            None => {}
        }
        let made = mkdirat(folder.as_fd(), place.name.as_c_str(), Mode::S_IRWXU);
        made.map(|()| true).map_err(Error::errno("create", &place.path))
    }

    fn file<R: Read>(
        &self,
        object: &str,
        archive: &mut Archive<R>,
        member: &Member,
        folder: &OwnedFd,
        place: &Place,
        seen: Option<Seen>,
    ) -> Result<bool> {
        let name = draft_name();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let created = openat(folder.as_fd(), name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = File::from(created.map_err(Error::errno("create a file beside", &place.path))?);
        let written = archive.content(|offset, piece| file.write_all_at(piece, offset)).map_err(Error::archive(object));
        let done = written.and_then(|()| {
            file.set_len(member.size).map_err(Error::file("write", &place.path))?;
            self.dress(file.as_fd(), &beside(folder, &cstring(&name)), &place.path, member)?;
            file.sync_all().map_err(Error::file("sync", &place.path))?;
            fail_point::reach("name.before", || place.path.display().to_string()).map_err(Error::file("name", &place.path))?;
            self.rename(folder, &name, place, seen)
        });
        if !matches!(done, Ok(true)) {
            discard(folder, &name, &place.path);
        }
        done
    }

    /// Makes something beside its place and renames it over what is there.
    fn replace(
        &self,
        folder: &OwnedFd,
        place: &Place,
        seen: Option<Seen>,
        make: impl FnOnce(&str) -> nix::Result<()>,
    ) -> Result<bool> {
        let name = draft_name();
        let made = make(&name).map_err(Error::errno("create", &place.path));
        let made = made.and_then(|()| self.rename(folder, &name, place, seen));
        // Renaming one name of a file over another one leaves both: the draft is removed in any case.
        discard(folder, &name, &place.path);
        made
    }

    /// Gives a draft its name, unless what has that name by now is not what was seen: whether it did.
    fn rename(&self, folder: &OwnedFd, name: &str, place: &Place, seen: Option<Seen>) -> Result<bool> {
        if has_changed(place, seen)? {
            return Ok(false);
        }
        let rename = || renameat(folder.as_fd(), name, folder.as_fd(), place.name.as_c_str());
        match rename() {
            // A directory gives way only if it is empty.
            Err(Errno::EISDIR) => {
                self.empty(&place.path)?;
                unlinkat(folder.as_fd(), place.name.as_c_str(), UnlinkatFlags::RemoveDir)
                    .map_err(Error::errno("replace", &place.path))?;
                rename().map(|()| true).map_err(Error::errno("replace", &place.path))
            }
            other => other.map(|()| true).map_err(Error::errno("replace", &place.path)),
        }
    }

    /// Removes what is to be removed of a directory that becomes something else. What came into it since the plan was made keeps it there.
    fn empty(&self, directory: &Path) -> Result<()> {
        let inside: Vec<&AnyPath> = self.inside.iter().copied().filter(|AnyPath(path)| path.starts_with(directory)).collect();
        let mut emptied = Applied::default();
        let done = remove(&self.places, &inside, &mut emptied);
        self.removed.set(self.removed.get() + emptied.removed);
        done
    }

    /// Owner, attributes, mode and times: the owner first, since changing it takes capabilities and set-id bits away, and the mode after the
    /// attributes, since what its owner may not write to takes none. An access control list stays as it is: the mode was taken with it.
    ///
    /// `open` is what gets them. Its name (`named`, in a folder that is open) can be that of a link by now, where others may write to the folder:
    /// so nothing follows one there.
    fn dress(&self, open: BorrowedFd<'_>, named: &Path, path: &Path, member: &Member) -> Result<()> {
        let itself = Path::new("/proc/self/fd").join(open.as_raw_fd().to_string());
        let itself = itself.as_path();
        if let Some((uid, gid)) = self.owner(member) {
            let owned = fchownat(AT_FDCWD, itself, Some(uid), Some(gid), AtFlags::empty());
            owned.map_err(Error::errno("give away", path))?;
        }
        let mode = Mode::from_bits_truncate(member.mode);
        let set_mode = |mode| {
            let set = fchmodat(AT_FDCWD, itself, mode, FchmodatFlags::FollowSymlink);
            set.map_err(Error::errno("set the mode of", path))
        };
        let mut written = write_attributes(named, &member.attributes);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
            set_mode(mode | Mode::S_IRWXU)?;
            written = write_attributes(named, &member.attributes);
        }
        let written = written.map_err(Error::file("set the extended attributes of", path));
        set_mode(mode).and(written)?;
        let time = modified(member);
        utimensat(AT_FDCWD, itself, &time, &time, UtimensatFlags::FollowSymlink).map_err(Error::errno("set the time of", path))
    }

    /// Whom a member is given to; `None` where nothing can be given away.
    fn owner(&self, member: &Member) -> Option<(Uid, Gid)> {
        self.owners.then(|| (Uid::from_raw(member.uid), Gid::from_raw(member.gid)))
    }

    fn own_link(&self, folder: &OwnedFd, name: &str, member: &Member) -> nix::Result<()> {
        if let Some((uid, gid)) = self.owner(member) {
            fchownat(folder.as_fd(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        let time = modified(member);
        utimensat(folder.as_fd(), name, &time, &time, UtimensatFlags::NoFollowSymlink)
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
            if let Some(open) = open_directory(folder, &place)? {
                self.dress(open.as_fd(), &beside(folder, &place.name), &place.path, member)?;
            }
        }
        self.sync_folders()
    }
}

/// Whether what is at a place is neither what was seen there nor, where nothing is said of that, what this restore has put there.
fn has_changed(place: &Place, seen: Option<Seen>) -> Result<bool> {
    let Some(seen) = seen else { return Ok(false) };
    Ok(!Seen::of(status(place)?.as_ref()).is_gone_or(seen))
}

/// Opens a directory, whatever its mode, to change what it is like; `None` where there is none.
fn open_directory(folder: &OwnedFd, place: &Place) -> Result<Option<OwnedFd>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(folder.as_fd(), place.name.as_c_str(), flags, Mode::empty()) {
        Ok(open) => Ok(Some(open)),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ELOOP | Errno::ENOTDIR) => Err(Error::InTheWay(place.path.clone())),
        Err(errno) => Err(Error::errno("open", &place.path)(errno)),
    }
}

/// When a member was last changed, for `utimensat`.
fn modified(member: &Member) -> TimeSpec {
    let (seconds, nanoseconds) = member.modified;
    TimeSpec::new(seconds, i64::from(nanoseconds))
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

#[cfg(test)]
mod tests;
