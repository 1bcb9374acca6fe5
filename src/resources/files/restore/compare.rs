//! Comparing the members of an archive with what is there.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::geteuid;
use similar::TextDiff;

use super::difference::{AnyPath, Change, Difference, PathMark, Seen};
use super::draft::is_abandoned;
use super::places::{Place, Places, absent, is_at_or_below};
use crate::config::Files;
use crate::resources::files::attributes::{are_same, beside, read_attributes};
use crate::resources::files::error::{Error, Result};
use crate::resources::files::tar::{Archive, Kind, Member};
use crate::resources::files::walk::{Denied, is_skipped, walk};

/// Of text files up to this size the lines that differ are shown.
const TEXT_BYTES_MAX: u64 = 64 << 10;

/// Compares a whole archive; reading it to its end proves that it is sound.
pub(super) fn compare<R: Read>(object: &str, mut archive: Archive<R>, places: &Places) -> Result<Difference> {
    let difference = Difference { owners: geteuid().is_root(), missing: places.only().to_vec(), ..Difference::default() };
    let mut comparing = Comparing { object, places, difference, linked: HashMap::new() };
    while let Some(member) = archive.next_member().map_err(Error::archive(object))? {
        comparing.difference.all.insert(PathMark::of(&member.path));
        if places.wants(&member.path) {
            comparing.difference.missing.retain(|only| !is_at_or_below(&member.path, only));
            match &member.kind {
                Kind::HardLink(first) if !places.wants(first) => comparing.difference.alone(first, member.path),
                _ => comparing.member(&mut archive, &member)?,
            }
        }
    }
    archive.finish().map_err(Error::archive(object))?;
    Ok(comparing.difference)
}

/// Compares, in a second reading, the further names of files whose first names are not wanted.
pub(super) fn compare_alone<R: Read>(
    object: &str,
    mut archive: Archive<R>,
    places: &Places,
    difference: Difference,
) -> Result<Difference> {
    let mut unseen: HashSet<Vec<u8>> = difference.alone.keys().cloned().collect();
    let mut comparing = Comparing { object, places, difference, linked: HashMap::new() };
    while let Some(member) = archive.next_member().map_err(Error::archive(object))? {
        for stand_in in comparing.difference.stand_ins(&member) {
            comparing.member(&mut archive, &stand_in)?;
        }
        unseen.remove(&member.path);
    }
    archive.finish().map_err(Error::archive(object))?;
    match unseen.iter().next() {
        None => Ok(comparing.difference),
        Some(first) => {
            let detail = format!("it has a further name of {}, and not that file itself", String::from_utf8_lossy(first));
            Err(Error::Archive { object: object.to_owned(), detail })
        }
    }
}

/// A comparison under way.
struct Comparing<'a> {
    object: &'a str,
    places: &'a Places,
    difference: Difference,
    /// The files that are there under several names, with the member that each is as it should be.
    linked: HashMap<(u64, u64), PathMark>,
}

impl Comparing<'_> {
    fn member<R: Read>(&mut self, archive: &mut Archive<R>, member: &Member) -> Result<()> {
        let mark = PathMark::of(&member.path);
        let place = self.places.find(&member.path, false)?;
        let Some(status) = status(&place)? else {
            self.difference.add(mark, place.path);
            return Ok(());
        };
        // A file is written as a new one: what is a name of the file before would stay one.
        let renewed = matches!(&member.kind, Kind::HardLink(first) if self.difference.write.contains_key(&PathMark::of(first)));
        let comparison = Comparison { place: &place, member, status, owners: self.difference.owners, renewed };
        let (mut what, text) = comparison.run(self.object, archive, self.places, self.difference.has_room())?;
        if member.kind != Kind::Directory && is_directory(&status) {
            self.difference.replaced.push(place.path.clone());
        }
        if what.is_empty() && self.is_another_one(member, &status, mark) {
            what.push("becomes a file of its own".to_owned());
        }
        match what.is_empty() {
            true => self.difference.unchanged += 1,
            false => {
                let change = Change { path: AnyPath(place.path), what, text };
                self.difference.change(mark, Seen::of(Some(&status)), change);
            }
        }
        Ok(())
    }

    /// Whether what is there is a name of a file that another member is, although the backup has two files.
    fn is_another_one(&mut self, member: &Member, status: &FileStat, mark: PathMark) -> bool {
        let several = member.kind == Kind::File && status.st_nlink > 1;
        several && *self.linked.entry((status.st_dev, status.st_ino)).or_insert(mark) != mark
    }
}

