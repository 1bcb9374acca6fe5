//! Carrying out a difference: each file is written beside its place, synced, and renamed over what is there.

use std::cell::Cell;
use std::collections::HashMap;
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
use super::difference::{AnyPath, Difference, PathMark};
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
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restored: {} written, {} removed", self.written, self.removed)?;
        self.left.iter().try_for_each(|path| {
            write!(f, "\nleft {path}: it holds something that backups leave out, or something came in the way meanwhile")
        })
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
            self.dress(file.as_fd(), &beside(folder, &cstring(&name)), &place.path, member)?;
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
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// A tree that is restored to a directory.
    fn places(to: &Path) -> Places {
        let section: crate::config::Files = toml::from_str("paths = [\"/tree\"]").expect("a section");
        let resource = "files/a".parse().expect("a name");
        Places::new(&resource, &section, Some(to), &[]).expect("places")
    }

    fn work(places: Places) -> Work<'static> {
        Work {
            places,
            owners: false,
            inside: Vec::new(),
            removed: Cell::new(0),
            folders: HashMap::new(),
            directories: Vec::new(),
        }
    }

    #[test]
    fn no_link_that_came_meanwhile_leads_a_removal_elsewhere() {
        let scratch = tempfile::tempdir().expect("a directory");
        let [to, outside] = ["to", "outside"].map(|name| scratch.path().join(name));
        for directory in [&to.join("tree"), &outside] {
            fs::create_dir_all(directory).expect("create a directory");
        }
        for file in [&to.join("tree/other"), &outside.join("file")] {
            fs::write(file, "").expect("write a file");
        }
        // When it was looked at, this was a directory.
        symlink(&outside, to.join("tree/sub")).expect("link");
        let extra = ["tree/other", "tree/sub", "tree/sub/file"].map(|name| AnyPath(to.join(name)));
        let mut applied = Applied::default();
        remove(&places(&to), &extra.iter().collect::<Vec<_>>(), &mut applied).expect("remove");
        assert!(outside.join("file").exists(), "it is no part of the tree");
        assert_eq!((applied.removed, applied.left), (2, vec![extra[2].clone()]));
        assert!(fs::read_dir(to.join("tree")).expect("a directory").next().is_none());
    }

    #[test]
    fn no_link_in_the_place_of_a_draft_gives_its_mode_and_time_to_something_else() {
        let scratch = tempfile::tempdir().expect("a directory");
        let [draft, victim] = ["draft", "victim"].map(|name| scratch.path().join(name));
        fs::write(&victim, "").expect("write a file");
        let before = fs::metadata(&victim).expect("look at a file");
        let file = File::create(&draft).expect("create a file");
        fs::remove_file(&draft).expect("remove a file");
        symlink(&victim, &draft).expect("link");
        let member = Member {
            path: b"tree/draft".to_vec(),
            kind: Kind::File,
            mode: 0o4755,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            modified: (1, 0),
            size: 0,
            attributes: Vec::new(),
            data: None,
        };
        work(places(scratch.path())).dress(file.as_fd(), &draft, &draft, &member).expect("dress");
        let after = fs::metadata(&victim).expect("look at a file");
        assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
        let dressed = file.metadata().expect("look at a file");
        assert_eq!((dressed.mode() & 0o7777, dressed.mtime()), (0o4755, 1));
    }

    #[test]
    fn no_link_in_the_place_of_a_directory_gives_its_mode_to_something_else() {
        let scratch = tempfile::tempdir().expect("a directory");
        let [tree, victim] = ["tree", "victim"].map(|name| scratch.path().join(name));
        fs::create_dir(&victim).expect("create a directory");
        symlink(&victim, &tree).expect("link");
        let place = places(scratch.path()).find(b"tree", false).expect("a place");
        let folder = place.folder.as_ref().expect("a folder");
        assert!(matches!(open_directory(folder, &place), Err(Error::InTheWay(path)) if path == tree));
    }
}
