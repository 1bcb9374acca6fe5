//! The stored WAL of one lineage: whole segments, slices of the unfinished one, history, `.backup` and `.partial` files.

mod lineage;
mod listing;

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Envelope, Error, Repository, ResourceName, Result, Stored, keys};
use crate::codec::Header;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentSize, SystemId, WalFileName};
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

    /// Stores a whole file: a segment, or a history, `.backup` or `.partial` file. Durable when this returns.
    ///
    /// # Errors
    /// `Error::Conflict` where other content is stored under that name.
    pub async fn put_file(&self, name: WalFileName, plain: Bytes, about: &WalAbout) -> Result<Stored> {
        let kind = match name {
            WalFileName::Segment(_) => "wal-segment",
            WalFileName::Partial(_) => "wal-partial",
            WalFileName::Backup(..) => "wal-backup-label",
            WalFileName::History(_) => "wal-history",
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

    /// Stores a piece of a segment: `plain` begins `start` bytes into it.
    ///
    /// # Errors
    /// `Error::Conflict` where other content is stored for the same bytes.
    pub async fn put_slice(&self, slice: &Slice, plain: Bytes, about: &WalAbout) -> Result<Stored> {
        self.put(self.slice_key(slice), "wal-slice", plain, about).await
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

    /// Removes a slice whose bytes are stored in a larger object.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_slice(&self, slice: &Slice) -> Result<()> {
        Ok(self.repository.store.delete(&self.slice_key(slice)).await?)
    }

    fn slice_key(&self, slice: &Slice) -> ObjectKey {
        keys::slice(&self.resource, self.system_id, slice.segment, &slice.bytes)
    }

    async fn put(&self, key: ObjectKey, kind: &'static str, plain: Bytes, about: &WalAbout) -> Result<Stored> {
        let about = serde_json::to_value(about).expect("records have string keys and no failing serializer");
        self.repository.put_envelope(Envelope { key, kind, about }, plain).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<(WalAbout, Bytes)>> {
        match self.repository.get_envelope(key).await? {
            Some((header, plain)) => Ok(Some((self.check_about(key, header)?, plain))),
            None => Ok(None),
        }
    }

    async fn about(&self, key: &ObjectKey) -> Result<Option<WalAbout>> {
        match self.repository.header(key).await {
            Ok(header) => self.check_about(key, header).map(Some),
            Err(Error::Storage(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// WAL of another cluster never passes for this one's, wherever it lies.
    fn check_about(&self, key: &ObjectKey, header: Header) -> Result<WalAbout> {
        let malformed = |detail: String| Error::Malformed { object: key.to_string(), detail };
        let about: WalAbout = serde_json::from_value(header.about).map_err(|error| malformed(error.to_string()))?;
        if about.system_id == self.system_id {
            return Ok(about);
        }
        Err(malformed(format!("it is of the cluster with system identifier {}, not {}", about.system_id, self.system_id)))
    }
}
