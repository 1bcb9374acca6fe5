//! The catalog: one small JSON object per backup, stored last, and the content that it lists.

mod content;
mod draft;
mod entry;
mod id;
mod open;
mod pack;
mod path;
mod reader;
mod shared;
mod writer;

pub use draft::{Draft, Leftover};
pub use entry::{
    BackupEntry, BackupObject, BucketBackup, CommandBackup, Detail, DumpBackup, DumpFormat, Exclusions, FilesBackup,
    FramedObject, KeptContent, PostgresBackup, RedisBackup, RedisPosition, Tablespace,
};
pub use id::{BackupId, BackupIdError};
pub use open::OpenObject;
pub use pack::{EntryKind, PackArchive, PackEntry, PackIndex, PackName};
pub use path::EntryPath;
pub use reader::Content;
pub use shared::Needed;
pub use writer::{ObjectWriter, OnStored, WriteLimits, Writers, WrittenObject};

use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use super::{Damaged, Error, Listed, Repository, ResourceName, Result, Stored, keys, record};
use crate::storage::{ObjectKey, Put, list_all};

/// How many catalog entries are read at once.
const READS_AT_ONCE: usize = 16;

/// The newest entry format that this version reads, and the one that it writes.
pub(super) const ENTRY_FORMAT: u32 = 1;

/// Stores tell the time in whole seconds, rounded down.
const STORE_TIME_STEP: Duration = Duration::from_secs(1);

/// Where a backup stands in the order of all: at the time at which it was begun (`BackupEntry::begun`, `BackupId::begun`: by the store's clock
/// where its host's was behind), or, where its host's clock was so far ahead that it was listed before that by the store's, at the time at which
/// it was listed.
fn place(begun: Timestamp, listed: Timestamp) -> Timestamp {
    let was_wrong = listed.checked_add(STORE_TIME_STEP).is_ok_and(|latest| begun > latest);
    if was_wrong { listed } else { begun }
}

/// What a listing says of a backup. Ids tell seconds, entries more: the place can be one off, in either direction.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct CatalogLine {
    place: Timestamp,
    id: BackupId,
    modified: Timestamp,
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The backups of one resource.
#[derive(Clone, Debug)]
pub struct Backups {
    repository: Repository,
    resource: ResourceName,
}

impl Backups {
    pub(super) const fn new(repository: Repository, resource: ResourceName) -> Self {
        Self { repository, resource }
    }

    /// The resource whose backups these are.
    #[must_use]
    pub const fn resource(&self) -> &ResourceName {
        &self.resource
    }

    /// The leases on the resource.
    #[must_use]
    pub fn leases(&self) -> super::Leases {
        self.repository.leases(&self.resource)
    }

    /// How long a lease lasts without being renewed.
    #[must_use]
    pub const fn lease_time(&self) -> std::time::Duration {
        self.repository.lease_time()
    }

    /// Lists a backup in the catalog. The caller has made sure that everything it names is stored and checked.
    ///
    /// # Errors
    /// `Error::Malformed` where an entry of that id is there: ids are not reused.
    pub async fn put(&self, entry: &BackupEntry) -> Result<Stored> {
        let key = keys::backup(&self.resource, &entry.id);
        match self.repository.store.put_if_absent(&key, record::seal(entry)).await? {
            Put::Created => Ok(Stored::New),
            Put::AlreadyExists if self.read(&key).await? == *entry => Ok(Stored::Identical),
            Put::AlreadyExists => Err(Error::Malformed {
                object: key.to_string(),
                detail: "another backup has this id; it was not overwritten".into(),
            }),
        }
    }

