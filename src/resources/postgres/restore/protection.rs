//! Leases that keep retention away from what a restore and the recovery after it need.
//!
//! A restore must not fail because it may not write to the store: without a lease it goes on, and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Error, Result};
use crate::codec::Hash;
use crate::pg::control::ControlFile;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SystemId};
use crate::repository::{self, Acquired, BackupId, Backups, HeldLease, LeaseName, Leases, Protects, Terms, WalArchive};
use crate::sys::clock::Deadline;
use crate::sys::durable::parent_of;
use crate::sys::host;

/// What was restored and has not recovered yet is protected so long: until somebody has started the server.
pub const AFTERWARDS: Duration = Duration::from_hours(24);
/// How often it is looked whether a recovery is further, and tried to take a lease that could not be taken.
const LOOK_EVERY: Duration = Duration::from_mins(1);

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

/// The lease of one recovery on all WAL that it may ask for: from the lowest position on that it has asked for, or, once it is further, from where
/// it would begin again. A standby that lives on the archive recovers for years.
#[derive(Debug)]
pub struct WalProtection {
    name: LeaseName,
    data_directory: PathBuf,
    from: Option<Lsn>,
    /// What there is, and from where on.
    lease: Option<(Lsn, HeldLease)>,
    /// When it is looked again whether there is the right one.
    next_look: Option<Deadline>,
}

impl WalProtection {
    /// Of the recovery that is served from a folder in the data directory; nothing is protected yet.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let place = Hash::of(format!("{}:{}", host::name(), folder.display()).as_bytes());
        let data_directory = parent_of(folder).to_owned();
        Self { name: LeaseName::recovery(&place), data_directory, from: None, lease: None, next_look: None }
    }

    /// Takes note of a segment that was asked for.
    pub async fn asked_for(&mut self, archive: &WalArchive, segment: SegmentName) {
        let size = archive.segment_size();
        let Some(start) = segment.number(size).map(|number| number.start(size)) else { return };
        let from = match self.from.filter(|from| *from <= start) {
            None => start,
            Some(_) if self.next_look.is_some_and(|next| !next.has_passed()) => return,
            Some(from) => {
                let again = begins_again_at(&self.data_directory, archive.system_id());
                again.map_or(from, |redo| from.max(SegmentNumber::containing(redo, size).start(size).min(start)))
            }
        };
        self.from = Some(from);
        if !self.is_right(from) {
            let terms = self.terms(archive.system_id(), from, archive.lease_time());
            // The one before is better than none.
            if let Some(lease) = take(&archive.leases(), &terms).await {
                self.lease = Some((from, lease));
            }
        }
        self.next_look = Some(Deadline::after(LOOK_EVERY));
    }

    /// Whether there is a lease from a position on that was not lost since.
    fn is_right(&self, from: Lsn) -> bool {
        self.lease.as_ref().is_some_and(|(of, lease)| *of == from && !lease.lost().is_cancelled())
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

/// Where a server in recovery would begin again: at its last restart point. None where that is not known yet: at its first start it begins where
/// `backup_label` says, and only then writes that into the control file and takes the label away (`StartupXLOG`).
fn begins_again_at(data_directory: &Path, system_id: SystemId) -> Option<Lsn> {
    // In this order: where the label has gone, the control file is right.
    let has_begun = data_directory.join("backup_label").try_exists().is_ok_and(|is_there| !is_there);
    let control = fs::read(data_directory.join("global/pg_control")).ok().filter(|_| has_begun)?;
    let control = ControlFile::parse(&control).ok()?;
    (control.system_id == system_id).then_some(control.redo)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Compression;
    use crate::pg::control::tests::file_with_redo;
    use crate::pg::{SegmentSize, TimelineId};
    use crate::repository::{Lineage, Repository};
    use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
    use crate::storage::{Failure, FileStore, Store};
    use crate::sys::clock;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn segment(number: u64) -> SegmentName {
        SegmentName::new(TimelineId(1), SegmentNumber(number), SIZE)
    }

    async fn archive(store: Arc<dyn Store>) -> WalArchive {
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let lineage = Lineage { system_id: SystemId(42), segment_size: SIZE, postgres_major: 17, created_at: clock::now() };
        repository.wal(&"postgres/main".parse().unwrap(), &lineage)
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
        let archive = archive(Arc::new(faulty.clone())).await;
        let refused = || Fault::on(Operation::Put, Effect::Fail(Failure::Denied("no".to_owned())));
        let mut protection = WalProtection::of(&folder.path().join("data/holdfast-restore"));
        faulty.inject(refused());
        protection.asked_for(&archive, segment(5)).await;
        faulty.heal();
        protection.asked_for(&archive, segment(6)).await;
        assert_eq!(protected(&archive).await, None, "not with every segment");
        protection.next_look = Some(Deadline::after(Duration::ZERO));
        protection.asked_for(&archive, segment(7)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(5)));
        faulty.inject(refused());
        protection.asked_for(&archive, segment(3)).await;
        faulty.heal();
        assert!(protection.lease.is_some());
        assert_eq!(protected(&archive).await, Some(SegmentNumber(5)));
        protection.next_look = Some(Deadline::after(Duration::ZERO));
        protection.asked_for(&archive, segment(8)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(3)));
    }

    #[tokio::test]
    async fn a_recovery_protects_what_it_would_begin_with_again_and_no_more() {
        let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let archive = archive(Arc::new(FileStore::create(folder.path()).await.unwrap())).await;
        fs::create_dir(place.path().join("global")).unwrap();
        fs::write(place.path().join("backup_label"), "").unwrap();
        let redo = Lsn(SegmentNumber(9).start(SIZE).0 + 40);
        fs::write(place.path().join("global/pg_control"), file_with_redo(redo)).unwrap();
        let mut protection = WalProtection::of(&place.path().join("holdfast-restore"));
        protection.asked_for(&archive, segment(5)).await;
        protection.next_look = None;
        protection.asked_for(&archive, segment(12)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(5)), "it begins where its backup does");
        fs::remove_file(place.path().join("backup_label")).unwrap();
        protection.asked_for(&archive, segment(12)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(5)), "not with every segment");
        protection.next_look = None;
        protection.asked_for(&archive, segment(12)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(9)));
        protection.asked_for(&archive, segment(8)).await;
        assert_eq!(protected(&archive).await, Some(SegmentNumber(8)), "it was begun again further back");
    }
}
