//! Everything Holdfast stores, under one URL: which object has which name, and what is in it.
//!
//! Invariants: only this folder builds object keys. An object is created once and never overwritten; creating it again with the same
//! plain content succeeds, with other content it fails and names the object. What is read is checked (size, hash, name) before it
//! is handed out. `docs/format.md` describes the layout.

mod acknowledgements;
mod backups;
mod conflicts;
mod encryption;
mod error;
mod gaps;
mod holds;
mod horizons;
mod keys;
mod leases;
mod marker;
mod name;
mod record;
mod runs;
mod wal;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use acknowledgements::Acknowledgement;
pub use backups::{
    BackupEntry, BackupId, BackupIdError, BackupObject, Backups, BucketBackup, CommandBackup, Content, Detail, Draft, DumpBackup,
    DumpFormat, EntryKind, EntryPath, Exclusions, FilesBackup, FramedObject, KeptContent, Leftover, Needed, ObjectWriter,
    OnStored, OpenObject, PackArchive, PackEntry, PackIndex, PackName, PostgresBackup, RedisBackup, RedisPosition, Tablespace,
    WriteLimits, Writers, WrittenObject,
};
pub use conflicts::Conflict;
pub use encryption::{Encryption, Sample};
pub use error::{Error, Result};
pub use gaps::{Gap, GapCause};
pub use holds::Hold;
pub use horizons::Horizon;
pub use leases::{
    Acquired, HeldLease, Holder, Lease, LeaseName, LeaseRecord, LeaseState, Leases, Protects, Standing, StoreClock, Terms,
};
pub use marker::Marker;
pub use name::{ResourceKind, ResourceName, ResourceNameError};
pub use record::{Damaged, Listed};
pub use runs::{Job, JobRun, Outcome};
pub use wal::{Lineage, NewLineage, Slice, StoredWal, WalAbout, WalArchive, WalObject, WalSource};

use crate::codec::{Compression, Hash, Header, OUTLINE_BYTES, Outline, Reveal, encrypt_envelope, open_any, outline, seal};
use crate::storage::ObjectKey;
use crate::storage::probe::is_probe;
use crate::storage::{Put, Store};
use crate::sys::buffer::into_bytes;

/// The most plain bytes that one enveloped object may claim to hold: the largest WAL segment.
const PLAIN_BYTES_MAX: u64 = 1 << 30;

/// Up to this size it takes longer to wake a thread than to compress and hash.
const SMALL_BYTES: usize = 64 << 10;

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
    encryption: Encryption,
    lease_time: Duration,
    damaged_marker: Option<Damaged>,
}

/// How long a lease lasts without being renewed, where nothing else is said.
const LEASE: Duration = Duration::from_mins(2);

impl Repository {
    /// Opens the repository in `store`; `compression` is for what is written from now on, whatever stands there is read.
    ///
    /// # Errors
    /// `Error::NotInitialized` where no marker is found, `Error::NewerFormat` where a newer version wrote it.
    pub async fn open(store: Arc<dyn Store>, compression: Compression) -> Result<Self> {
        let (_, damaged_marker) = marker::read(store.as_ref()).await?;
        Ok(Self { store, compression, encryption: Encryption::default(), lease_time: LEASE, damaged_marker })
    }

    /// Makes `store` a repository; one that is there already is opened.
    ///
    /// # Errors
    /// As `open`, and when the marker cannot be stored.
    pub async fn create(store: Arc<dyn Store>, compression: Compression) -> Result<(Self, Stored)> {
        let (stored, damaged_marker) = marker::create(store.as_ref()).await?;
        Ok((Self { store, compression, encryption: Encryption::default(), lease_time: LEASE, damaged_marker }, stored))
    }

    /// The same repository, new objects encrypted to these recipients, and encrypted ones opened with these identities.
    #[must_use]
    pub fn with_encryption(self, encryption: Encryption) -> Self {
        Self { encryption, ..self }
    }

