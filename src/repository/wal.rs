//! The stored WAL of one lineage: whole segments, slices of the unfinished one, history, `.backup` and `.partial` files.

mod lineage;
mod listing;
mod records;
mod revealed;

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Envelope, Error, Repository, ResourceName, Result, Stored, check_name, keys};
use crate::codec::{Hash, Reveal, outline};
use crate::pg::history::TimelineHistory;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentSize, SystemId, TimelineId, WalFileName};
use crate::storage::ObjectKey;

pub use lineage::{Lineage, NewLineage};
pub use listing::{StoredWal, WalObject};

/// Which way a piece of WAL came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WalSource {
    /// The replication protocol.
    Streaming,
    /// `archive_command`.
    ArchiveCommand,
}

/// The kind of objects that hold history files.
const HISTORY_KIND: &str = "wal-history";

/// What an object's header says of the WAL in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WalAbout {
    /// The cluster it comes from.
    pub system_id: SystemId,
    /// Which way it came in.
    pub source: WalSource,
    /// The position of its first byte; absent for history and `.backup` files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Lsn>,
    /// The position after its last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Lsn>,
    /// Its first and last commit and its restore points; absent where they were not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// A stored piece of a segment that was not complete when it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The segment.
    pub segment: SegmentName,
    /// Which of its bytes.
    pub bytes: Range<u64>,
}

/// The stored WAL of one lineage.
#[derive(Clone, Debug)]
pub struct WalArchive {
    repository: Repository,
    resource: ResourceName,
    system_id: SystemId,
    segment_size: SegmentSize,
}

impl WalArchive {
    pub(super) fn new(repository: Repository, resource: ResourceName, lineage: &Lineage) -> Self {
        Self { repository, resource, system_id: lineage.system_id, segment_size: lineage.segment_size }
    }