    /// One backup; `None` where the catalog does not list it.
    ///
    /// # Errors
    /// When the store fails or the entry cannot be read.
    pub async fn get(&self, id: &BackupId) -> Result<Option<BackupEntry>> {
        match self.read(&keys::backup(&self.resource, id)).await {
            Ok(entry) => Ok(Some(entry)),
            Err(Error::Storage(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All backups, the oldest first (`place`), and the entries that cannot be read. One that is removed meanwhile is neither.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Listed<BackupEntry>> {
        let listed = list_all(self.repository.store.as_ref(), &keys::backups(&self.resource)).await?;
        let reads = listed.into_iter().map(|line| async move { (self.read(&line.key).await, line) });
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let (mut placed, mut damaged) = (Vec::new(), Vec::new());
        while let Some((read, line)) = reads.next().await {
            match read {
                Ok(entry) => placed.push((place(entry.begun(), line.modified), entry)),
                Err(Error::Storage(error)) if error.is_not_found() => {}
                Err(error) => damaged.push(Damaged::of(&line.key, error)?),
            }
        }
        placed.sort_by(|(a, left), (b, right)| (a, left.id.as_str()).cmp(&(b, right.id.as_str())));
        damaged.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(Listed { records: placed.into_iter().map(|(_, entry)| entry).collect(), damaged })
    }

    /// What `summary` makes of each entry and of the time at which the store says that it was listed, in no particular order. Holds
    /// a few entries at a time.
    ///
    /// # Errors
    /// As `list`. An entry that was removed meanwhile is left out.
    pub async fn summaries<T>(&self, summary: impl Fn(BackupEntry, Timestamp) -> T) -> Result<Vec<T>> {
        let listed = list_all(self.repository.store.as_ref(), &keys::backups(&self.resource)).await?;
        let reads: Vec<_> = listed.into_iter().map(|line| async move { (self.read(&line.key).await, line.modified) }).collect();
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut summaries = Vec::new();
        while let Some((read, stored_at)) = reads.next().await {
            match read {
                Ok(entry) => summaries.push(summary(entry, stored_at)),
                Err(Error::Storage(error)) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(summaries)
    }

    /// The ids of all listed backups, the oldest first (`place`), without a look at their entries.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ids(&self) -> Result<Vec<BackupId>> {
        Ok(self.lines().await?.into_iter().map(|line| line.id).collect())
    }

    /// What a listing says of backups, the oldest first.
    async fn lines(&self) -> Result<Vec<CatalogLine>> {
        let listed = list_all(self.repository.store.as_ref(), &keys::backups(&self.resource)).await?;
        let line = |line: &crate::storage::Entry| {
            let id: BackupId = line.key.file_name().strip_suffix(".json")?.parse().ok()?;
            let place = id.begun().map_or(line.modified, |begun| place(begun, line.modified));
            Some(CatalogLine { place, id, modified: line.modified })
        };
        let mut lines: Vec<CatalogLine> = listed.iter().filter_map(line).collect();
        lines.sort();
        Ok(lines)
    }

    /// The newest backup whose entry can be read, the last of `list`. Of others only those of the same time are read: there may be
    /// thousands, and those of large buckets are large.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn newest(&self) -> Result<Option<BackupEntry>> {
        let mut lines = self.lines().await?;
        while let Some(line) = lines.last() {
            let before = line.place - 2 * SECOND;
            let mut newest: Option<(Timestamp, BackupEntry)> = None;
            for line in lines.split_off(lines.partition_point(|line| line.place <= before)) {
                let Some(entry) = self.read_if_sound(&line.id).await? else { continue };
                let place = place(entry.begun(), line.modified);
                if newest.as_ref().is_none_or(|(newer, other)| (*newer, &other.id) < (place, &entry.id)) {
                    newest = Some((place, entry));
                }
            }
            if let Some((_, entry)) = newest {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// An entry; `None` for one that was removed meanwhile, and for one that is damaged, of which it warns.
    async fn read_if_sound(&self, id: &BackupId) -> Result<Option<BackupEntry>> {
        let key = keys::backup(&self.resource, id);
        match self.read(&key).await {
            Ok(entry) => Ok(Some(entry)),
            Err(Error::Storage(error)) if error.is_not_found() => Ok(None),
            Err(error) => {
                let damaged = Damaged::of(&key, error)?;
                tracing::warn!("{damaged}; the backup before it is taken for the newest");
                Ok(None)
            }
        }
    }

    /// Whether the catalog lists a backup.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_listed(&self, id: &BackupId) -> Result<bool> {
        Ok(self.repository.store.size(&keys::backup(&self.resource, id)).await?.is_some())
    }

    /// Takes a backup off the catalog. Its content stays.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unlist(&self, id: &BackupId) -> Result<()> {
        Ok(self.repository.store.delete(&keys::backup(&self.resource, id)).await?)
    }

    pub(super) const fn repository(&self) -> &Repository {
        &self.repository
    }

    async fn read(&self, key: &ObjectKey) -> Result<BackupEntry> {
        let bytes = self.repository.store.get(key).await?;
        let malformed = |detail: String| Error::Malformed { object: key.to_string(), detail };
        let json = record::open(key, &bytes)?;
        let format =
            json.get("format").and_then(serde_json::Value::as_u64).ok_or_else(|| malformed("it has no format".into()))?;
        if format > u64::from(ENTRY_FORMAT) {
            return Err(malformed(format!("it has format {format}; this version of Holdfast reads up to {ENTRY_FORMAT}")));
        }
        let entry: BackupEntry = record::value(key, json)?;
        if key.file_name() != format!("{}.json", entry.id) {
            return Err(malformed(format!("it is the entry of backup {}", entry.id)));
        }
        if entry.resource != self.resource || entry.detail.kind() != self.resource.kind() {
            let kind = entry.detail.kind().as_str();
            return Err(malformed(format!("it says that it is a {kind} backup of {}", entry.resource)));
        }
        Ok(entry)
    }
}