/// What is there and not in the backup: what is excluded from backups is left alone.
pub(super) fn find_extra(section: &Files, places: &Places, difference: &mut Difference) -> Result<()> {
    for (root, member) in places.roots(section) {
        if fs::symlink_metadata(&root).is_err() {
            continue;
        }
        let mut denied = Denied::default();
        let here = Files { paths: vec![root.clone()], ..section.clone() };
        walk(&here, &mut denied, &mut |found, _| {
            let relative = found.path.strip_prefix(&root).unwrap_or_else(|_| Path::new(""));
            let name = crate::resources::files::archive::stored_path(relative);
            let name = if name.is_empty() { member.clone() } else { [&member[..], b"/", &name[..]].concat() };
            // Sockets, pipes and devices are in no backup, and in nobody's way.
            if is_skipped(&found.metadata) || !places.wants(&name) || difference.all.contains(&PathMark::of(&name)) {
                return Ok(());
            }
            if !places.is_in_place() && is_left_out(section, &member, &name) {
                return Ok(());
            }
            if !found.metadata.is_dir() && found.path.file_name().is_some_and(is_abandoned) {
                difference.drafts.push(AnyPath(found.path));
            } else if lies_in_backup(&name, difference) {
                difference.extra.push(AnyPath(found.path));
            } else if difference.beyond.last().is_none_or(|AnyPath(last)| *last != root) {
                difference.beyond.push(AnyPath(root.clone()));
            }
            Ok(())
        })?;
        denied.into_result()?;
    }
    find_occupied(difference)?;
    find_filled(difference)
}

/// Whether backups leave out what is called so in its own place, below the tree `root`: patterns with a slash in them mean that, and not where it is
/// restored to.
fn is_left_out(section: &Files, root: &[u8], name: &[u8]) -> bool {
    let [root, path] = [root, name].map(|member| Path::new("/").join(OsStr::from_bytes(member)));
    let mut parts = path.ancestors().take_while(|part| part.starts_with(&root));
    parts.any(|part| section.exclude.iter().any(|pattern| pattern.matches(part)))
}

/// Whether something would lie in a directory that the backup has: whatever is not in there was not there. Of a path that the resource got
/// since, or that was widened, the backup does not know what was there.
pub(super) fn lies_in_backup(name: &[u8], difference: &Difference) -> bool {
    let mut slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(slash, _)| slash);
    slashes.any(|slash| difference.all.contains(&PathMark::of(&name[..slash])))
}

/// Directories among what is there in addition that cannot be removed, since they hold what no backup has: what is excluded, pipes, another
/// file system.
fn find_occupied(difference: &mut Difference) -> Result<()> {
    let gone = difference.extra.iter().chain(&difference.drafts);
    let mut removable: HashSet<PathBuf> = gone.map(|AnyPath(path)| path.clone()).collect();
    // What is in a directory comes after it.
    for AnyPath(path) in difference.extra.iter().rev() {
        if holds_others(path, &removable).map_err(Error::file("read", path))? {
            removable.remove(path);
        }
    }
    let all = std::mem::take(&mut difference.extra);
    (difference.extra, difference.occupied) = all.into_iter().partition(|AnyPath(path)| removable.contains(path));
    Ok(())
}

/// Directories that become something else, and hold what will not be removed.
fn find_filled(difference: &mut Difference) -> Result<()> {
    let extra = if difference.delete_extra { &difference.extra[..] } else { &[] };
    let removable: HashSet<PathBuf> = extra.iter().chain(&difference.drafts).map(|AnyPath(path)| path.clone()).collect();
    for path in &difference.replaced {
        if holds_others(path, &removable).map_err(Error::file("read", path))? {
            difference.filled.push(AnyPath(path.clone()));
        }
    }
    Ok(())
}

