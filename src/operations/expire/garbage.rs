//! Content that no catalog entry lists: of backups whose process was killed, and of those that were taken off the catalog.

use super::plan::{ExpirePlan, Garbage};
use super::protection::Protection;
use crate::repository::{BackupId, Repository, ResourceName, Result, StoreClock};

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
        let (objects, bytes) = backups.measure_content(&id).await?;
        plan.freed_bytes += bytes;
        plan.garbage.push(Garbage { id, objects, bytes });
    }
    Ok(())
}
