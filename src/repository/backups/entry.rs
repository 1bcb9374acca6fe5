//! What the catalog says of a backup.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ENTRY_FORMAT;
use crate::codec::Hash;
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::repository::ResourceName;

/// The id of a backup, such as `20261122T071500Z-0A00002800`: when it began, and something that sets it apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(String);

/// Text that cannot be a backup's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a backup id; 'holdfast backups' lists them")]
pub struct BackupIdError(String);

impl BackupId {
    /// The id of a backup begun at `started_at`; `mark` sets it apart from others of the same second.
    #[must_use]
    pub fn new(started_at: Timestamp, mark: u64) -> Self {
        Self(format!("{}-{mark:010X}", started_at.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(BackupIdError(text.to_owned())) }
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BackupId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One listed backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEntry {
    /// The format of this entry.
    pub format: u32,
    /// Its id.
    pub id: BackupId,
    /// What was backed up.
    pub resource: ResourceName,
    /// When it began.
    pub started_at: Timestamp,
    /// When everything of it was stored.
    pub finished_at: Timestamp,
    /// The version of Holdfast that made it.
    pub made_by: String,
    /// How much was backed up, in bytes before compression.
    pub plain_bytes: u64,
    /// How much is stored for it, in bytes.
    pub stored_bytes: u64,
    /// The objects that hold it.
    pub objects: Vec<BackupObject>,
    /// What only its kind of resource has.
    #[serde(flatten)]
    pub detail: Detail,
}

impl BackupEntry {
    /// The format that new entries have.
    pub const FORMAT: u32 = ENTRY_FORMAT;

    /// What is special to a PostgreSQL backup.
    #[must_use]
    pub const fn postgres(&self) -> &PostgresBackup {
        let Detail::Postgres(detail) = &self.detail;
        detail
    }
}

/// An object that belongs to a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupObject {
    /// Its name within the backup.
    pub name: String,
    /// Its size as stored, in bytes.
    pub stored_bytes: u64,
    /// The hash of what is stored.
    pub blake3: Hash,
}

/// The names of the objects of a base backup.
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
}

/// What only some kinds of resources have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// A base backup.
    Postgres(PostgresBackup),
}

/// What a base backup is of, and between which positions it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresBackup {
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline at its start.
    pub timeline: TimelineId,
    /// Where replay begins: the redo position of the backup's checkpoint.
    pub start_lsn: Lsn,
    /// From where on the restored cluster is consistent.
    pub stop_lsn: Lsn,
    /// The server's version number, such as 150020.
    pub server_version: u32,
    /// The cluster's `wal_segment_size` in bytes.
    pub wal_segment_bytes: u64,
    /// The label given to the server.
    pub label: String,
    /// How the packs are compressed, as in the configuration.
    pub compression: String,
    /// The tablespaces besides the default ones.
    pub tablespaces: Vec<Tablespace>,
    /// How many files it has.
    pub files: u64,
}

/// A tablespace of a backed up cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its object id.
    pub oid: u32,
    /// Its directory on the original host.
    pub location: String,
    /// Its approximate size, in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_word() {
        for text in ["", "a/b", "..", "a b", "a.json"] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
        let id = BackupId::new("2026-11-22T07:15:00Z".parse().expect("a valid time"), 0x2800);
        assert_eq!(id.to_string(), "20261122T071500Z-0000002800");
        assert_eq!(id.as_str().parse(), Ok(id));
    }
}