/// Whether there is anything else in a directory.
fn holds_others(path: &Path, removable: &HashSet<PathBuf>) -> io::Result<bool> {
    if !absent(fs::symlink_metadata(path))?.is_some_and(|metadata| metadata.is_dir()) {
        return Ok(false);
    }
    for entry in absent(fs::read_dir(path))?.into_iter().flatten() {
        if !removable.contains(&entry?.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it is said of a directory.
pub(super) fn is_directory(status: &FileStat) -> bool {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
}

/// What the system says of a place; `None` where nothing is.
pub(super) fn status(place: &Place) -> Result<Option<FileStat>> {
    let Some(folder) = &place.folder else { return Ok(None) };
    match fstatat(folder.as_fd(), place.name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some(status)),
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::errno("look at", &place.path)(errno)),
    }
}

struct Comparison<'a> {
    place: &'a Place,
    member: &'a Member,
    status: FileStat,
    owners: bool,
    /// Of a further name: whether the file that it belongs to is written anew.
    renewed: bool,
}

/// What differs, and the lines of a text that do.
type Differing = (Vec<String>, Option<String>);

impl Comparison<'_> {
    fn run<R: Read>(&self, object: &str, archive: &mut Archive<R>, places: &Places, text: bool) -> Result<Differing> {
        let (mut what, mut lines) = (Vec::new(), None);
        let found = SFlag::from_bits_truncate(self.status.st_mode & SFlag::S_IFMT.bits());
        let same_kind = match &self.member.kind {
            Kind::File | Kind::HardLink(_) => found == SFlag::S_IFREG,
            Kind::Directory => found == SFlag::S_IFDIR,
            Kind::Symlink(_) => found == SFlag::S_IFLNK,
        };
        if !same_kind {
            return Ok((vec![format!("becomes a {}", kind_text(&self.member.kind))], None));
        }
        match &self.member.kind {
            Kind::File => {
                if let Some(text) = self.content(object, archive, text)? {
                    what.push("content".to_owned());
                    lines = text;
                }
                self.common(&mut what)?;
            }
            Kind::Directory => self.common(&mut what)?,
            Kind::Symlink(target) => {
                if self.target()? != *target {
                    what.push(format!("leads to {}", String::from_utf8_lossy(target)));
                }
                self.owner(&mut what);
            }
            Kind::HardLink(first) => {
                let first_text = String::from_utf8_lossy(first);
                match self.is_name_of(first, places)? {
                    true if self.renewed => what.push(format!("stays a name of {first_text}")),
                    true => {}
                    false => what.push(format!("becomes a name of {first_text}")),
                }
            }
        }
        Ok((what, lines))
    }

    /// Mode, owner, times and attributes.
    fn common(&self, what: &mut Vec<String>) -> Result<()> {
        let (mode, member) = (self.status.st_mode & 0o7777, self.member);
        if mode != member.mode {
            what.push(format!("mode {mode:04o} -> {:04o}", member.mode));
        }
        self.owner(what);
        if member.kind == Kind::File
            && (self.status.st_mtime, self.status.st_mtime_nsec) != (member.modified.0, i64::from(member.modified.1))
        {
            what.push("time".to_owned());
        }
        let path = &self.place.path;
        let Some(folder) = &self.place.folder else { return Ok(()) };
        let attributes =
            read_attributes(&beside(folder, &self.place.name)).map_err(Error::file("read the extended attributes of", path))?;
        if !are_same(&attributes, &member.attributes, self.owners) {
            what.push("extended attributes".to_owned());
        }
        Ok(())
    }

    fn owner(&self, what: &mut Vec<String>) {
        let (owner, member) = ((self.status.st_uid, self.status.st_gid), self.member);
        if self.owners && owner != (member.uid, member.gid) {
            what.push(format!("owner {}:{} -> {}:{}", owner.0, owner.1, member.uid, member.gid));
        }
    }

    /// Compares the content of a file; `None` where it is the same, and otherwise, of a small text, the lines that differ.
    fn content<R: Read>(&self, object: &str, archive: &mut Archive<R>, text: bool) -> Result<Option<Option<String>>> {
        let here = self.open().map_err(Error::file("read", &self.place.path))?;
        let size = u64::try_from(self.status.st_size).unwrap_or(0);
        let small = size.max(self.member.size) <= TEXT_BYTES_MAX && text;
        let mut stored = vec![0; if small { usize::try_from(self.member.size).unwrap_or(0) } else { 0 }];
        let mut same = size == self.member.size;
        let mut buffer = Vec::new();
        archive
            .content(|offset, piece| {
                if small {
                    let at = usize::try_from(offset).unwrap_or(usize::MAX);
                    if let Some(place) = stored.get_mut(at..).and_then(|rest| rest.get_mut(..piece.len())) {
                        place.copy_from_slice(piece);
                    }
                } else if same {
                    buffer.resize(piece.len(), 0);
                    same = here.read_exact_at(&mut buffer, offset).is_ok() && buffer == piece;
                }
                Ok(())
            })
            .map_err(Error::archive(object))?;
        if small {
            let mut now = Vec::new();
            (&here).take(TEXT_BYTES_MAX + 1).read_to_end(&mut now).map_err(Error::file("read", &self.place.path))?;
            return Ok((now != stored).then(|| text_difference(&now, &stored)));
        }
        let same = same && self.holes_are_empty(&here).map_err(Error::file("read", &self.place.path))?;
        Ok((!same).then_some(None))
    }

    /// Where the backup of a sparse file has nothing, there must be zeros.
    fn holes_are_empty(&self, here: &File) -> io::Result<bool> {
        let Some(data) = &self.member.data else { return Ok(true) };
        let starts = data.iter().map(|part| part.start).chain([self.member.size]);
        let mut ends = std::iter::once(0).chain(data.iter().map(|part| part.end));
        let mut buffer = vec![0; 64 << 10];
        for start in starts {
            let mut at = ends.next().unwrap_or(start);
            while at < start {
                let wanted = usize::try_from(start - at).unwrap_or(buffer.len()).min(buffer.len());
                here.read_exact_at(&mut buffer[..wanted], at)?;
                if buffer[..wanted].iter().any(|byte| *byte != 0) {
                    return Ok(false);
                }
                at += wanted as u64;
            }
        }
        Ok(true)
    }

    fn open(&self) -> io::Result<File> {
        let folder = self.place.folder.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(File::from(openat(folder.as_fd(), self.place.name.as_c_str(), flags, Mode::empty())?))
    }

    fn target(&self) -> Result<Vec<u8>> {
        let Some(folder) = &self.place.folder else { return Ok(Vec::new()) };
        let target = readlinkat(folder.as_fd(), self.place.name.as_c_str()).map_err(Error::errno("read", &self.place.path))?;
        Ok(std::os::unix::ffi::OsStringExt::into_vec(target))
    }

    fn is_name_of(&self, first: &[u8], places: &Places) -> Result<bool> {
        let first = status(&places.find(first, false)?)?;
        Ok(first.is_some_and(|first| (first.st_dev, first.st_ino) == (self.status.st_dev, self.status.st_ino)))
    }
}

