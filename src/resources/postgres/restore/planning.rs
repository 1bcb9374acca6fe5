//! From a wish to a plan: looks into the store for what the pure parts decide from.

use super::Result;
use super::gather::gather;
use super::locate::{locate, reachable_before};
use super::plan::{Reason, Refusal, RestorePlan, Route, choose_route, plan};
use super::target::Wanted;
use crate::repository::{Repository, ResourceName, WalArchive};

/// Makes the plan of a restore.
///
/// # Errors
/// A refusal where the target cannot be reached; those of the store.
pub async fn make_plan(repository: &Repository, resource: &ResourceName, wanted: &Wanted) -> Result<RestorePlan> {
    let (facts, archive) = gather(repository, resource, wanted.backup.as_ref()).await?;
    let route = choose_route(&facts, wanted)?;
    let located = locate(&archive, &route).await?;
    match plan(&facts, &route, located) {
        Ok(plan) => Ok(plan),
        Err(refusal) => Err(before_the_hole(&archive, &route, refusal).await?.into()),
    }
}

/// Where WAL is missing, the refusal names the last position that can be reached before it: a record that is not whole cannot be replayed.
async fn before_the_hole(archive: &WalArchive, route: &Route, refusal: Refusal) -> Result<Refusal> {
    let Reason::Gap { start, end, noticed, backup } = refusal.reason else { return Ok(refusal) };
    let start = reachable_before(archive, route, start).await?;
    Ok(Refusal { reason: Reason::Gap { start, end, noticed, backup }, ..refusal })
}
