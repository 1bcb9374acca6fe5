//! Removing what killed processes left behind, when the agent begins and once a day: unfinished uploads, probes, superfluous slices.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::repository::{self, Repository, ResourceName};
use crate::resources::postgres::archive::leftovers;
use crate::storage::probe;

/// So long after an upload was last touched, or a probe begun, it counts as given up. A running one is touched far more often.
const UNFINISHED: Duration = Duration::from_hours(48);
/// How often.
const EVERY: Duration = Duration::from_hours(24);

/// Sweeps until the agent is asked to stop.
pub(super) async fn run(config: Config, repository: Repository, stop: CancellationToken) {
    let sweeping = async {
        loop {
            sweep(&config, &repository).await;
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = stop.cancelled() => {}
    }
}

async fn sweep(config: &Config, repository: &Repository) {
    let store = repository.store();
    tell("unfinished uploads", &repository.sweep_uploads(UNFINISHED).await);
    tell("probes of the store", &probe::sweep(store.as_ref(), UNFINISHED).await);
    for (resource, _) in config.clusters() {
        tell("slices that nothing needs", &slices(repository, &resource).await);
    }
}

/// Of every cluster that was known under a name.
async fn slices(repository: &Repository, resource: &ResourceName) -> repository::Result<usize> {
    let mut removed = 0;
    for lineage in repository.lineages(resource).await?.records {
        removed += leftovers::sweep(&repository.wal(resource, &lineage)).await?;
    }
    Ok(removed)
}

fn tell<E: std::fmt::Display>(what: &str, swept: &Result<usize, E>) {
    match swept {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed {what} that were left behind"),
        Err(error) => tracing::warn!("{what} that were left behind could not be removed: {error}"),
    }
}