pub(super) const fn kind_text(kind: &Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink(_) => "symbolic link",
        Kind::HardLink(_) => "further name of a file",
    }
}

fn text_difference(now: &[u8], stored: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned);
    let (now, stored) = (text(now)?, text(stored)?);
    Some(TextDiff::from_lines(&now, &stored).unified_diff().context_radius(2).header("now", "backup").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_belongs_to_another_is_not_as_it_was() {
        let scratch = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("target", scratch.path().join("link")).expect("link");
        let section: Files = toml::from_str("paths = [\"/tree\"]").expect("a section");
        let resource = "files/a".parse().expect("a name");
        let places = Places::new(&resource, &section, Some(scratch.path()), &[]).expect("places");
        let place = places.find(b"link", false).expect("a place");
        let status = status(&place).expect("look at it").expect("a link");
        let compare = |uid, owners| {
            let member = Member {
                path: b"link".to_vec(),
                kind: Kind::Symlink(b"target".to_vec()),
                mode: 0o777,
                uid,
                gid: status.st_gid,
                user: String::new(),
                group: String::new(),
                modified: (1, 0),
                size: 0,
                attributes: Vec::new(),
                data: None,
            };
            let comparison = Comparison { place: &place, member: &member, status, owners, renewed: false };
            comparison.run("object", &mut Archive::new(io::empty()), &places, false).expect("compare").0
        };
        let (owner, other) = (status.st_uid, status.st_uid + 1);
        assert_eq!(compare(owner, true), Vec::<String>::new());
        assert_eq!(compare(other, true), [format!("owner {owner}:{0} -> {other}:{0}", status.st_gid)]);
        assert_eq!(compare(other, false), Vec::<String>::new(), "only root gives things away");
    }
}
