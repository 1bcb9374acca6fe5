//! Everything Holdfast stores, under one URL: which object has which name, and what is in it.
//!
//! Invariants: only this folder builds object keys. An object is created once and never overwritten; creating it again with the same
//! plain content succeeds, with other content it fails and names the object. What is read is checked (size, hash, name) before it
//! is handed out. `docs/format.md` describes the layout.

mod backups;
mod error;
mod gaps;
mod keys;
mod marker;
mod name;
mod record;
mod wal;

use std::sync::Arc;

use bytes::Bytes;

pub use backups::{
    BackupEntry, BackupId, BackupIdError, BackupObject, Backups, CommandBackup, Content, Detail, Draft, EntryKind, EntryPath,
    FilesBackup, FramedObject, Leftover, ObjectWriter, OnStored, PackArchive, PackEntry, PackIndex, PackName, PostgresBackup,
    Tablespace, WriteLimits, Writers, WrittenObject,
};
pub use error::{Error, Result};
pub use gaps::{Gap, GapCause};
pub use marker::Marker;
pub use name::{ResourceKind, ResourceName, ResourceNameError};
pub use record::{Damaged, Listed};
pub use wal::{Lineage, NewLineage, Slice, StoredWal, WalAbout, WalArchive, WalObject, WalSource};

use crate::codec::{Compression, Header, open, read_header, seal};
use crate::storage::{Put, Store};

/// The most plain bytes that one enveloped object may claim to hold: the largest WAL segment.
const PLAIN_BYTES_MAX: u64 = 1 << 30;

/// Whether a put created the object or found it there with the same content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It was not there before.
    New,
    /// It was there with the same plain content.
    Identical,
}

/// An opened repository: a store that carries the marker of one.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Arc<dyn Store>,
    compression: Compression,
}

impl Repository {
    /// Opens the repository in `store`; `compression` is for what is written from now on, whatever stands there is read.
    ///
    /// # Errors
    /// `Error::NotInitialized` where no marker is found, `Error::NewerFormat` where a newer version wrote it.
    pub async fn open(store: Arc<dyn Store>, compression: Compression) -> Result<Self> {
        marker::read(store.as_ref()).await?;
        Ok(Self { store, compression })
    }

    /// Makes `store` a repository; one that is there already is opened.
    ///
    /// # Errors
    /// As `open`, and when the marker cannot be stored.
    pub async fn create(store: Arc<dyn Store>, compression: Compression) -> Result<(Self, Stored)> {
        let stored = marker::create(store.as_ref()).await?;
        Ok((Self { store, compression }, stored))
    }

    /// The store below, for listings that belong to no resource, and for its URL.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How new objects are compressed.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// The WAL of one lineage of a PostgreSQL resource.
    #[must_use]
    pub fn wal(&self, resource: &ResourceName, lineage: &Lineage) -> WalArchive {
        WalArchive::new(self.clone(), resource.clone(), lineage)
    }

    /// The backups of a resource.
    #[must_use]
    pub fn backups(&self, resource: &ResourceName) -> Backups {
        Backups::new(self.clone(), resource.clone())
    }

    /// Stores `plain` in an envelope, unless it is there with the same content already.
    async fn put_envelope(&self, object: Envelope, plain: Bytes) -> Result<Stored> {
        let key = object.key.clone();
        let sealed = self.seal_envelope(object, plain).await?;
        self.put_sealed(&key, sealed).await
    }

    /// Makes the bytes of an enveloped object.
    async fn seal_envelope(&self, object: Envelope, plain: Bytes) -> Result<Bytes> {
        let compression = self.compression;
        let Envelope { key, kind, about } = object;
        let name = key.file_name().to_owned();
        let sealed = tokio::task::spawn_blocking(move || seal(kind, &name, &about, &plain, compression));
        let sealed = sealed.await.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
        sealed.map_err(|source| Error::Codec { object: key.to_string(), source })
    }

    /// Stores a sealed object, unless it is there with the same content already.
    async fn put_sealed(&self, key: &crate::storage::ObjectKey, sealed: Bytes) -> Result<Stored> {
        let ours = read_header(&sealed).map_err(|source| Error::Codec { object: key.to_string(), source })?;
        match self.store.put_if_absent(key, sealed).await? {
            Put::Created => Ok(Stored::New),
            Put::AlreadyExists => self.compare(key, &ours).await,
        }
    }

    /// Same name and same content is success; same name and other content is a loud failure.
    async fn compare(&self, key: &crate::storage::ObjectKey, ours: &Header) -> Result<Stored> {
        let theirs = self.header(key).await?;
        if theirs.blake3 == ours.blake3 && theirs.size == ours.size {
            return Ok(Stored::Identical);
        }
        Err(Error::Conflict { object: key.to_string(), stored: theirs.blake3, offered: ours.blake3 })
    }

    /// Reads what stands at the beginning of an enveloped object.
    async fn header(&self, key: &crate::storage::ObjectKey) -> Result<Header> {
        let start = self.store.get_range(key, 0..crate::codec::HEADER_BYTES as u64).await?;
        let header = read_header(&start).map_err(|source| Error::Codec { object: key.to_string(), source })?;
        check_name(key, &header)?;
        Ok(header)
    }

    /// Reads and checks an enveloped object; `None` where there is none.
    async fn get_envelope(&self, key: &crate::storage::ObjectKey) -> Result<Option<(Header, Bytes)>> {
        let stored = match self.store.get(key).await {
            Ok(stored) => stored,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let opened = tokio::task::spawn_blocking(move || open(&stored, PLAIN_BYTES_MAX)).await;
        let opened = opened.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
        let (header, plain) = opened.map_err(|source| Error::Codec { object: key.to_string(), source })?;
        check_name(key, &header)?;
        Ok(Some((header, Bytes::from(plain))))
    }
}

/// A file that was renamed or copied over another one opens well, and is still not what was asked for.
fn check_name(key: &crate::storage::ObjectKey, header: &Header) -> Result<()> {
    if header.name == key.file_name() {
        return Ok(());
    }
    Err(Error::Misplaced { object: key.to_string(), header: header.name.clone() })
}

/// What `put_envelope` stores, besides the bytes.
struct Envelope {
    key: crate::storage::ObjectKey,
    kind: &'static str,
    about: serde_json::Value,
}
