//! What every work on a resource is given, and the way that all backups go: begin, store, list; or remove what was stored.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::failure::Common;
use super::{Error, Progress, Result};
use crate::repository::{
    Acquired, BackupEntry, BackupId, Draft, HeldLease, LeaseName, Protects, Repository, ResourceName, Terms, WriteLimits,
};
use crate::sys::host;

/// What a backup, a check or a restore works with.
#[derive(Debug, Clone)]
pub struct Run {
    /// The repository.
    pub repository: Repository,
    /// Where it reports how far it is.
    pub progress: Progress,
    /// Ends it when cancelled; what was begun is cleaned up first.
    pub cancelled: CancellationToken,
    /// Whether a backup that would equal the newest one is not made: for sources that are looked at often and change seldom.
    pub only_changes: bool,
}

/// What became of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackedUp {
    /// It is listed.
    Listed {
        /// Its catalog entry.
        entry: Box<BackupEntry>,
        /// What the source remarked, and what was left out, in sentences.
        remarks: Vec<String>,
    },
    /// Nothing has changed since this backup, and only changes were wanted.
    Unchanged(BackupId),
}

impl Run {
    /// A run that nobody watches or cancels.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self { repository, progress: Progress::default(), cancelled: CancellationToken::new(), only_changes: false }
    }

    /// Begins a backup of `resource`, whose stored bytes show in the progress.
    ///
    /// # Errors
    /// When its lease cannot be stored.
    pub async fn begin(&self, resource: &ResourceName, limits: WriteLimits) -> Result<Draft> {
        let progress = self.progress.clone();
        let on_stored = Arc::new(move |bytes| progress.stored(bytes));
        Ok(Draft::begin(&self.repository, resource, limits, on_stored).await?)
    }

    /// Works until it is done or the run is cancelled.
    ///
    /// # Errors
    /// Those of the work, and that it was cancelled.
    pub async fn until_cancelled<T, E: Into<Error>>(&self, work: impl Future<Output = std::result::Result<T, E>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Common::Cancelled.into()),
            done = work => done.map_err(Into::into),
        }
    }

    /// Takes a lease on a backup that is to be restored, and makes sure that it is still listed: from then on retention leaves alone what it
    /// needs. `None` where the store cannot be written to, which keeps nobody from restoring.
    ///
    /// # Errors
    /// When retention has removed the backup, or the store fails.
    async fn protect(&self, resource: &ResourceName, id: &BackupId) -> Result<Option<HeldLease>> {
        let terms = Terms {
            name: LeaseName::restore(host::mark()),
            purpose: format!("restoring backup {id}"),
            protects: Protects::Backup(id.clone()),
            lease: self.repository.lease_time(),
            take_over: false,
        };
        let backups = self.repository.backups(resource);
        let lease = match backups.leases().acquire(&terms).await {
            Ok(Acquired::Ours(lease)) => Some(lease.keep()),
            Ok(Acquired::Held(_)) => None,
            Err(error) => {
                tracing::warn!("retention is not told of this restore, and may remove what it needs: {error}");
                None
            }
        };
        // In this order: retention takes a backup off the catalog first, and looks at the leases then.
        if backups.is_listed(id).await? {
            return Ok(lease);
        }
        if let Some(lease) = lease {
            lease.release().await;
        }
        Err(Common::Removed { id: id.clone() }.into())
    }

    /// Does work that plans or carries out the restore of a backup, which retention leaves alone meanwhile.
    ///
    /// # Errors
    /// As `protect`, and those of the work; that retention has removed the backup, where nothing kept it from that and the work failed.
    pub async fn while_protected<T, E: From<Error>>(
        &self,
        backup: &BackupEntry,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<T, E> {
        let lease = self.protect(&backup.resource, &backup.id).await?;
        let done = work.await;
        let was_protected = lease.as_ref().is_some_and(|lease| !lease.lost().is_cancelled());
        if let Some(lease) = lease {
            lease.release().await;
        }
        // What has gone meanwhile looks like damage to whoever reads it.
        if done.is_err() && !was_protected && self.is_gone(backup).await {
            return Err(Error::from(Common::Removed { id: backup.id.clone() }).into());
        }
        done
    }

    async fn is_gone(&self, backup: &BackupEntry) -> bool {
        matches!(self.repository.backups(&backup.resource).is_listed(&backup.id).await, Ok(false))
    }

    /// Ends a backup: lists it, or removes what was stored of it. Its writers must have been dropped.
    ///
    /// # Errors
    /// Why it failed, and what was not removed.
    pub async fn conclude(&self, draft: Draft, made: Result<(BackupEntry, Vec<String>)>) -> Result<BackedUp> {
        let not_listed = |error: Error, leftover| Error::from(Common::NotListed { error, leftover });
        match made {
            Ok((entry, remarks)) => match draft.list(entry).await {
                Ok(entry) => Ok(BackedUp::Listed { entry: Box::new(entry), remarks }),
                Err((error, leftover)) => Err(not_listed(error.into(), Some(leftover))),
            },
            Err(error) => {
                let leftover = draft.discard().await;
                Err(not_listed(error, leftover))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::{ChangeDigest, Compression, Hash};
    use crate::repository::{CommandBackup, Detail};
    use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
    use crate::storage::{Failure, FileStore};

    #[tokio::test]
    async fn what_retention_removed_where_nothing_kept_it_from_that_is_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let store = Faulty::new(Arc::new(FileStore::create(folder.path()).await.unwrap()));
        let (repository, _) = Repository::create(Arc::new(store.clone()), Compression::default()).await.unwrap();
        let (run, name): (_, ResourceName) = (Run::new(repository.clone()), "command/a".parse().unwrap());
        let draft = run.begin(&name, WriteLimits::default()).await.unwrap();
        let content = draft.put_small("content", "test", Bytes::from_static(b"content")).await.unwrap();
        let digest = ChangeDigest::of(&Hash::of(b"content").0).unwrap();
        let detail = Detail::Command(CommandBackup { content: content.name.clone(), digest });
        let entry = draft.entry(vec![content], 7, detail);
        let entry = draft.list(entry).await.unwrap();
        let fails = async { Err::<(), Error>(Common::Cancelled.into()) };
        let kept = run.while_protected(&entry, fails).await.expect_err("it fails");
        assert_eq!(kept.to_string(), "cancelled", "the backup is there");
        // A store that cannot be written to holds no lease.
        store.inject(Fault::on(Operation::Put, Effect::Fail(Failure::ReadOnly("read-only".to_owned()))).of("leases/"));
        let removed = async {
            repository.backups(&name).unlist(&entry.id).await.unwrap();
            Err::<(), Error>(Common::Cancelled.into())
        };
        let gone = run.while_protected(&entry, removed).await.expect_err("it fails");
        assert_eq!(gone.to_string(), format!("backup {} expired meanwhile: it was removed by retention", entry.id));
    }
}
