//! What is kept of a resource: what the figures for a monitor are made of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::repository::{BackupEntry, BackupId, Error, Repository, ResourceName, Result};
use crate::sys::clock;

/// What is kept of one resource, as it was found when it was looked at last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptStatus {
    /// The resource.
    pub resource: String,
    /// How many backups the catalog lists.
    pub backups: usize,
    /// How many of them are held.
    pub held: usize,
    /// The newest of them that can be read.
    pub newest: Option<NewestBackup>,
}

/// The newest backup of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestBackup {
    /// Its id.
    pub id: BackupId,
    /// When it began.
    pub started_at: Timestamp,
    /// When everything of it was stored.
    pub finished_at: Timestamp,
    /// How much was backed up, in bytes before compression.
    pub plain_bytes: u64,
    /// How much was stored for it, in bytes.
    pub stored_bytes: u64,
}

impl KeptStatus {
    /// Looks into the catalog: at the names of all entries, and into the newest.
    pub(super) async fn look(repository: &Repository, resource: &ResourceName) -> Result<Self> {
        let backups = repository.backups(resource);
        let (ids, now) = (backups.ids().await?, clock::now());
        let holds = backups.all_holds().await?;
        let is_held = |id: &&BackupId| holds.iter().any(|hold| hold.id == **id && hold.is_in_force(now));
        let mut status =
            Self { resource: resource.to_string(), backups: ids.len(), held: ids.iter().filter(is_held).count(), newest: None };
        for id in ids.iter().rev() {
            match backups.get(id).await {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    let BackupEntry { id, started_at, finished_at, plain_bytes, stored_bytes, .. } = entry;
                    status.newest = Some(NewestBackup { id, started_at, finished_at, plain_bytes, stored_bytes });
                    break;
                }
                // What is damaged restores nothing.
                Err(Error::Malformed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(status)
    }
}
