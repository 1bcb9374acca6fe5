//! What the catalog says of a backup.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupId, ENTRY_FORMAT, PackName};
use crate::codec::{ChangeDigest, Compression, FrameIndex, Hash};
use crate::pg::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::repository::{ResourceKind, ResourceName};

/// So much the clocks of two hosts may differ without a word.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);
/// Ids tell the time in whole seconds, rounded down.
const ID_TIME_STEP: Duration = Duration::from_secs(1);

/// One listed backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEntry {
    /// The format of this entry.
    pub format: u32,
    /// Its id.
    pub id: BackupId,
    /// What was backed up.
    pub resource: ResourceName,
    /// When it began, by the clock of its host.
    pub started_at: Timestamp,
    /// When everything of it was stored, by the clock of its host.
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

    /// Whether it says that it was begun later than `now`, by more than two clocks may differ: the clock of its host was wrong, or this one is.
    #[must_use]
    pub fn is_of_the_future(&self, now: Timestamp) -> bool {
        now.checked_add(CLOCKS_DIFFER).is_ok_and(|latest| self.started_at > latest)
    }

    /// When it began: by the clock of its host, or by the store's where that was behind, which its id then goes by.
    #[must_use]
    pub fn begun(&self) -> Timestamp {
        let latest = self.started_at.checked_add(ID_TIME_STEP).unwrap_or(Timestamp::MAX);
        self.id.begun().filter(|begun| *begun > latest).unwrap_or(self.started_at)
    }

    /// When everything of it was stored, by the same clock as `begun`, and not before that.
    #[must_use]
    pub fn ended(&self) -> Timestamp {
        let begun = self.begun();
        self.finished_at.checked_add(begun.duration_since(self.started_at)).unwrap_or(self.finished_at).max(begun)
    }

    /// How far the clock of its host was behind the store's when it began, where that is more than two clocks may differ.
    #[must_use]
    pub fn clock_was_behind(&self) -> Option<Duration> {
        let behind = Duration::try_from(self.begun().duration_since(self.started_at)).ok();
        behind.filter(|behind| *behind > CLOCKS_DIFFER)
    }

    /// What is special to a PostgreSQL backup.
    ///
    /// # Panics
    /// If it is one of another kind. What `Backups` reads for a resource is of that resource's kind.
    #[must_use]
    pub const fn postgres(&self) -> &PostgresBackup {
        match &self.detail {
            Detail::Postgres(detail) => detail,
            _ => panic!("the backups of a PostgreSQL resource are base backups"),
        }
    }

    /// The object of that name.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<&BackupObject> {
        self.objects.iter().find(|object| object.name == name)
    }

    /// The content that it needs of earlier backups.
    #[must_use]
    pub fn kept(&self) -> &[KeptContent] {
        match &self.detail {
            Detail::Bucket(detail) => &detail.kept,
            _ => &[],
        }
    }

    /// What it says of what the configuration left out; `None` where nothing was recorded of that, and for kinds that leave out nothing.
    #[must_use]
    pub const fn exclusions(&self) -> Option<&Exclusions> {
        match &self.detail {
            Detail::Bucket(detail) => detail.exclusions.as_ref(),
            Detail::Files(detail) => detail.exclusions.as_ref(),
            _ => None,
        }
    }

    /// The packs of a base backup in the order in which they were made, each with its own object and that of its index.
    #[must_use]
    pub fn packs(&self) -> Vec<(PackName, &BackupObject, &BackupObject)> {
        let mut found: BTreeMap<PackName, [Option<&BackupObject>; 2]> = BTreeMap::new();
        for object in &self.objects {
            if let Some(pack) = PackName::of_pack(&object.name) {
                found.entry(pack).or_default()[0] = Some(object);
            } else if let Some(pack) = PackName::of_index(&object.name) {
                found.entry(pack).or_default()[1] = Some(object);
            }
        }
        found.into_iter().filter_map(|(name, [pack, index])| Some((name, pack?, index?))).collect()
    }
}

/// An object that belongs to a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupObject {
    /// Its name within the backup: `000001.tar.zst`, `000001.index`, `backup_manifest.zst`.
    pub name: String,
    /// The size of its content, in bytes.
    pub plain_bytes: u64,
    /// Its size as stored, in bytes.
    pub stored_bytes: u64,
    /// The hash of what is stored, as `b3sum` gives it.
    pub blake3: Hash,
}

/// What only some kinds of resources have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// A base backup.
    Postgres(PostgresBackup),
    /// The objects of a bucket.
    Bucket(BucketBackup),
    /// Trees of files.
    Files(FilesBackup),
    /// The data of a Redis server.
    Redis(RedisBackup),
    /// The output of a program.
    Command(CommandBackup),
    /// A dump of a database.
    Dump(DumpBackup),
}

impl Detail {
    /// The kind of resource that has this.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::Postgres(_) => ResourceKind::Postgres,
            Self::Bucket(_) => ResourceKind::Bucket,
            Self::Files(_) => ResourceKind::Files,
            Self::Redis(_) => ResourceKind::Redis,
            Self::Command(_) => ResourceKind::Command,
            Self::Dump(_) => ResourceKind::Dump,
        }
    }
}

/// What a backup of a bucket is. Keys are secret: they are in its content only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketBackup {
    /// The object with the listing: what there is, and where its content lies.
    pub listing: String,
    /// How many objects of the bucket it has.
    pub objects: u64,
    /// How many of them were read; the content of the others was there already.
    pub read_objects: u64,
    /// How many objects were left out because they vanished or went on changing while they were read.
    pub left_out: u64,
    /// Content that earlier backups have stored and that this one needs.
    pub kept: Vec<KeptContent>,
    /// What the configuration left out; absent from backups that were made before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusions: Option<Exclusions>,
}

