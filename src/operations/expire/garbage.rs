//! Content that no catalog entry lists: of backups whose process was killed, and of those that were taken off the catalog.
//!
//! Where backups share content, an object in the folder of an unlisted backup is free when no listed one needs it, no backup is being
//! taken that may come to need it, and none is in use that was taken off the catalog meanwhile. Invariants: what is free is found in the order
//! of `Shared::look`; a backup that begins later finds only listed backups, and so never needs what is free.

use super::plan::{ExpirePlan, Garbage};
use super::protection::{Protection, in_force};
use crate::repository::{BackupId, Needed, Protects, Repository, ResourceName, Result, StoreClock};

/// What is free among content that backups share.
pub(super) struct Shared {
    /// The backups that there is content of and that the catalog does not list.
    pub unlisted: Vec<BackupId>,
    /// What listed ones need of theirs.
    pub needed: Needed,
}

impl Shared {
    /// Looks for it; `None` while a backup is in use that the catalog does not list. In this order: whoever takes a backup has its lease before
    /// there is content of it and before it looks for what it may refer to, and gives it back when the catalog lists it. So with no such lease
    /// after the folders were listed, each of them belongs to a backup that is over, and what the catalog needs of them is all that is needed.
    /// One that is being restored may have been taken off the catalog by a run that was killed, or stands still, before it saw that.
    pub(super) async fn look(repository: &Repository, resource: &ResourceName) -> Result<Option<Self>> {
        let backups = repository.backups(resource);
        let folders = backups.with_content().await?;
        if is_unlisted_in_use(repository, resource).await? {
            return Ok(None);
        }
        let needed = backups.needed(|_| true).await?;
        let mut unlisted = Vec::new();
        for id in folders {
            if !backups.is_listed(&id).await? {
                unlisted.push(id);
            }
        }
        Ok(Some(Self { unlisted, needed }))
    }
}

/// Whether somebody takes a backup of the resource, or is at work on one that is not listed, by leases that are neither given back nor broken.
async fn is_unlisted_in_use(repository: &Repository, resource: &ResourceName) -> Result<bool> {
    let backups = repository.backups(resource);
    for lease in in_force(repository, resource).await? {
        let in_use = match &lease.record.protects {
            _ if lease.name.is_of_backup() => true,
            Protects::Backup(id) => !backups.is_listed(id).await?,
            Protects::Nothing | Protects::Wal { .. } => false,
        };
        if in_use {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks for what a plan lets go of content that backups share, and adds it to the plan: what its doomed backups alone need, and what no
/// catalog entry lists.
pub(super) async fn look_shared(
    repository: &Repository,
    resource: &ResourceName,
    in_use: impl Fn(&BackupId) -> bool,
    plan: &mut ExpirePlan,
) -> Result<()> {
    let backups = repository.backups(resource);
    let doomed: Vec<BackupId> = plan.backups.iter().filter(|backup| !backup.keep).map(|backup| backup.id.clone()).collect();
    let needed = backups.needed(|id| !doomed.contains(id)).await?;
    plan.freed_bytes = 0;
    for id in backups.with_content().await? {
        let goes = doomed.contains(&id);
        if !goes && (in_use(&id) || backups.is_listed(&id).await?) {
            continue;
        }
        let (objects, bytes) = backups.measure_content(&id, &needed).await?;
        plan.freed_bytes += bytes;
        if !goes && objects > 0 {
            plan.garbage.push(Garbage { id, objects, bytes });
        }
    }
    Ok(())
}

/// Whether a backup's content belongs to nobody. In this order: whoever takes a backup has its lease before there is content, and gives it
/// back when the catalog lists it; so content without a lease and then without an entry will never be listed.
pub(super) async fn is_garbage(
    repository: &Repository,
    resource: &ResourceName,
    id: &BackupId,
    clock: &StoreClock,
) -> Result<bool> {
    let covered = Protection::now(repository, resource, clock).await?.covers(id);
    Ok(!covered && !repository.backups(resource).is_listed(id).await?)
}

/// Looks for it, and adds it to a plan with its size. `in_use`: whose leases are alive.
pub(super) async fn look(
    repository: &Repository,
    resource: &ResourceName,
    in_use: impl Fn(&BackupId) -> bool,
    plan: &mut ExpirePlan,
) -> Result<()> {
    let backups = repository.backups(resource);
    for id in backups.with_content().await? {
        let known = plan.backups.iter().any(|backup| backup.id == id);
        if known || in_use(&id) || backups.is_listed(&id).await? {
            continue;
        }
        let (objects, bytes) = backups.measure_content(&id, &Needed::default()).await?;
        plan.freed_bytes += bytes;
        plan.garbage.push(Garbage { id, objects, bytes });
    }
    Ok(())
}
