//! Tar archives with everything that a file has: the format of POSIX.1-2001 (pax), as GNU tar reads and writes it.
//!
//! What a plain header has no room for stands in a pax header before it: long names, times to the nanosecond, extended attributes
//! (`SCHILY.xattr.NAME`), the data map of a sparse file (GNU format 1.0). `tar --xattrs -x` restores all of it. Pure: no file is touched here.

mod header;
mod pax;
mod read;
mod write;

use std::ops::Range;

pub(super) use read::{Archive, Refused};
pub(super) use write::{END, content_bytes, encode, padding};

/// A tar file consists of blocks of this size.
const BLOCK: usize = 512;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// A further name of a member before it.
    HardLink(Vec<u8>),
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its path, relative, without a slash at either end.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its permissions, such as 0o644, with the bits for set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The owner's name where it has one; empty otherwise.
    pub user: String,
    /// The group's name where it has one; empty otherwise.
    pub group: String,
    /// When its content was last changed: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// The size of its content in bytes, holes included.
    pub size: u64,
    /// Its extended attributes: name and value.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a sparse file, the parts that are no holes, in ascending order.
    pub data: Option<Vec<Range<u64>>>,
}

#[cfg(test)]
mod tests;
