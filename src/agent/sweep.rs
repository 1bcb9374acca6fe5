//! Removing what killed processes left behind, when the agent begins and once a day: unfinished uploads, probes, superfluous slices.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::repository::{self, Repository, ResourceName};
use crate::resources::postgres::archive::leftovers;
use crate::storage::probe;

/// So long after an upload was last touched, or a probe begun, it counts as given up. A running one is touched far more often.
const UNFINISHED: Duration = Duration::from_hours(48);
/// How often.
const EVERY: Duration = Duration::from_hours(24);

/// What the agent runs with, which a reload changes.
type Configured = watch::Receiver<Arc<Config>>;

/// Sweeps until the agent is asked to stop.
pub(super) async fn run(config: Configured, repository: Repository, stop: CancellationToken) {
    let sweeping = async {
        loop {
            sweep(&clusters(&config), &repository).await;
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = stop.cancelled() => {}
    }
}

/// The clusters that are configured by now.
fn clusters(config: &Configured) -> Vec<ResourceName> {
    config.borrow().clusters().map(|(resource, _)| resource).collect()
}

async fn sweep(clusters: &[ResourceName], repository: &Repository) {
    let store = repository.store();
    tell("unfinished uploads", &repository.sweep_uploads(UNFINISHED).await);
    tell("probes of the store", &probe::sweep(store.as_ref(), UNFINISHED).await);
    for resource in clusters {
        tell("slices that nothing needs", &slices(repository, resource).await);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn config(names: &[&str]) -> Arc<Config> {
        let clusters = names.iter().map(|name| format!("[postgres.{name}]\nconninfo = \"host=a\"\n"));
        let text = format!("[repository]\nurl = \"file:///b\"\n{}", clusters.collect::<String>());
        Arc::new(parse(&text, Path::new("/c")).expect("a valid configuration"))
    }

    fn names(names: &[&str]) -> Vec<ResourceName> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    #[test]
    fn a_cluster_that_a_reload_adds_is_swept_too() {
        let (sender, receiver) = watch::channel(config(&["main"]));
        assert_eq!(clusters(&receiver), names(&["postgres/main"]));
        sender.send_replace(config(&["main", "other"]));
        assert_eq!(clusters(&receiver), names(&["postgres/main", "postgres/other"]));
    }
}
