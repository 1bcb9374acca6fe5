//! What a file has besides content: the names of its owners, extended attributes, holes.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{SeekFrom, XattrFlags};

/// The largest list of names, and the largest value, that Linux has (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const LIST_BYTES_MAX: usize = 64 << 10;
/// A file has no more parts in an archive, so that its map stays small: it is in memory as a whole, and a reader takes one only up to a limit (that of
/// `tar::Archive` is four times as high). What lies behind them is one part, its holes as zeros.
const PARTS_MAX: usize = 1 << 18;
/// Where SELinux keeps the label of a file. Where it runs it gives one to every file, and lets nobody take it away
/// (`selinux_inode_removexattr` in `security/selinux/hooks.c`); where it does not, root alone may set one.
const LABEL: &[u8] = b"security.selinux";

/// An extended attribute: name and value.
type Attribute = (Vec<u8>, Vec<u8>);

/// The names of owners, each looked up once.
#[derive(Default)]
pub(super) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// The name of a user; empty where it has none.
    pub(super) fn user(&mut self, uid: u32) -> String {
        let look_up = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name).unwrap_or_default();
        self.users.entry(uid).or_insert_with(look_up).clone()
    }

    /// The name of a group; empty where it has none.
    pub(super) fn group(&mut self, gid: u32) -> String {
        let look_up = || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name).unwrap_or_default();
        self.groups.entry(gid).or_insert_with(look_up).clone()
    }
}

/// The extended attributes of a file, directory or link, sorted by name. Access control lists and file capabilities are among them.
pub(super) fn read_attributes(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0; LIST_BYTES_MAX];
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; LIST_BYTES_MAX];
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(length) => found.push((name.to_vec(), value[..length].to_vec())),
            // It was removed meanwhile, or belongs to a name space that only the system sees.
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Gives extended attributes to a file, directory or link, and takes away others that it has. Where a label cannot be had, the one stays that the
/// system has given.
pub(super) fn write_attributes(path: &Path, attributes: &[Attribute]) -> io::Result<()> {
    let present = read_attributes(path)?;
    for name in superfluous(&present, attributes) {
        rustix::fs::lremovexattr(path, name)?;
    }
    // Backwards by name: an access control list (system.) may take the right to write the others (user.) away.
    for attribute @ (name, value) in attributes.iter().rev() {
        if present.contains(attribute) {
            continue;
        }
        match rustix::fs::lsetxattr(path, &name[..], value, XattrFlags::empty()) {
            Err(errno) if name == LABEL => tracing::debug!("the label of {} is not that of the backup: {errno}", path.display()),
            set => set?,
        }
    }
    Ok(())
}

/// Whether the system gives files this attribute by itself, and keeps it: labels, and what else a file system has instead of POSIX access control
/// lists, as NFS has `system.nfs4_acl`.
fn is_given(name: &[u8]) -> bool {
    name == LABEL || name.starts_with(b"system.") && !name.starts_with(b"system.posix_acl_")
}

fn has(attributes: &[Attribute], name: &[u8]) -> bool {
    attributes.iter().any(|(other, _)| other == name)
}

/// The names of attributes that a file has and should not have.
fn superfluous<'a>(present: &'a [Attribute], wanted: &[Attribute]) -> Vec<&'a [u8]> {
    present.iter().map(|(name, _)| &name[..]).filter(|name| !is_given(name) && !has(wanted, name)).collect()
}

/// Whether attributes that were found are those of a backup. What the system gives counts where the backup has it; a label only for root, who alone
/// chooses labels everywhere.
pub(super) fn are_same(found: &[Attribute], wanted: &[Attribute], is_root: bool) -> bool {
    let counts = |(name, _): &&Attribute| {
        let is_chosen = has(wanted, name) && (is_root || name != LABEL);
        !is_given(name) || is_chosen
    };
    found.iter().filter(counts).eq(wanted.iter().filter(counts))
}

/// The parts of a file that are no holes; `None` where it has no holes.
pub(super) fn data_of(file: &File, size: u64, blocks: u64) -> io::Result<Option<Vec<Range<u64>>>> {
    if blocks.saturating_mul(512) >= size { Ok(None) } else { parts_of(file, size, PARTS_MAX) }
}

/// The same of a file that is not looked at before; in at most so many parts.
fn parts_of(file: &File, size: u64, parts_max: usize) -> io::Result<Option<Vec<Range<u64>>>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            Err(rustix::io::Errno::NXIO) => break,
            // The file system knows no holes.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let is_last = parts.len() + 1 >= parts_max;
        let end = if is_last { size } else { rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size) };
        if end > start {
            parts.push(start..end);
        }
        at = end.max(start + 1);
    }
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    if parts.len() == 1 && parts[0] == (0..size) {
        return Ok(None);
    }
    // GNU tar takes the end of the last part for the end of the file.
    if parts.last().is_none_or(|last| last.end < size) {
        parts.push(size..size);
    }
    Ok(Some(parts))
}

/// A path for functions that take one where only an open folder and a name are known: what `/proc` calls it.
pub(super) fn beside(folder: &impl std::os::fd::AsRawFd, name: &CStr) -> std::path::PathBuf {
    let folder = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    folder.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Vec<Attribute> {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn what_the_system_gives_is_neither_taken_away_nor_a_difference_where_the_backup_has_none() {
        let plain = attributes(&[("user.a", "1")]);
        let labelled = attributes(&[("security.selinux", "etc_t"), ("user.a", "1")]);
        assert_eq!(superfluous(&labelled, &attributes(&[])), [b"user.a"]);
        let lists = attributes(&[("system.nfs4_acl", "a"), ("system.posix_acl_access", "b")]);
        assert_eq!(superfluous(&lists, &plain), [b"system.posix_acl_access"]);
        assert!(are_same(&lists[..1], &[], true) && !are_same(&lists, &[], true));
        for is_root in [true, false] {
            assert!(are_same(&labelled, &plain, is_root));
            assert!(!are_same(&labelled, &attributes(&[("user.a", "2")]), is_root));
        }
    }

    #[test]
    fn a_file_in_more_parts_than_a_reader_takes_is_dense_behind_the_first() {
        use std::os::unix::fs::FileExt;
        let (file, size) = (tempfile::tempfile().expect("a file"), 4 << 20);
        for at in [0, 1 << 20, 2 << 20, 3 << 20] {
            file.write_all_at(&[1; 4096], at).expect("write a file");
        }
        file.set_len(size).expect("make a hole at the end");
        let few = parts_of(&file, size, 2).expect("look at a file");
        // A file system may know no holes.
        let Some(all) = parts_of(&file, size, 100).expect("look at a file") else { return };
        assert_eq!((all.len(), few), (5, Some(vec![all[0].clone(), all[1].start..size])));
    }

    #[test]
    fn another_label_is_a_difference_for_root_alone() {
        let [here, backup] = ["tmp_t", "etc_t"].map(|label| attributes(&[("security.selinux", label)]));
        assert!(!are_same(&here, &backup, true) && are_same(&here, &backup, false));
        assert!(!are_same(&attributes(&[]), &backup, true) && are_same(&attributes(&[]), &backup, false));
    }
}