    /// Removes what is left of uploads that were given up longer ago than `age`: of its own, since other things may be stored beside a repository.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep_uploads(&self, age: Duration) -> Result<usize> {
        Ok(self.store.sweep(age, |key| keys::is_data(key) || is_probe(key)).await?)
    }

    /// Whom new objects are encrypted to, and what opens encrypted ones.
    #[must_use]
    pub const fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// What is wrong with the marker, which says all that is needed all the same.
    #[must_use]
    pub const fn damaged_marker(&self) -> Option<&Damaged> {
        self.damaged_marker.as_ref()
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

    /// The same, with leases that last so long without being renewed.
    #[must_use]
    pub fn with_lease_time(self, lease_time: Duration) -> Self {
        Self { lease_time, ..self }
    }

    /// How long a lease lasts without being renewed.
    #[must_use]
    pub const fn lease_time(&self) -> Duration {
        self.lease_time
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

    /// The room to take in `sys::places` for storing so many bytes in an envelope: where it is encrypted there is one copy more.
    #[must_use]
    pub fn room_for(&self, plain_bytes: u64) -> u64 {
        if self.encryption.recipients.is_empty() { plain_bytes } else { plain_bytes * 3 / 2 }
    }

    /// Stores `plain` in an envelope, unless it is there with the same content already.
    async fn put_envelope(&self, object: Envelope, plain: Bytes) -> Result<Stored> {
        let key = object.key.clone();
        let sealed = self.seal_envelope(object, plain).await?;
        self.put_sealed(&key, sealed).await
    }

    /// Makes the bytes of an enveloped object.
    async fn seal_envelope(&self, object: Envelope, plain: Bytes) -> Result<Sealed> {
        let (compression, recipients) = (self.compression, self.encryption.recipients.clone());
        let Envelope { key, kind, about, reveal } = object;
        let name = key.file_name().to_owned();
        let is_small = plain.len() <= SMALL_BYTES && recipients.is_empty();
        let work = move || {
            let (object, Header { size, blake3, .. }) = seal(kind, &name, &about, &plain, compression)?;
            drop(plain);
            let object = if recipients.is_empty() { object } else { encrypt_envelope(&object, reveal, &recipients)? };
            Ok(Sealed { object, content: (size, blake3) })
        };
        let sealed = if is_small {
            work()
        } else {
            tokio::task::spawn_blocking(work).await.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?
        };
        sealed.map_err(|source| Error::Codec { object: key.to_string(), source })
    }

    /// Stores `plain` in an envelope as `put_envelope`, and then lists the keys that begin with `prefix`.
    async fn put_envelope_and_look(
        &self,
        object: Envelope,
        plain: Bytes,
        prefix: &ObjectKey,
    ) -> Result<(Stored, Result<Vec<ObjectKey>>)> {
        let key = object.key.clone();
        let sealed = self.seal_envelope(object, plain).await?;
        let (put, found) = self.store.put_and_look(&key, sealed.object.clone(), prefix.as_str()).await?;
        let stored = match put {
            Put::Created => Stored::New,
            Put::AlreadyExists => self.compare(&key, &sealed).await?,
        };
        Ok((stored, found.map_err(Error::from)))
    }

    /// Stores a sealed object, unless it is there with the same content already.
    async fn put_sealed(&self, key: &ObjectKey, sealed: Sealed) -> Result<Stored> {
        match self.store.put_if_absent(key, sealed.object.clone()).await? {
            Put::Created => Ok(Stored::New),
            Put::AlreadyExists => self.compare(key, &sealed).await,
        }
    }

    /// Same name and same content is success; same name and other content is a loud failure.
    async fn compare(&self, key: &ObjectKey, ours: &Sealed) -> Result<Stored> {
        match self.outline(key).await?.content {
            Some(theirs) if theirs == ours.content => Ok(Stored::Identical),
            Some((_, stored)) => Err(Error::Conflict { object: key.to_string(), stored, offered: ours.content.1 }),
            // It does not say: then only the very same bytes are the same, which a put whose answer was lost has left there.
            None if self.store.get(key).await? == ours.object => Ok(Stored::Identical),
            None => Err(Error::Taken { object: key.to_string() }),
        }
    }

    /// Reads what stands at the beginning of an enveloped object; it needs no identity.
    async fn outline(&self, key: &ObjectKey) -> Result<Outline> {
        let start = self.store.get_range(key, 0..OUTLINE_BYTES as u64).await?;
        let outline = outline(&start).map_err(|source| Error::Codec { object: key.to_string(), source })?;
        check_name(key, &outline.name)?;
        Ok(outline)
    }

    /// Reads and checks an enveloped object; `None` where there is none.
    async fn get_envelope(&self, key: &ObjectKey) -> Result<Option<(Header, Bytes)>> {
        match self.store.get(key).await {
            Ok(stored) => self.open_envelope(key, stored).await.map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens and checks the bytes of an enveloped object.
    async fn open_envelope(&self, key: &ObjectKey, stored: Bytes) -> Result<(Header, Bytes)> {
        let identities = self.encryption.identities.clone();
        let opened = tokio::task::spawn_blocking(move || open_any(&stored, PLAIN_BYTES_MAX, &identities)).await;
        let opened = opened.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
        let (header, plain) = opened.map_err(|source| Error::Codec { object: key.to_string(), source })?;
        check_name(key, &header.name)?;
        Ok((header, into_bytes(plain)))
    }
}

/// The bytes of an enveloped object, and the size and hash of its content.
struct Sealed {
    object: Bytes,
    content: (u64, Hash),
}

/// A file that was renamed or copied over another one opens well, and is still not what was asked for.
fn check_name(key: &ObjectKey, name: &str) -> Result<()> {
    if name == key.file_name() {
        return Ok(());
    }
    Err(Error::Misplaced { object: key.to_string(), header: name.to_owned() })
}

/// What `put_envelope` stores, besides the bytes.
struct Envelope {
    key: ObjectKey,
    kind: &'static str,
    about: serde_json::Value,
    /// What is said in the clear of it where it is encrypted.
    reveal: Reveal,
}
