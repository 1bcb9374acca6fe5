//! From a wish to a plan: looks into the store for what the pure parts decide from.

use super::Result;
use super::gather::gather;
use super::locate::{locate, reachable_before};
use super::plan::{Elsewhere, Facts, Reason, Refusal, RestorePlan, Route, choose_route, plan};
use super::target::Wanted;
use crate::pg::Lsn;
use crate::pg::history::Span;
use crate::pg::recovery::{RecoveryTarget, TargetTimeline};
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
        Err(refusal) => {
            let refusal = before_the_hole(&archive, &route, refusal).await?;
            let elsewhere = elsewhere(&archive, &facts, &route, refusal.reason.reachable()).await;
            Err(Refusal { elsewhere, ..refusal }.into())
        }
    }
}

/// Where WAL is missing, the refusal names the last position that can be reached before it: a record that is not whole cannot be replayed.
async fn before_the_hole(archive: &WalArchive, route: &Route, mut refusal: Refusal) -> Result<Refusal> {
    if let Reason::Gap { start, .. } | Reason::WalLevelMinimal { start, .. } = &mut refusal.reason {
        *start = reachable_before(archive, route, *start).await?;
    }
    Ok(refusal)
}

/// The youngest of the timelines on the way that leads to the target by itself: what it wrote last can be stored under its own name alone, where
/// its child was not archived from the beginning. Nobody follows it without being told to. `reachable` is the position that the newest one leads
/// to before a hole; one that has the target behind the place where it was left is named beside that.
async fn elsewhere(archive: &WalArchive, facts: &Facts, route: &Route, reachable: Option<Lsn>) -> Option<Box<Elsewhere>> {
    let wanted = &route.wanted;
    if wanted.timeline != TargetTimeline::Latest || matches!(wanted.target, RecoveryTarget::EndOfWal | RecoveryTarget::Immediate)
    {
        return None;
    }
    let mut beside = None;
    for Span { timeline, end, .. } in route.path.spans().iter().rev() {
        let Some(left_at) = *end else { continue };
        let wanted = Wanted { timeline: TargetTimeline::Id(*timeline), ..wanted.clone() };
        let Ok(route) = choose_route(facts, &wanted) else { continue };
        // Why it does not lead there does not matter: the refusal stands.
        let Ok(located) = locate(archive, &route).await else { continue };
        let Ok(plan) = plan(facts, &route, located) else { continue };
        let is_exact = plan.located.stop.is_some();
        let end = plan.wal.last().map_or(left_at, |part| part.end);
        let found = Elsewhere { timeline: *timeline, left_at, is_exact, end };
        if found.leads_further_than(reachable) {
            return Some(Box::new(found));
        }
        beside = beside.or(Some(found).filter(|found| found.is_exact));
    }
    beside.map(Box::new)
}
