//! Carrying a plan out, in an order in which it can be stopped anywhere.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::facts::{Facts, Rules};
use super::garbage::{self, Shared};
use super::gather::{archive_of, gather};
use super::hold::{give_back, take_catalog};
use super::measure::{Doomed, Goes, measure, measure_one};
use super::plan::{ExpirePlan, WalDecision, decide};
use super::protection::{Protection, break_dead, in_force};
use crate::pg::Lsn;
use crate::repository::{
    self, Acquired, BackupEntry, BackupId, Detail, HeldLease, Horizon, Lease, LeaseName, Needed, Protects, Repository,
    ResourceName, StoreClock, Terms, WalArchive,
};
use crate::storage::Failure;
use crate::sys::clock;

/// How many objects are removed at once.
const DELETES_AT_ONCE: usize = 8;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Backups.
    pub backups: u64,
    /// Objects, of backups and of WAL.
    pub objects: u64,
    /// What they took in the store, in bytes.
    pub bytes: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// What was removed until now.
    pub removed: Removed,
    /// What the plan lets go, in bytes.
    pub planned_bytes: u64,
}

/// What was planned, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The plan.
    pub plan: ExpirePlan,
    /// What was removed; none where nothing was to be.
    pub removed: Option<Removed>,
    /// Whether it was stopped before it was done: the next run goes on.
    pub stopped: bool,
}

/// Makes the plan, by the clock that `expire` goes by, and changes nothing.
///
/// # Errors
/// When the store fails or a record cannot be read.
pub async fn plan_only(repository: &Repository, resource: &ResourceName, rules: &Rules) -> Result<Report> {
    let now = store_time(repository, resource).await?;
    let mut leases = repository.leases(resource).standing().await?;
    leases.retain(|lease| lease.is_alive(now));
    let facts = gather(repository, resource, leases, now).await?;
    Ok(Report { plan: planned(repository, resource, rules, &facts).await?, removed: None, stopped: false })
}

/// The store's time; this host's, where nothing may be stored: that is the only way to learn the other.
async fn store_time(repository: &Repository, resource: &ResourceName) -> Result<Timestamp> {
    match repository.leases(resource).store_clock().await {
        Ok(clock) => Ok(clock.now()),
        Err(repository::Error::Storage(error))
            if matches!(error.failure, Failure::Denied(_) | Failure::ReadOnly(_) | Failure::Full(_)) =>
        {
            tracing::warn!(%resource, "this plan goes by the clock of this host, because the store's cannot be read: {error}");
            Ok(clock::now())
        }
        Err(error) => Err(error.into()),
    }
}

async fn planned(repository: &Repository, resource: &ResourceName, rules: &Rules, facts: &Facts) -> Result<ExpirePlan> {
    let mut plan = decide(resource, facts, rules);
    measure(repository, resource, &mut plan).await?;
    let in_use = |id: &BackupId| facts.leases.iter().any(|lease| lease.record.protects == Protects::Backup(id.clone()));
    match resource.kind().shares_content() {
        true => garbage::look_shared(repository, resource, in_use, &mut plan).await?,
        false => garbage::look(repository, resource, in_use, &mut plan).await?,
    }
    Ok(plan)
}

/// Applies retention to a resource. Cancelling `stop` ends it between two objects.
///
/// # Errors
/// `Error::Busy` where another process is at it; otherwise when the store fails. What was removed was not needed.
pub async fn expire(
    repository: &Repository,
    resource: &ResourceName,
    rules: &Rules,
    progress: &watch::Sender<Progress>,
    stop: &CancellationToken,
) -> Result<Report> {
    let terms = Terms {
        name: LeaseName::job("expire"),
        purpose: "applying retention".to_owned(),
        protects: Protects::Nothing,
        lease: repository.lease_time(),
        take_over: false,
    };
    let lease = match repository.leases(resource).acquire(&terms).await? {
        Acquired::Ours(lease) => lease.keep(),
        Acquired::Held(other) => {
            return Err(Error::Busy { resource: resource.to_string(), holder: other.record.holder.to_string() });
        }
    };
    let done = Run { repository, resource, rules, progress, stop, lease: &lease }.run().await;
    lease.release().await;
    done
}

