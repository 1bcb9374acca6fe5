//! Packs and their indexes: which file lies where.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::EntryPath;
use crate::codec::FrameIndex;

/// The newest format of an index that this version reads, and the one that it writes.
const INDEX_FORMAT: u32 = 1;
/// A tar file consists of blocks of this size.
const TAR_BLOCK: u64 = 512;

/// The number of a pack within its backup; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName(pub u32);

impl PackName {
    /// The name of the pack: a tar file, compressed; `extension` is that of the compression, `zst` or `lz4`.
    #[must_use]
    pub fn pack(self, extension: &str) -> String {
        format!("{:06}.tar.{extension}", self.0)
    }

    /// The name of the pack's index.
    #[must_use]
    pub fn index(self) -> String {
        format!("{:06}.index", self.0)
    }

    /// The pack whose name this is.
    #[must_use]
    pub fn of_pack(name: &str) -> Option<Self> {
        let (number, extension) = name.split_once(".tar.")?;
        matches!(extension, "zst" | "lz4").then_some(Self(number.parse().ok()?))
    }

    /// The pack of whose index this is the name.
    #[must_use]
    pub fn of_index(name: &str) -> Option<Self> {
        Some(Self(name.strip_suffix(".index")?.parse().ok()?))
    }
}

/// Which of the server's archives a pack is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackArchive {
    /// The data directory without the tablespaces.
    Base,
    /// The tablespace with this object id.
    Tablespace(u32),
}

impl PackArchive {
    /// The path that `backup_manifest` gives to a file of this archive: relative to the data directory, through `pg_tblspc`.
    #[must_use]
    pub fn manifest_path(self, path: &[u8]) -> Vec<u8> {
        match self {
            Self::Base => path.to_vec(),
            Self::Tablespace(oid) => [format!("pg_tblspc/{oid}/").as_bytes(), path].concat(),
        }
    }
}

impl fmt::Display for PackArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("the data directory"),
            Self::Tablespace(oid) => write!(f, "tablespace {oid}"),
        }
    }
}

/// What is in a pack.
///
/// Decompressed, a pack is an ordinary tar file of `frames.plain_size()` bytes. Entries are in the order of the tar file; their content
/// does not overlap and lies within it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackIndex {
    /// The format of this index.
    pub format: u32,
    /// Which archive the pack is a part of: its paths are relative to that one's directory.
    pub archive: PackArchive,
    /// Where the tar file's bytes lie in the stored object.
    pub frames: FrameIndex,
    /// The files, directories and links.
    pub entries: Vec<PackEntry>,
}

/// A file, directory or link in a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackEntry {
    /// Its name.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Its permissions, such as 0o600.
    pub mode: u32,
    /// When it was last changed, in seconds since 1970.
    pub modified: u64,
    /// The offset of its content in the tar file, in bytes.
    pub offset: u64,
    /// The size of its content, in bytes; zero for what is no file.
    pub size: u64,
    /// The CRC-32C of its content; zero for what is no file.
    pub crc32c: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this path.
    Link(EntryPath),
}

impl PackIndex {
    /// The format that new indexes have.
    pub const FORMAT: u32 = INDEX_FORMAT;

    pub(super) fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).expect("records have string keys and no failing serializer").into()
    }

    /// Reads an index, and checks that it describes a pack.
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let index: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if index.format > INDEX_FORMAT {
            return Err(format!("it has format {}; this version of Holdfast reads up to {INDEX_FORMAT}", index.format));
        }
        index.check().map(|()| index)
    }

    fn check(&self) -> Result<(), String> {
        let mut end: u64 = 0;
        for entry in &self.entries {
            if entry.offset < end.saturating_add(TAR_BLOCK) || (entry.kind != EntryKind::File && entry.size > 0) {
                return Err(format!("entry {:?} overlaps the one before it", entry.path));
            }
            end = entry.offset.saturating_add(entry.size);
        }
        if end > self.frames.plain_size() {
            return Err(format!("its entries need {end} bytes, its frames hold {}", self.frames.plain_size()));
        }
        if self.frames.is_contiguous() { Ok(()) } else { Err("its frames are not contiguous".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, offset: u64, size: u64) -> PackEntry {
        let path = EntryPath(path.into());
        PackEntry { path, kind: EntryKind::File, mode: 0o600, modified: 0, offset, size, crc32c: 0 }
    }

    fn index(entries: Vec<PackEntry>) -> PackIndex {
        let mut frames = FrameIndex::default();
        frames.push(4096, &[1, 2, 3]);
        PackIndex { format: PackIndex::FORMAT, archive: PackArchive::Tablespace(16384), frames, entries }
    }

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let index = index(vec![file("a", 512, 100), file("b", 1536, 512)]);
        assert_eq!(PackIndex::read(&index.to_json()), Ok(index));
    }

    #[test]
    fn an_index_that_describes_no_pack_is_refused() {
        let overlapping = index(vec![file("a", 512, 100), file("b", 1000, 512)]);
        let too_long = index(vec![file("a", 512, 4000)]);
        let endless = index(vec![file("a", 512, u64::MAX), file("b", 512, 1)]);
        let mut newer = index(vec![]);
        newer.format += 1;
        for index in [overlapping, too_long, endless, newer] {
            assert!(PackIndex::read(&index.to_json()).is_err(), "{index:?}");
        }
    }

    #[test]
    fn names_of_packs_are_told_from_others() {
        let pack = PackName(7);
        assert_eq!(PackName::of_pack(&pack.pack("zst")), Some(pack));
        assert_eq!(PackName::of_index(&pack.index()), Some(pack));
        assert_eq!(PackName::of_pack("backup_manifest.zst"), None);
        assert_eq!(PackName::of_pack("000007.index"), None);
        assert_eq!(PackName::of_index("backup_manifest.index"), None);
    }

    #[test]
    fn a_tablespaces_files_have_their_place_in_the_manifest() {
        assert_eq!(PackArchive::Base.manifest_path(b"base/1/2"), b"base/1/2");
        assert_eq!(PackArchive::Tablespace(16384).manifest_path(b"PG_15/5/6"), b"pg_tblspc/16384/PG_15/5/6");
    }
}
