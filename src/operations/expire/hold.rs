//! Holding a backup, which retention may be about to take off the catalog: one of the two is at the catalog at a time.
//!
//! Each of them writes first and looks then, so that one sees the other. That is not enough where retention is killed between the two: what it has taken
//! off the catalog it does not list again then, though the backup was held meanwhile.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use crate::repository::{self, Acquired, Hold, Lease, LeaseName, Protects, Repository, ResourceName, Terms};
use crate::sys::clock::Deadline;

/// How often it is asked whether somebody else is done.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Keeps a backup whatever retention says. False where it is not listed any more: then it is not kept.
///
/// # Errors
/// `Error::Busy` where another process is at the catalog for longer than one that was killed can be; otherwise when the store fails.
pub async fn hold(repository: &Repository, resource: &ResourceName, hold: &Hold) -> Result<bool> {
    let mut lease = match take_catalog(repository, resource, "holding a backup", &CancellationToken::new()).await? {
        Acquired::Ours(lease) => lease,
        Acquired::Held(other) => {
            return Err(Error::Busy { resource: resource.to_string(), holder: other.record.holder.to_string() });
        }
    };
    let held = hold_alone(repository, resource, hold, &mut lease).await;
    give_back(lease).await;
    Ok(held?)
}

async fn hold_alone(
    repository: &Repository,
    resource: &ResourceName,
    hold: &Hold,
    lease: &mut Lease,
) -> repository::Result<bool> {
    let backups = repository.backups(resource);
    backups.hold(hold).await?;
    let is_listed = backups.is_listed(&hold.id).await?;
    // Where this process stood still, retention may have come in between.
    lease.renew().await?;
    if !is_listed {
        backups.release(&hold.id).await?;
    }
    Ok(is_listed)
}

/// Takes the lease under which backups are held and taken off the catalog. Whoever has it does so for a moment, or was killed: it is waited for until it
/// would be dead then, or until `stop`.
pub(super) async fn take_catalog(
    repository: &Repository,
    resource: &ResourceName,
    purpose: &str,
    stop: &CancellationToken,
) -> repository::Result<Acquired> {
    let terms = Terms {
        name: LeaseName::job("catalog"),
        purpose: purpose.to_owned(),
        protects: Protects::Nothing,
        lease: repository.lease_time(),
        take_over: false,
    };
    let leases = repository.leases(resource);
    let mut until = None;
    loop {
        let other = match leases.acquire(&terms).await? {
            Acquired::Held(other) => other,
            ours @ Acquired::Ours(_) => return Ok(ours),
        };
        let until = *until.get_or_insert_with(|| Deadline::after(other.record.patience() + ASK_EVERY));
        if until.has_passed() || stop.is_cancelled() {
            return Ok(Acquired::Held(other));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Gives it back. Where that fails, it ends when it gets too old.
pub(super) async fn give_back(lease: Lease) {
    if let Err(error) = lease.release().await {
        tracing::warn!("a lease could not be given back, and ends by itself: {error}");
    }
}