struct Run<'a> {
    repository: &'a Repository,
    resource: &'a ResourceName,
    rules: &'a Rules,
    progress: &'a watch::Sender<Progress>,
    stop: &'a CancellationToken,
    lease: &'a HeldLease,
}

impl Run<'_> {
    async fn run(&self) -> Result<Report> {
        let clock = self.lease.clock().await;
        break_dead(self.repository, self.resource, &clock).await?;
        let facts = self.gather(&clock).await?;
        let plan = planned(self.repository, self.resource, self.rules, &facts).await?;
        self.progress.send_modify(|progress| progress.planned_bytes = plan.freed_bytes);
        for backup in plan.backups.iter().filter(|backup| !backup.keep) {
            self.remove(&backup.id, &clock).await?;
        }
        if self.resource.kind().shares_content() {
            self.remove_shared(&clock).await?;
        } else {
            for garbage in &plan.garbage {
                self.remove_content(&garbage.id, &clock).await?;
            }
        }
        self.remove_wal(&clock).await?;
        self.repository.leases(self.resource).tidy(&clock).await?;
        let removed = Some(self.progress.borrow().removed);
        Ok(Report { plan, removed, stopped: self.is_stopped() })
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_cancelled() || self.lease.lost().is_cancelled()
    }

    async fn gather(&self, clock: &StoreClock) -> Result<Facts> {
        let leases = in_force(self.repository, self.resource).await?;
        Ok(gather(self.repository, self.resource, leases, clock.now()).await?)
    }

    async fn protection(&self, clock: &StoreClock) -> Result<Protection> {
        Ok(Protection::now(self.repository, self.resource, clock).await?)
    }

    /// Takes a backup off the catalog, and then, if nobody came in between, removes its content.
    async fn remove(&self, id: &BackupId, clock: &StoreClock) -> Result<()> {
        if self.is_stopped() || self.protection(clock).await?.covers(id) {
            return Ok(());
        }
        let mut lease = match take_catalog(self.repository, self.resource, "taking a backup off the catalog", self.stop).await? {
            Acquired::Ours(lease) => lease,
            Acquired::Held(other) => {
                let (resource, holder) = (self.resource, &other.record.holder);
                tracing::info!("backup {id} of {resource} stays until the next run: {holder} is at the catalog");
                return Ok(());
            }
        };
        let unlisted = self.unlist(id, clock, &mut lease).await;
        give_back(lease).await;
        if !unlisted? {
            return Ok(());
        }
        self.progress.send_modify(|progress| progress.removed.backups += 1);
        match self.resource.kind().shares_content() {
            // Others may need it: that is looked up once, when all that go are off the catalog.
            true => Ok(()),
            false => self.remove_content(id, clock).await,
        }
    }

    /// Takes a backup off the catalog, unless it is held or in use: whether that was done.
    async fn unlist(&self, id: &BackupId, clock: &StoreClock, lease: &mut Lease) -> Result<bool> {
        if self.protection(clock).await?.covers(id) {
            return Ok(false);
        }
        let backups = self.repository.backups(self.resource);
        let Some(entry) = backups.get(id).await? else { return Ok(false) };
        self.record_replaced(&entry).await?;
        // Where this process stood still since it looked, somebody may have come to hold the backup.
        lease.renew().await?;
        backups.unlist(id).await?;
        if self.protection(clock).await?.covers(id) {
            tracing::info!("backup {id} of {} is listed again: somebody has begun to use it", self.resource);
            backups.put(&entry).await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Records that a base backup of its timeline has had its time: from then on WAL may go, also in a run after a kill. Up to where is
    /// not said before it goes: an older backup may be kept that needs the WAL before this one, to get to a later timeline.
    async fn record_replaced(&self, entry: &BackupEntry) -> Result<()> {
        let Detail::Postgres(detail) = &entry.detail else { return Ok(()) };
        let Some(archive) = archive_of(self.repository, self.resource, detail.system_id).await? else { return Ok(()) };
        let horizon = Horizon { timeline: detail.timeline, below: Lsn::INVALID, made_at: clock::now() };
        Ok(archive.put_horizon(&horizon).await?)
    }

    async fn remove_content(&self, id: &BackupId, clock: &StoreClock) -> Result<()> {
        self.remove_free(id, &Needed::default(), clock).await
    }

    /// Removes what is free of the content that backups share. While an unlisted backup is in use nothing is: the next run does it.
    async fn remove_shared(&self, clock: &StoreClock) -> Result<()> {
        let Some(shared) = Shared::look(self.repository, self.resource).await? else {
            let resource = self.resource;
            tracing::info!(
                "a backup of {resource} is being taken, or is in use: content that is not needed any more stays for now"
            );
            return Ok(());
        };
        for id in &shared.unlisted {
            self.remove_free(id, &shared.needed, clock).await?;
        }
        Ok(())
    }

    /// Removes the content of a backup that is not listed, except for what is needed.
    async fn remove_free(&self, id: &BackupId, needed: &Needed, clock: &StoreClock) -> Result<()> {
        let backups = self.repository.backups(self.resource);
        let mut after = None;
        while !self.is_stopped() && garbage::is_garbage(self.repository, self.resource, id, clock).await? {
            let deleted = backups.delete_some_content(id, needed, after.as_deref()).await?;
            self.count(deleted.objects, deleted.bytes);
            after = deleted.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, objects: u64, bytes: u64) {
        self.progress.send_modify(|progress| {
            progress.removed.objects += objects;
            progress.removed.bytes += bytes;
        });
    }

    /// Removes WAL by what is listed now: backups may have stayed that the plan let go.
    async fn remove_wal(&self, clock: &StoreClock) -> Result<()> {
        if self.is_stopped() {
            return Ok(());
        }
        let facts = self.gather(clock).await?;
        for mut decision in decide(self.resource, &facts, self.rules).wal {
            let Some(archive) = archive_of(self.repository, self.resource, decision.system_id).await? else { continue };
            measure_one(&archive, &mut decision, facts.now).await?;
            if decision.objects > 0 && !self.is_stopped() {
                self.remove_timeline(&archive, &decision, &facts, clock).await?;
            }
        }
        Ok(())
    }

    async fn remove_timeline(
        &self,
        archive: &WalArchive,
        decision: &WalDecision,
        facts: &Facts,
        clock: &StoreClock,
    ) -> Result<()> {
        let WalDecision { timeline, removed_below, needs, .. } = decision;
        if let Some(below) = *removed_below {
            archive.put_horizon(&Horizon { timeline: *timeline, below, made_at: clock::now() }).await?;
        }
        let mut doomed = Doomed::new(archive, needs, facts.now);
        while let Some(page) = doomed.next().await? {
            // What has come since the horizon was recorded lies behind it, and stays for now.
            let page: Vec<Goes> = page.into_iter().filter(|goes| goes.end <= *removed_below).collect();
            if page.is_empty() {
                continue;
            }
            if self.is_stopped() || self.protection(clock).await?.covers_wal(decision.system_id, &facts.leases) {
                return Ok(());
            }
            self.delete(archive, &page).await?;
        }
        Ok(archive.tidy_horizons().await?)
    }

    /// Oldest first, a few at a time.
    async fn delete(&self, archive: &WalArchive, page: &[Goes]) -> Result<()> {
        for some in page.chunks(DELETES_AT_ONCE) {
            if self.is_stopped() {
                return Ok(());
            }
            let deletes: Vec<_> = some.iter().map(|goes| archive.delete(&goes.stored.object)).collect();
            stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE).try_collect::<()>().await?;
            self.count(some.len() as u64, some.iter().map(|goes| goes.stored.stored_bytes).sum());
        }
        Ok(())
    }
}
