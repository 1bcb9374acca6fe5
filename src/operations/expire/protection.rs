//! What protects a backup right now: looked up anew before each step that cannot be taken back.

use crate::pg::SystemId;
use crate::repository::{BackupId, LeaseState, Protects, Repository, ResourceName, Result, Standing, StoreClock};

/// Holds and leases of one moment. Every lease that is not given back or broken counts, however old it looks.
pub(super) struct Protection {
    held: Vec<BackupId>,
    leases: Vec<Standing>,
}

impl Protection {
    /// What there is now.
    pub(super) async fn now(repository: &Repository, resource: &ResourceName, clock: &StoreClock) -> Result<Self> {
        let leases = in_force(repository, resource).await?;
        let holds = repository.backups(resource).all_holds().await?.into_iter();
        let held = holds.filter(|hold| hold.is_in_force(clock.now())).map(|hold| hold.id).collect();
        Ok(Self { held, leases })
    }

    /// Whether a backup must stay: it is held, or somebody is at work on it.
    pub(super) fn covers(&self, id: &BackupId) -> bool {
        let used = |lease: &Standing| lease.record.protects == Protects::Backup(id.clone());
        self.held.contains(id) || self.leases.iter().any(used)
    }

    /// Whether somebody may need WAL of a cluster who was not there when it was planned.
    pub(super) fn covers_wal(&self, system_id: SystemId, planned: &[Standing]) -> bool {
        let is_new = |lease: &&Standing| !planned.iter().any(|known| known.name == lease.name);
        self.leases.iter().filter(is_new).any(|lease| match lease.record.protects {
            Protects::Nothing => false,
            Protects::Backup(_) => true,
            Protects::Wal { system_id: of, .. } => of == system_id,
        })
    }
}

/// The leases that are neither given back nor broken.
pub(super) async fn in_force(repository: &Repository, resource: &ResourceName) -> Result<Vec<Standing>> {
    let mut standing = repository.leases(resource).standing().await?;
    standing.retain(|lease| lease.record.state == LeaseState::Held);
    Ok(standing)
}

/// Breaks the leases that are dead, so that whoever held them cannot go on: from then on nothing depends on them.
pub(super) async fn break_dead(repository: &Repository, resource: &ResourceName, clock: &StoreClock) -> Result<()> {
    let leases = repository.leases(resource);
    for lease in in_force(repository, resource).await? {
        if lease.record.protects != Protects::Nothing && !lease.is_alive(clock.now()) && leases.break_dead(&lease).await? {
            tracing::info!(
                "the lease {} on {resource} is dead ({}, by {}): what it protected is free",
                lease.name,
                lease.record.purpose,
                lease.record.holder
            );
        }
    }
    Ok(())
}
