//! A backup that is being made: it has an id and content, and no catalog lists it yet.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::writer::{OnStored, WriteLimits, Writers, WrittenObject};
use super::{BackupEntry, BackupId, BackupObject, Backups, Detail, ObjectWriter};
use crate::codec::FrameIndex;
use crate::repository::{Acquired, Error, HeldLease, LeaseName, Protects, Repository, ResourceName, Result, Terms};
use crate::sys::{clock, host};

/// The newest format of a frame index that this version reads, and the one that it writes.
const FRAMES_FORMAT: u32 = 1;

/// So much a host's clock may be behind the store's, which tells seconds, without a correction.
const CLOCKS_AGREE: Duration = Duration::from_secs(2);

/// A backup that is being made. It ends by `list` or by `discard`; what a killed process leaves behind is in no catalog.
pub struct Draft {
    backups: Backups,
    id: BackupId,
    started_at: Timestamp,
    writers: Writers,
    /// While it is alive, retention leaves the content alone that no catalog lists.
    lease: HeldLease,
}

/// Content of a backup that is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The backup's id.
    pub id: BackupId,
    /// Why it was not removed.
    pub reason: String,
}

/// Where the content of an object lies in it, as an object of its own.
#[derive(Serialize, Deserialize)]
struct StoredFrames {
    format: u32,
    frames: FrameIndex,
}

impl Draft {
    /// Begins a backup of `resource`, under a lease; `on_stored` is told of each piece that the store has taken. Its id tells when it was
    /// begun by the store's clock where that of this host is behind, so that it stands behind the backups that were there before.
    ///
    /// # Errors
    /// When the lease cannot be stored.
    pub async fn begin(
        repository: &Repository,
        resource: &ResourceName,
        limits: WriteLimits,
        on_stored: OnStored,
    ) -> Result<Self> {
        Self::begin_at(repository, resource, limits, on_stored, clock::now()).await
    }

