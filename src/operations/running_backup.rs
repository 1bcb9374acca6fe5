//! A backup that is being taken at this moment, by whichever process on whichever host: what the leases tell.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::repository::{BackupId, Protects, Repository, ResourceName, Standing};
use crate::sys::clock;

/// A backup that is being taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningBackup {
    /// The id under which it is going to be listed.
    pub id: BackupId,
    /// When it was begun, by the clock of the host that takes it, or by the store's where that is behind.
    pub since: Option<Timestamp>,
    /// The process that takes it, and its host.
    pub by: String,
}

impl RunningBackup {
    fn under(lease: &Standing) -> Option<Self> {
        let Protects::Backup(id) = &lease.record.protects else { return None };
        // A restore protects a backup too.
        lease.name.is_of_backup().then(|| Self { id: id.clone(), since: id.begun(), by: lease.record.holder.to_string() })
    }
}

impl fmt::Display for RunningBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backup {} is being taken by {}", self.id, self.by)?;
        self.since.map_or(Ok(()), |since| write!(f, ", begun {since}"))
    }
}

/// The backup of a resource that is being taken; of several the one that was begun last. None where that cannot be found out: it is a
/// word beside what is proven, and no reason to say nothing of that.
///
/// Ages are told by this host's clock: the store's own can only be read by storing something, and whoever looks may not be allowed to.
pub async fn running_backup(repository: &Repository, resource: &ResourceName) -> Option<RunningBackup> {
    let standing = match repository.leases(resource).standing().await {
        Ok(standing) => standing,
        Err(error) => {
            tracing::debug!(%resource, "whether a backup is being taken cannot be found out: {error}");
            return None;
        }
    };
    let now = clock::now();
    let alive = standing.iter().filter(|lease| lease.is_alive(now));
    alive.filter_map(RunningBackup::under).max_by(|a, b| a.id.cmp(&b.id))
}

/// What to do where a backup is wanted: take one, or wait for the one that is being taken.
#[must_use]
pub fn wanted(resource: &ResourceName, running: Option<&RunningBackup>) -> String {
    match running {
        Some(running) => format!("wait until it is listed: {running}"),
        None => format!("run 'holdfast backup {resource}'"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::codec::Compression;
    use crate::repository::{Acquired, Lease, LeaseName, Terms};
    use crate::storage::FileStore;

    async fn lease(repository: &Repository, resource: &ResourceName, name: LeaseName, protects: Protects) -> Lease {
        let terms = Terms { name, purpose: "a test".to_owned(), protects, lease: Duration::from_mins(2), take_over: false };
        match repository.leases(resource).acquire(&terms).await.unwrap() {
            Acquired::Ours(lease) => lease,
            Acquired::Held(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_backup_is_spoken_of_as_long_as_somebody_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let resource: ResourceName = "postgres/main".parse().unwrap();
        assert_eq!(
            wanted(&resource, running_backup(&repository, &resource).await.as_ref()),
            "run 'holdfast backup postgres/main'"
        );
        let id = BackupId::new("2026-11-22T07:15:00Z".parse().unwrap(), 1);
        let restored = lease(&repository, &resource, LeaseName::restore(1), Protects::Backup(id.clone())).await;
        assert_eq!(running_backup(&repository, &resource).await, None, "a restore is no backup");
        let taken = lease(&repository, &resource, LeaseName::backup(&id), Protects::Backup(id.clone())).await;
        let running = running_backup(&repository, &resource).await.expect("it is being taken");
        assert_eq!((&running.id, running.since), (&id, id.begun()));
        let said = wanted(&resource, Some(&running));
        assert!(said.contains(" is being taken by process ") && said.ends_with(", begun 2026-11-22T07:15:00Z"), "{said}");
        taken.release().await.unwrap();
        assert_eq!(running_backup(&repository, &resource).await, None);
        drop(restored);
    }
}
