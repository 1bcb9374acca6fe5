//! Leases that keep retention away from what a restore and the recovery after it need.
//!
//! A restore must not fail because it may not write to the store: without a lease it goes on, and says so.

use std::path::Path;
use std::time::Duration;

use super::error::{Error, Result};
use crate::codec::Hash;
use crate::pg::{Lsn, SegmentName, SystemId};
use crate::repository::{self, Acquired, BackupId, Backups, HeldLease, LeaseName, Leases, Protects, Terms, WalArchive};
use crate::sys::host;

/// What was restored and has not recovered yet is protected so long: until somebody has started the server.
pub const AFTERWARDS: Duration = Duration::from_hours(24);

/// Takes a lease on a backup, and makes sure that it is still listed. `None` where the store cannot be written to.
///
/// # Errors
/// `Error::Gone` where retention has removed the backup since the plan was made; otherwise when the store fails.
pub async fn protect_backup(backups: &Backups, id: &BackupId) -> Result<Option<HeldLease>> {
    let terms = Terms {
        name: LeaseName::restore(host::mark()),
        purpose: format!("restoring backup {id}"),
        protects: Protects::Backup(id.clone()),
        lease: backups.lease_time(),
        take_over: false,
    };
    let lease = take(&backups.leases(), &terms).await;
    // In this order: retention takes a backup off the catalog first, and looks at the leases then.
    if backups.is_listed(id).await? {
        return Ok(lease);
    }
    if let Some(lease) = lease {
        lease.release().await;
    }
    Err(Error::Gone { id: id.clone() })
}

/// Leaves the protection of a restored backup behind, for the recovery that is to come, and says what it is called; or gives it back, where
/// there is none to come.
pub async fn end_protection(lease: Option<HeldLease>, restored: bool) -> Option<LeaseName> {
    let lease = lease?;
    if !restored {
        lease.release().await;
        return None;
    }
    let name = lease.name().clone();
    if let Err(error) = lease.leave_for(AFTERWARDS).await {
        tracing::warn!("retention may remove WAL that the recovery still needs: {error}");
    }
    Some(name)
}

/// Gives back what was left behind for a recovery, which is over: the server writes on a timeline of its own.
pub async fn end_recovery(leases: &Leases, left: Option<&LeaseName>) {
    if let Some(name) = left
        && let Err(error) = leases.end(name).await
    {
        tracing::warn!("retention leaves the restored backup alone for a day: {error}");
    }
}

async fn take(leases: &Leases, terms: &Terms) -> Option<HeldLease> {
    match leases.acquire(terms).await {
        Ok(Acquired::Ours(lease)) => Some(lease.keep()),
        Ok(Acquired::Held(other)) => {
            tracing::warn!("retention is not told of this restore: {} is held by {}", terms.name, other.record.holder);
            None
        }
        Err(error) => {
            tracing::warn!("retention is not told of this restore, and may remove what it needs: {error}");
            None
        }
    }
}

/// The lease of one recovery on all WAL from the lowest position on that it has asked for.
#[derive(Debug)]
pub struct WalProtection {
    name: LeaseName,
    from: Option<Lsn>,
    lease: Option<HeldLease>,
}

impl WalProtection {
    /// Of the recovery in a directory; nothing is protected yet.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let place = Hash::of(format!("{}:{}", host::name(), directory.display()).as_bytes());
        Self { name: LeaseName::recovery(&place), from: None, lease: None }
    }

    /// Takes note of a segment that was asked for.
    pub async fn asked_for(&mut self, archive: &WalArchive, segment: SegmentName) {
        let Some(number) = segment.number(archive.segment_size()) else { return };
        let start = number.start(archive.segment_size());
        if self.from.is_some_and(|from| from <= start) {
            return;
        }
        self.from = Some(start);
        let terms = self.terms(archive.system_id(), start, archive.lease_time());
        self.lease = take(&archive.leases(), &terms).await;
    }

    fn terms(&self, system_id: SystemId, from: Lsn, lease: Duration) -> Terms {
        let purpose = format!("recovery from {from} on");
        Terms { name: self.name.clone(), purpose, protects: Protects::Wal { system_id, from }, lease, take_over: true }
    }

    /// Leaves the protection behind for a while: recovery may wait at its target, or be started again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leave(&mut self) -> repository::Result<()> {
        match self.lease.take() {
            Some(lease) => lease.leave_for(AFTERWARDS).await,
            None => Ok(()),
        }
    }
}
