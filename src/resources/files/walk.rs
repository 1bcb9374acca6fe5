//! Walking the trees: what there is to back up, in the order of names.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::attributes::read_attributes;
use super::error::{Error, Result};
use crate::codec::{Hash, Hasher};
use crate::config::Files;

/// Something in a tree.
pub(super) struct Found {
    /// Its absolute path.
    pub path: PathBuf,
    /// What the system says of it; of a link, not of what it leads to.
    pub metadata: Metadata,
}

/// How many unreadable things are named.
const NAMED_MAX: usize = 10;

/// What may not be read: the first ones by name, the rest counted.
#[derive(Default)]
pub(super) struct Denied {
    named: Vec<String>,
    count: usize,
}

impl Denied {
    pub(super) fn add(&mut self, path: &Path, error: &std::io::Error) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("{} ({error})", path.display()));
        }
    }

    pub(super) fn into_result(self) -> Result<()> {
        if self.count == 0 { Ok(()) } else { Err(Error::Unreadable(self.named, self.count)) }
    }
}

/// Hands every directory, file and link of the trees to `visit`, directories before what is in them. What cannot be listed is in `denied`.
pub(super) fn walk(section: &Files, denied: &mut Denied, visit: &mut dyn FnMut(Found, &mut Denied) -> Result<()>) -> Result<()> {
    for root in &section.paths {
        let metadata = fs::symlink_metadata(root).map_err(Error::file("read", root))?;
        let mut walk = Walk { section, device: metadata.dev(), denied, visit };
        walk.enter(Found { path: root.clone(), metadata })?;
    }
    Ok(())
}

struct Walk<'a> {
    section: &'a Files,
    device: u64,
    denied: &'a mut Denied,
    visit: &'a mut dyn FnMut(Found, &mut Denied) -> Result<()>,
}

impl Walk<'_> {
    fn enter(&mut self, found: Found) -> Result<()> {
        if self.section.exclude.iter().any(|pattern| pattern.matches(&found.path)) {
            return Ok(());
        }
        let inner = found.metadata.is_dir() && !(self.section.one_file_system && found.metadata.dev() != self.device);
        let path = found.path.clone();
        (self.visit)(found, self.denied)?;
        if !inner {
            return Ok(());
        }
        for name in self.names(&path) {
            let path = path.join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) => self.enter(Found { path, metadata })?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => self.denied.add(&path, &error),
            }
        }
        Ok(())
    }

    /// The names in a directory, sorted; one that vanished meanwhile has none.
    fn names(&mut self, path: &Path) -> Vec<std::ffi::OsString> {
        let names = fs::read_dir(path).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect());
        let mut names: Vec<std::ffi::OsString> = match names {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.denied.add(path, &error);
                Vec::new()
            }
        };
        names.sort();
        names
    }
}

/// The paths of a section that are links to what is not backed up with them, in sentences: of a link nothing but the link is.
pub(super) fn bare_links(section: &Files) -> Vec<String> {
    let bare = |path: &PathBuf| {
        fs::read_link(path).ok()?;
        let found = path.canonicalize().ok()?;
        let is_covered = section.paths.iter().any(|other| other != path && found.starts_with(other));
        let (path, found) = (path.display(), found.display());
        (!is_covered)
            .then(|| format!("of {path} only the link is backed up that it is: add {found} to paths for what it leads to"))
    };
    section.paths.iter().filter_map(bare).collect()
}

/// What a look at the trees shows, without reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    /// How many things there are.
    pub entries: u64,
    /// The content of files, in bytes.
    pub bytes: u64,
    /// What is left out: the first sockets and devices.
    pub skipped: Vec<PathBuf>,
    /// Changes with anything that a backup would store.
    pub fingerprint: Hash,
}

/// Looks at the trees, and returns what may not be listed too. Blocks.
pub(super) fn survey(section: &Files) -> Result<(Survey, Denied)> {
    let (mut entries, mut bytes, mut skipped, mut hash) = (0, 0, Vec::new(), Hasher::new());
    let mut denied = Denied::default();
    walk(section, &mut denied, &mut |found, denied| {
        if is_skipped(&found.metadata) {
            if skipped.len() < NAMED_MAX {
                skipped.push(found.path);
            }
            return Ok(());
        }
        entries += 1;
        // A backup would fail at it: better said now.
        if found.metadata.is_file()
            && let Err(error) = access(&found.path, AccessFlags::R_OK)
            && error != Errno::ENOENT
        {
            denied.add(&found.path, &error.into());
        }
        bytes += if found.metadata.is_file() { found.metadata.len() } else { 0 };
        hash_entry(&mut hash, &found);
        if found.metadata.is_dir() { hash_attributes(&mut hash, &found.path) } else { Ok(()) }
    })?;
    Ok((Survey { entries, bytes, skipped, fingerprint: hash.finish() }, denied))
}

/// Sockets, pipes and devices are no content.
pub(super) fn is_skipped(metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device()
}

/// The time of the last change of the inode changes with content, owner, mode and attributes alike. A directory's own times change with
/// what is in it, which shows by itself.
fn hash_entry(hash: &mut Hasher, Found { path, metadata }: &Found) {
    hash.update(&(path.as_os_str().len() as u64).to_le_bytes());
    hash.update(path.as_os_str().as_bytes());
    let (times, size) = if metadata.is_dir() { ([0; 4], 0) } else { (times(metadata), metadata.len()) };
    let of_inode = [metadata.ino(), size, u64::from(metadata.mode()), u64::from(metadata.uid()), u64::from(metadata.gid())];
    of_inode.iter().for_each(|number| hash.update(&number.to_le_bytes()));
    times.iter().for_each(|number| hash.update(&number.to_le_bytes()));
}

/// The attributes of a directory, default access control lists among them: as little of its times is hashed, they show here.
fn hash_attributes(hash: &mut Hasher, path: &Path) -> Result<()> {
    let attributes = match read_attributes(path) {
        // It is gone, or cannot be listed either.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Vec::new(),
        read => read.map_err(Error::file("read the extended attributes of", path))?,
    };
    for part in attributes.iter().flat_map(|(name, value)| [name, value]) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(())
}

/// The times by which a change of a file shows.
pub(super) fn times(metadata: &Metadata) -> [i64; 4] {
    [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_a_link_to_what_is_not_backed_up_is_spoken_of() {
        let scratch = tempfile::tempdir().expect("a directory");
        let real = scratch.path().canonicalize().expect("a path");
        let [data, link] = ["data", "link"].map(|name| real.join(name).display().to_string());
        fs::create_dir(&data).expect("create a directory");
        std::os::unix::fs::symlink(&data, &link).expect("link");
        let section = |paths: &[&String]| -> Files { toml::from_str(&format!("paths = {paths:?}")).expect("a section") };
        let said = bare_links(&section(&[&link]));
        assert_eq!(said, [format!("of {link} only the link is backed up that it is: add {data} to paths for what it leads to")]);
        for paths in [vec![&link, &data], vec![&data]] {
            assert_eq!(bare_links(&section(&paths)), Vec::<String>::new());
        }
    }
}
