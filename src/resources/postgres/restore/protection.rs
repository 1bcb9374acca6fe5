//! Leases that keep retention away from what a restore and the recovery after it need.
//!
//! A restore must not fail because it may not write to the store: without a lease it goes on, and says so.

use std::path::Path;
use std::time::Duration;

use super::error::{Error, Result};
use crate::codec::Hash;
use crate::pg::{Lsn, SegmentName, SystemId};
use crate::repository::{self, Acquired, BackupId, Backups, HeldLease, LeaseName, Leases, Protects, Terms, WalArchive};
use crate::sys::clock::Deadline;
use crate::sys::host;

/// What was restored and has not recovered yet is protected so long: until somebody has started the server.
pub const AFTERWARDS: Duration = Duration::from_hours(24);
/// How often a lease is tried for that could not be taken.
const TRY_EVERY: Duration = Duration::from_mins(1);

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
    /// What there is, and from where on.
    lease: Option<(Lsn, HeldLease)>,
    /// When a lease is tried for again that could not be taken, or was lost.
    next_try: Option<Deadline>,
}

impl WalProtection {
    /// Of the recovery in a directory; nothing is protected yet.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let place = Hash::of(format!("{}:{}", host::name(), directory.display()).as_bytes());
        Self { name: LeaseName::recovery(&place), from: None, lease: None, next_try: None }
    }

    /// Takes note of a segment that was asked for.
    pub async fn asked_for(&mut self, archive: &WalArchive, segment: SegmentName) {
        let Some(number) = segment.number(archive.segment_size()) else { return };
        let start = number.start(archive.segment_size());
        let from = self.from.map_or(start, |from| from.min(start));
        if self.from == Some(from) && (self.covers(from) || self.next_try.is_some_and(|next| !next.has_passed())) {
            return;
        }
        self.from = Some(from);
        let terms = self.terms(archive.system_id(), from, archive.lease_time());
        // The one before covers less, and is better than none.
        if let Some(lease) = take(&archive.leases(), &terms).await {
            self.lease = Some((from, lease));
        }
        self.next_try = Some(Deadline::after(TRY_EVERY));
    }

    /// Whether there is a lease on all WAL from a position on that was not lost since.
    fn covers(&self, from: Lsn) -> bool {
        self.lease.as_ref().is_some_and(|(covered, lease)| *covered <= from && !lease.lost().is_cancelled())
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
            Some((_, lease)) => lease.leave_for(AFTERWARDS).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Compression;
    use crate::pg::{SegmentNumber, SegmentSize, TimelineId};
    use crate::repository::{Lineage, Repository, ResourceName};
    use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
    use crate::storage::{Failure, FileStore};
    use crate::sys::clock;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn segment(number: u64) -> SegmentName {
        SegmentName::new(TimelineId(1), SegmentNumber(number), SIZE)
    }

    /// The segment that the lease in force begins with.
    async fn protected(archive: &WalArchive) -> Option<SegmentNumber> {
        let standing = archive.leases().standing().await.unwrap();
        assert!(standing.len() < 2, "{standing:?}");
        standing.first().map(|lease| match &lease.record.protects {
            Protects::Wal { from, .. } => SegmentNumber::containing(*from, SIZE),
            other => panic!("{other:?}"),
        })
    }

    #[tokio::test]
    async fn a_lease_that_could_not_be_taken_is_tried_for_again_and_an_earlier_one_is_kept_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(Arc::new(FileStore::create(folder.path()).await.unwrap()));
        let (repository, _) = Repository::create(Arc::new(faulty.clone()), Compression::default()).await.unwrap();
        let resource: ResourceName = "postgres/main".parse().unwrap();
        let lineage = Lineage { system_id: SystemId(7), segment_size: SIZE, postgres_major: 17, created_at: clock::now() };
        let archive = repository.wal(&resource, &lineage);
        let refused = || Fault::on(Operation::Put, Effect::Fail(Failure::Denied("no".to_owned())));
        let mut protection = WalProtection::of(Path::new("/data"));
        faulty.inject(refused());
        protection.asked_for(&archive, segment(5)).await;
        faulty.heal();
        protection.asked_for(&archive, segment(6)).await;
        assert_eq!(protected(&archive).await, None, "not with every segment");
        protection.next_try = Some(Deadline::after(Duration::ZERO));
        protection.asked_for(&archive, segment(7)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(5)));
        faulty.inject(refused());
        protection.asked_for(&archive, segment(3)).await;
        faulty.heal();
        assert!(protection.lease.is_some());
        assert_eq!(protected(&archive).await, Some(SegmentNumber(5)));
        protection.next_try = Some(Deadline::after(Duration::ZERO));
        protection.asked_for(&archive, segment(8)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(3)));
    }
}
