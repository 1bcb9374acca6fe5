//! The tar streams of `BASE_BACKUP`: a push parser that copies no content, and a writer of headers.
//!
//! PostgreSQL writes plain ustar: a header of 512 bytes, the content, padding to 512; names in two fields, sizes of 8 GiB and
//! more in base 256. Anything else is refused, and so is every name that leads out of the directory.
//!
//! Sources: `tarCreateHeader` in PostgreSQL's `port/tar.c`; the ustar format of POSIX.1-1988.

mod header;
mod parser;

use std::path::{Component, Path, PathBuf};

pub use parser::{Event, TarParser};

/// The unit of everything in a tar.
pub const BLOCK_BYTES: usize = 512;

/// What ends a tar: two blocks of zeros.
pub const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// What a member of a tar is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; in a base backup, from `pg_tblspc/OID` to a tablespace. Where it leads is not checked.
    Link(PathBuf),
}

/// A member of a tar, as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Relative, without `.` and `..`.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The bytes of its content; zero for all but files.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// When it was last changed, in seconds of the Unix epoch.
    pub modified: u64,
}

impl Member {
    /// The padding behind the content, in bytes.
    #[must_use]
    pub const fn padding(&self) -> usize {
        padding(self.size)
    }

    /// The header that describes this member.
    ///
    /// # Errors
    /// `Name` if the path, or where a link leads to, does not fit into the format's fields.
    pub fn header(&self) -> Result<[u8; BLOCK_BYTES], TarError> {
        header::write(self)
    }
}

/// How many bytes fill up the last block of `size` bytes.
#[must_use]
#[allow(clippy::cast_possible_truncation)] // less than a block
pub const fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK_BYTES as u64) as usize
}

/// Bytes that are no tar as PostgreSQL writes it, or one that may not be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// Not the header of a ustar member.
    #[error("the tar stream is not valid at byte {offset}: {reason}")]
    Header {
        /// Where the header begins.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name that must not be unpacked, or cannot be packed.
    #[error("the tar stream has a member {path:?}, whose name {reason}")]
    Name {
        /// The name.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It ends inside a member.
    #[error("the tar stream is truncated after {length} bytes")]
    Truncated {
        /// Its length.
        length: u64,
    },
}

/// The path without `.`; `None` if it leads anywhere but further inside.
fn inner_path(path: &Path) -> Option<PathBuf> {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inner.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!inner.as_os_str().is_empty()).then_some(inner)
}

#[cfg(test)]
mod tests;