/// What the configuration left out of a backup. Patterns are secret as names are: they are in its content only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusions {
    /// The object that says it; none where nothing was left out.
    pub object: Option<String>,
}

/// Objects of one earlier backup that a later one needs, whether the earlier one is still listed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptContent {
    /// The backup that has stored them.
    pub backup: BackupId,
    /// The objects, each with its frame index beside it.
    pub objects: Vec<BackupObject>,
}

/// What a backup of trees of files is. Names of files are secret: they are in its content only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesBackup {
    /// The object with the tar archive.
    pub archive: String,
    /// How many regular files it has.
    pub files: u64,
    /// How many directories.
    pub directories: u64,
    /// How many symbolic links, and further names of files that have several.
    pub links: u64,
    /// How many sockets and devices were left out.
    pub skipped: u64,
    /// What names, owners, modes, sizes and times were like: it shows whether anything has changed since, and nothing else.
    pub fingerprint: ChangeDigest,
    /// What the configuration left out; absent from backups that were made before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusions: Option<Exclusions>,
}

/// What a backup of a Redis server is. Names of keys are secret: they are in its content only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisBackup {
    /// The object with the RDB file.
    pub rdb: String,
    /// What the server is: `redis` or `valkey`.
    pub server: String,
    /// Its version, such as `7.0.15`; empty where it does not tell.
    pub server_version: String,
    /// The version of the RDB format.
    pub rdb_version: u32,
    /// How many keys it has, those that have expired and were not removed yet included. None where the file holds a type of value that this version
    /// of Holdfast does not know.
    pub keys: Option<u64>,
    /// How many of them expire.
    pub keys_with_expiry: Option<u64>,
    /// How many databases have keys.
    pub databases: Option<u64>,
    /// How many values are of types that modules define: a server needs these modules to load it.
    pub module_values: Option<u64>,
    /// The replication id and offset that it is the state of. None where the server refused replication, and each key was read for itself: the keys
    /// are then of different moments.
    pub position: Option<RedisPosition>,
    /// Whether the file carries a checksum (`rdbchecksum`).
    pub checksum: bool,
}

/// A position in the history of a Redis server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisPosition {
    /// The replication id.
    pub replication_id: String,
    /// The offset.
    pub offset: u64,
}

/// What a backup of a program's output is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandBackup {
    /// The object with what it wrote to standard output.
    pub content: String,
    /// Shows whether the output of another run is the same, and nothing else.
    pub digest: ChangeDigest,
}

/// What a dump of a database is. Names of databases, tables and roles are secret: they are in its content only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpBackup {
    /// The object with the dump.
    pub archive: String,
    /// Its format.
    pub format: DumpFormat,
    /// The object with the server's roles and tablespaces, as SQL, where they were to be stored.
    pub globals: Option<String>,
    /// The object that says what was dumped, and how many rows each table has.
    pub inventory: String,
    /// The server's version number, such as 150020.
    pub server_version: u32,
    /// The major version of the `pg_dump` that made it: no older `pg_restore` reads it.
    pub program_major: u32,
    /// How many tables have their rows counted; none where they were not to be.
    pub tables: Option<u64>,
}

/// The format of a dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DumpFormat {
    /// The custom format of `pg_dump`: one stream, which never lies on a disk in the clear.
    #[default]
    Custom,
    /// The directory format, which several connections write and read at once; stored as a tar file of that directory.
    Directory,
}

/// What a base backup is of, and between which positions it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresBackup {
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline, the same from its start to its stop.
    pub timeline: TimelineId,
    /// Where replay begins: the redo position of the backup's checkpoint.
    pub start_lsn: Lsn,
    /// From where on the restored cluster is consistent. All WAL of the timeline from `start_lsn` up to here is stored.
    pub stop_lsn: Lsn,
    /// The server's version number, such as 150020.
    pub server_version: u32,
    /// The cluster's `wal_segment_size`, in bytes.
    pub wal_segment_bytes: SegmentSize,
    /// The mode of the data directory, as `data_directory_mode` shows it: `0700` or `0750`. The directory itself is in no pack.
    pub data_directory_mode: String,
    /// Whether data pages carry checksums: `data_checksums`.
    pub data_checksums: bool,
    /// The label given to the server.
    pub label: String,
    /// How the packs and the manifest are compressed, as in the configuration.
    pub compression: Compression,
    /// PostgreSQL's `backup_manifest`, byte for byte; every file in the packs was compared with it.
    pub manifest: FramedObject,
    /// The tablespaces besides the default ones.
    pub tablespaces: Vec<Tablespace>,
    /// How many files it has; directories and links do not count.
    pub files: u64,
}

/// A large object that is compressed in frames and has no index of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramedObject {
    /// The name of the object within the backup; `BackupEntry::objects` has its size and hash.
    pub name: String,
    /// Where its content lies in it.
    pub frames: FrameIndex,
}

/// A tablespace of a backed up cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its object id: the packs of `PackArchive::Tablespace` of this number hold it, and `pg_tblspc` links to it under that name.
    pub oid: u32,
    /// Its directory on the original host. A relative one lies in the data directory (`allow_in_place_tablespaces`).
    pub location: String,
    /// The size of its packs before compression, in bytes.
    pub bytes: u64,
}
