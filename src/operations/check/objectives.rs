//! The recovery point objective of a cluster: for how long nothing was stored although the server wrote.

use std::time::Duration;

use super::{Finding, Level};
use crate::config;
use crate::pgwire::SystemIdentity;
use crate::repository::{Repository, ResourceName, Result, StoredWal};
use crate::resources::postgres::archive::coverage::range_of;
use crate::sys::clock;

/// Whether what is stored of a cluster lies further behind than its objective allows.
pub(super) async fn check_rpo(
    repository: &Repository,
    resource: &ResourceName,
    rpo: config::Duration,
    server: &SystemIdentity,
) -> Option<Finding> {
    match behind(repository, resource, server).await {
        Ok(Some(age)) if age > rpo.0 => {
            let found = format!(
                "the server has written WAL, and nothing was stored for {} s; the rpo is {} s",
                age.as_secs(),
                rpo.0.as_secs()
            );
            let hint = "see 'holdfast status' and the agent's log: what is not stored is lost with the server".to_owned();
            Some(Finding::bad(Level::Critical, &resource.to_string(), found, Some(hint)))
        }
        // What cannot be found out is reported by the other checks.
        _ => None,
    }
}

/// How long ago the last WAL was stored, if the server has written more since; `None` where everything is stored, or nothing is.
async fn behind(repository: &Repository, resource: &ResourceName, server: &SystemIdentity) -> Result<Option<Duration>> {
    let lineage = repository.lineage_of(resource, server.system_id).await?;
    let archive = repository.wal(resource, &lineage);
    let stored = archive.list_last_group(server.timeline).await?;
    let mut end = None;
    for StoredWal { object, .. } in &stored {
        end = end.max(range_of(&archive, object).await?.map(|range| range.end));
    }
    let last = stored.iter().map(|stored| stored.stored_at).max();
    let Some((end, last)) = end.zip(last).filter(|(end, _)| *end < server.flushed) else { return Ok(None) };
    tracing::debug!(%resource, %end, flushed = %server.flushed, "the server is ahead of what is stored");
    Ok(Some(Duration::try_from(clock::now().duration_since(last)).unwrap_or_default()))
}