    pub(super) const fn repository(&self) -> &Repository {
        &self.repository
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

    /// The resource whose WAL this is.
    #[must_use]
    pub const fn resource(&self) -> &ResourceName {
        &self.resource
    }

    /// The cluster whose WAL this is.
    #[must_use]
    pub const fn system_id(&self) -> SystemId {
        self.system_id
    }

    /// As `Repository::room_for`.
    #[must_use]
    pub fn room_for(&self, plain_bytes: u64) -> u64 {
        self.repository.room_for(plain_bytes)
    }

    /// The cluster's segment size.
    #[must_use]
    pub const fn segment_size(&self) -> SegmentSize {
        self.segment_size
    }

    /// The key of a WAL file, for messages.
    #[must_use]
    pub fn key(&self, name: WalFileName) -> ObjectKey {
        keys::wal_file(&self.resource, self.system_id, name)
    }

    /// What the keys of all WAL of a timeline begin with, its history excepted.
    #[must_use]
    pub fn timeline_prefix(&self, timeline: TimelineId) -> String {
        keys::timeline(&self.resource, self.system_id, timeline)
    }

    /// Stores a whole file: a segment, or a history, `.backup` or `.partial` file. Durable when this returns.
    ///
    /// # Errors
    /// `Error::Conflict` where other content is stored under that name.
    pub async fn put_file(&self, name: WalFileName, plain: Bytes, about: &WalAbout) -> Result<Stored> {
        let kind = match name {
            WalFileName::Segment(_) => "wal-segment",
            WalFileName::Partial(_) => "wal-partial",
            WalFileName::Backup(..) => "wal-backup-label",
            WalFileName::History(_) => HISTORY_KIND,
        };
        self.put(self.key(name), kind, plain, about).await
    }

    /// Reads and checks a whole file; `None` where the store says that there is none.
    ///
    /// # Errors
    /// When the store fails or the object is damaged.
    pub async fn get_file(&self, name: WalFileName) -> Result<Option<(WalAbout, Bytes)>> {
        self.get(&self.key(name)).await
    }

    /// What a whole file's header says, without reading the rest; `None` where there is none.
    ///
    /// # Errors
    /// When the store fails or the header is damaged.
    pub async fn about_file(&self, name: WalFileName) -> Result<Option<WalAbout>> {
        self.about(&self.key(name)).await
    }

    /// The history of a timeline, for planning and showing: of an encrypted one what it reveals, which is its course without the
    /// reasons. `None` where none is stored.
    ///
    /// # Errors
    /// When the store fails or the object is damaged.
    pub async fn history(&self, timeline: TimelineId) -> Result<Option<TimelineHistory>> {
        let key = self.key(WalFileName::History(timeline));
        let stored = match self.repository.store.get(&key).await {
            Ok(stored) => stored,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let content = self.history_content(&key, stored).await?;
        let malformed = |detail: String| Error::Malformed { object: key.to_string(), detail };
        TimelineHistory::parse(timeline, &content).map(Some).map_err(|error| malformed(error.to_string()))
    }

    async fn history_content(&self, key: &ObjectKey, stored: Bytes) -> Result<Bytes> {
        let shown = outline(&stored).map_err(|source| Error::Codec { object: key.to_string(), source })?;
        check_name(key, &shown.name)?;
        if let Some(course) = revealed::history(&shown.about) {
            let course = Bytes::copy_from_slice(course.as_bytes());
            return self.check_about(key, shown.about).map(|_| course);
        }
        let (header, content) = self.repository.open_envelope(key, stored).await?;
        self.check_about(key, header.about).map(|_| content)
    }

    /// Stores a piece of a segment: `plain` begins `start` bytes into it.
    ///
    /// # Errors
    /// `Error::Conflict` where other content is stored for the same bytes.
    pub async fn put_slice(&self, slice: &Slice, plain: Bytes, about: &WalAbout) -> Result<Stored> {
        self.put(self.slice_key(slice), "wal-slice", plain, about).await
    }

    /// Stores a piece of a segment as `put_slice`, and tells what is stored of the segment when that is over: as `stored_of`.
    ///
    /// # Errors
    /// As `put_slice`. What the listing fails with is returned beside what became of the put.
    pub async fn put_slice_and_look(
        &self,
        slice: &Slice,
        plain: Bytes,
        about: &WalAbout,
    ) -> Result<(Stored, Result<Vec<WalObject>>)> {
        let envelope = self.envelope(self.slice_key(slice), "wal-slice", &plain, about);
        let segment = self.key(WalFileName::Segment(slice.segment));
        let (stored, found) = self.repository.put_envelope_and_look(envelope, plain, &segment).await?;
        Ok((stored, found.map(|keys| keys.iter().filter_map(|key| WalObject::parse(key.file_name())).collect())))
    }

    /// Reads and checks a slice; `None` where there is none (any more).
    ///
    /// # Errors
    /// As `get_file`.
    pub async fn get_slice(&self, slice: &Slice) -> Result<Option<(WalAbout, Bytes)>> {
        self.get(&self.slice_key(slice)).await
    }

    /// What a slice's header says, without reading the rest; `None` where there is none.
    ///
    /// # Errors
    /// As `about_file`.
    pub async fn about_slice(&self, slice: &Slice) -> Result<Option<WalAbout>> {
        self.about(&self.slice_key(slice)).await
    }

    /// Whether a slice holds these bytes and no others, by what its header says; `None` where there is none (any more).
    ///
    /// # Errors
    /// As `about_slice`.
    pub async fn slice_holds(&self, slice: &Slice, bytes: &[u8]) -> Result<Option<bool>> {
        match self.repository.outline(&self.slice_key(slice)).await {
            Ok(outline) => Ok(Some(outline.content == Some((bytes.len() as u64, Hash::of(bytes))))),
            Err(Error::Storage(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes slices whose bytes are stored in a larger object.
    ///
    /// # Errors
    /// When the store fails; some of them may be removed then.
    pub async fn delete_slices(&self, slices: &[Slice]) -> Result<()> {
        let keys: Vec<ObjectKey> = slices.iter().map(|slice| self.slice_key(slice)).collect();
        Ok(self.repository.store.delete_all(&keys).await?)
    }

    /// Removes a slice whose bytes are stored in a larger object.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_slice(&self, slice: &Slice) -> Result<()> {
        Ok(self.repository.store.delete(&self.slice_key(slice)).await?)
    }

    /// Whether an object has exactly this content, as its header tells, so that no key is needed to find out; `None` where there is no
    /// such object.
    ///
    /// # Errors
    /// When the store fails or the header is damaged.
    pub async fn holds(&self, object: &WalObject, plain: &[u8]) -> Result<Option<bool>> {
        match self.repository.outline(&self.key_of(object)).await {
            Ok(outline) => Ok(Some(outline.content == Some((plain.len() as u64, Hash::of(plain))))),
            Err(Error::Storage(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an object back whole; `None` where it is not stored.
    ///
    /// # Errors
    /// As `get_file` and `get_slice`.
    pub async fn get_object(&self, object: &WalObject) -> Result<Option<(WalAbout, Bytes)>> {
        self.get(&self.key_of(object)).await
    }

    /// The size of an object as it is stored, in bytes; `None` where there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stored_bytes(&self, object: &WalObject) -> Result<Option<u64>> {
        Ok(self.repository.store.size(&self.key_of(object)).await?)
    }

    /// An object that is there is durable on return, whoever is just putting it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle(&self, object: &WalObject) -> Result<()> {
        Ok(self.repository.store.settle(&self.key_of(object)).await?)
    }

    /// Removes an object: because retention wants it removed, or because the caller has just created it itself, nothing of it was
    /// acknowledged, and it turned out to contradict what others had stored.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, object: &WalObject) -> Result<()> {
        Ok(self.repository.store.delete(&self.key_of(object)).await?)
    }

    /// The key of an object.
    #[must_use]
    pub fn key_of(&self, object: &WalObject) -> ObjectKey {
        match object {
            WalObject::File(name) => self.key(*name),
            WalObject::Slice(slice) => self.slice_key(slice),
        }
    }

    fn slice_key(&self, slice: &Slice) -> ObjectKey {
        keys::slice(&self.resource, self.system_id, slice.segment, &slice.bytes)
    }

    async fn put(&self, key: ObjectKey, kind: &'static str, plain: Bytes, about: &WalAbout) -> Result<Stored> {
        let envelope = self.envelope(key, kind, &plain, about);
        self.repository.put_envelope(envelope, plain).await
    }

    fn envelope(&self, key: ObjectKey, kind: &'static str, plain: &[u8], about: &WalAbout) -> Envelope {
        let reveal = match self.repository.encryption.recipients.is_empty() {
            true => Reveal::Nothing,
            false => Reveal::About(revealed::of(kind, about, plain)),
        };
        Envelope { key, kind, about: to_json(about), reveal }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<(WalAbout, Bytes)>> {
        match self.repository.get_envelope(key).await? {
            Some((header, plain)) => Ok(Some((self.check_about(key, header.about)?, plain))),
            None => Ok(None),
        }
    }

    async fn about(&self, key: &ObjectKey) -> Result<Option<WalAbout>> {
        match self.repository.outline(key).await {
            Ok(outline) => self.check_about(key, outline.about).map(Some),
            Err(Error::Storage(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// WAL of another cluster never passes for this one's, wherever it lies.
    fn check_about(&self, key: &ObjectKey, about: serde_json::Value) -> Result<WalAbout> {
        let malformed = |detail: String| Error::Malformed { object: key.to_string(), detail };
        let about: WalAbout = serde_json::from_value(about).map_err(|error| malformed(error.to_string()))?;
        if about.system_id == self.system_id {
            return Ok(about);
        }
        Err(malformed(format!("it is of the cluster with system identifier {}, not {}", about.system_id, self.system_id)))
    }
}

fn to_json(about: &WalAbout) -> serde_json::Value {
    serde_json::to_value(about).expect("records have string keys and no failing serializer")
}