    /// The same, where this host's clock shows `started_at`.
    async fn begin_at(
        repository: &Repository,
        resource: &ResourceName,
        limits: WriteLimits,
        on_stored: OnStored,
        started_at: Timestamp,
    ) -> Result<Self> {
        let (backups, begun) = (repository.backups(resource), clock::instant());
        let (mut id, mut lease) = take_lease(repository, resource, started_at).await?;
        let store_time = lease.clock().await.now();
        if let Some(corrected) = by_store(started_at, begun.elapsed(), store_time) {
            let placed = take_lease(repository, resource, corrected).await;
            lease.release().await;
            (id, lease) = placed?;
        }
        let writers = Writers::new(backups.clone(), id.clone(), limits, on_stored);
        Ok(Self { backups, id, started_at, writers, lease })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &BackupId {
        &self.id
    }

    /// The backups that it will stand among.
    #[must_use]
    pub const fn backups(&self) -> &Backups {
        &self.backups
    }

    /// What begins its objects.
    #[must_use]
    pub const fn writers(&self) -> &Writers {
        &self.writers
    }

    /// Begins an object of it, such as `files.tar`; the extension of the compression is added to the name.
    #[must_use]
    pub fn begin_object(&self, name: &str) -> ObjectWriter {
        self.writers.begin(&format!("{name}.{}", self.writers.compression().extension()))
    }

    /// Ends an object and stores beside it where its content lies in it: `Backups::get_frames` reads that. Both are returned.
    ///
    /// # Errors
    /// When one of them cannot be stored.
    pub async fn finish_object(&self, writer: ObjectWriter) -> Result<[BackupObject; 2]> {
        let WrittenObject { object, frames } = writer.finish().await?;
        let stored = StoredFrames { format: FRAMES_FORMAT, frames };
        let json = serde_json::to_vec(&stored).expect("an index has string keys and no failing serializer");
        let index = self.backups.put_small(&self.id, &frames_name(&object.name), "frame-index", Bytes::from(json)).await?;
        Ok([object, index])
    }

    /// Stores a small object of it in an envelope.
    ///
    /// # Errors
    /// As `Backups::put_small`.
    pub async fn put_small(&self, name: &str, kind: &'static str, plain: Bytes) -> Result<BackupObject> {
        self.backups.put_small(&self.id, name, kind, plain).await
    }

    /// The catalog entry that will list it. `plain_bytes`: how much was backed up, before compression.
    #[must_use]
    pub fn entry(&self, objects: Vec<BackupObject>, plain_bytes: u64, detail: Detail) -> BackupEntry {
        BackupEntry {
            format: BackupEntry::FORMAT,
            id: self.id.clone(),
            resource: self.backups.resource().clone(),
            started_at: self.started_at,
            finished_at: clock::now(),
            made_by: format!("holdfast {}", env!("CARGO_PKG_VERSION")),
            plain_bytes,
            stored_bytes: objects.iter().map(|object| object.stored_bytes).sum(),
            objects,
            detail,
        }
    }

    /// Lists the backup, if its lease is still alive: otherwise retention may have removed its content. When that fails nobody knows
    /// whether it is listed: its content stays.
    ///
    /// # Errors
    /// The error, and what is left over.
    pub async fn list(self, entry: BackupEntry) -> std::result::Result<BackupEntry, (Error, Leftover)> {
        let listed = self.try_list(&entry).await;
        let Self { id, lease, .. } = self;
        lease.release().await;
        listed.map(|()| entry).map_err(|error| {
            let reason = match error {
                Error::LeaseLost { .. } => "it is not listed, and the next 'holdfast expire' removes what there is of it",
                _ => "it is not known whether the catalog lists it",
            };
            (error, Leftover { id, reason: reason.to_owned() })
        })
    }

    async fn try_list(&self, entry: &BackupEntry) -> Result<()> {
        let confirmed = (clock::instant(), clock::now());
        self.lease.confirm().await?;
        self.backups.put(entry).await?;
        // What stood still in between may have lost the lease, and its content with it.
        match self.lease.confirm().await {
            Ok(()) => Ok(()),
            // The store fails now, and there was no time to lose the lease in.
            Err(error) if !matches!(error, Error::LeaseLost { .. }) && passed(confirmed) <= self.backups.lease_time() => Ok(()),
            Err(error) => {
                self.backups.unlist(&self.id).await?;
                Err(error)
            }
        }
    }

    /// Removes what was stored of it; what could not be removed is returned. Its writers must have been dropped.
    pub async fn discard(self) -> Option<Leftover> {
        self.writers.settle().await;
        let removed = self.backups.delete_content(&self.id).await;
        let Self { id, lease, .. } = self;
        lease.release().await;
        removed.err().map(|error| Leftover { id, reason: error.to_string() })
    }
}

/// How much time has passed since, by the clock that shows more: the monotonic one stands still with a machine that is suspended, and that of the day is
/// put right when it goes on.
fn passed((instant, time): (Instant, Timestamp)) -> Duration {
    let by_day = Duration::try_from(clock::now().duration_since(time)).unwrap_or_default();
    instant.elapsed().max(by_day)
}

/// When a backup was begun by the store's clock, where that of the host is certainly behind: the store's showed `store_time` or more when `elapsed` had
/// passed since. In whole seconds, as an id tells it, and rounded up: what was listed before this was begun stands before it.
fn by_store(started_at: Timestamp, elapsed: Duration, store_time: Timestamp) -> Option<Timestamp> {
    let earliest = store_time.checked_sub(elapsed).ok()?;
    let is_behind = started_at.checked_add(CLOCKS_AGREE).is_ok_and(|latest| earliest > latest);
    is_behind.then(|| Timestamp::from_second(store_time.as_second() + 1).ok()).flatten()
}

/// The id of a backup begun at `begun`, and a lease on it: nobody else knows of it.
async fn take_lease(repository: &Repository, resource: &ResourceName, begun: Timestamp) -> Result<(BackupId, HeldLease)> {
    let id = BackupId::new(begun, host::mark());
    let terms = Terms {
        name: LeaseName::backup(&id),
        purpose: format!("taking backup {id}"),
        protects: Protects::Backup(id.clone()),
        lease: repository.lease_time(),
        take_over: false,
    };
    match repository.leases(resource).acquire(&terms).await? {
        Acquired::Ours(lease) => Ok((id, lease.keep())),
        Acquired::Held(_) => Err(Error::LeaseLost { lease: terms.name.to_string(), resource: resource.to_string() }),
    }
}

impl Backups {
    /// Where the content of an object lies in it, as `Draft::finish_object` stored it.
    ///
    /// # Errors
    /// As `get_small`, and `Error::Malformed` where it is no index of this format.
    pub async fn get_frames(&self, id: &BackupId, object: &str) -> Result<FrameIndex> {
        let name = frames_name(object);
        let json = self.get_small(id, &name).await?;
        let malformed = |detail: String| Error::Malformed { object: self.key(id, &name), detail };
        let stored: StoredFrames = serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
        if stored.format > FRAMES_FORMAT {
            return Err(malformed(format!(
                "it has format {}; this version of Holdfast reads up to {FRAMES_FORMAT}",
                stored.format
            )));
        }
        Ok(stored.frames)
    }
}

fn frames_name(object: &str) -> String {
    format!("{object}.frames")
}

#[cfg(test)]
mod tests;
