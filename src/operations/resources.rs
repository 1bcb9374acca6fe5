//! What is stored of resources that are no clusters: backups, and nothing between them.

use jiff::Timestamp;
use serde::Serialize;

use super::running_backup::{RunningBackup, running_backup};
use crate::repository::{BackupId, Damaged, Repository, ResourceName, Result};

/// What the repository has of a resource.
#[derive(Debug, Serialize)]
pub struct ResourceStatus {
    /// The resource.
    pub resource: ResourceName,
    /// How many backups the catalog lists.
    pub backups: usize,
    /// The newest of them.
    pub newest_backup: Option<BackupId>,
    /// The one that is being taken.
    pub running_backup: Option<RunningBackup>,
    /// The moment that it brings back: when it was begun.
    pub recoverable_to: Option<Timestamp>,
    /// Catalog entries that cannot be read.
    pub damaged: Vec<Damaged>,
}

/// Finds out what the repository has of a resource.
///
/// # Errors
/// When the store fails.
pub async fn resource_status(repository: &Repository, resource: &ResourceName) -> Result<ResourceStatus> {
    let listed = repository.backups(resource).list().await?;
    let newest = listed.records.last();
    Ok(ResourceStatus {
        resource: resource.clone(),
        backups: listed.records.len(),
        newest_backup: newest.map(|backup| backup.id.clone()),
        running_backup: running_backup(repository, resource).await,
        recoverable_to: newest.map(|backup| backup.started_at),
        damaged: listed.damaged,
    })
}
