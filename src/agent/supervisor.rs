//! One task for every cluster and every service; each is started again when it fails, and none ends another.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::inspection::Inspection;
use super::{AgentStatus, http, memory, socket};
use crate::config::{Config, Postgres};
use crate::repository::{Repository, ResourceName};
use crate::resources::postgres::archive::{self, Receiver, Report, State, Trouble};
use crate::sys::clock;

/// How long a task that failed rests before it is started again.
const REST: Duration = Duration::from_secs(5);
/// So long after an upload was last touched it counts as given up. A running one is touched far more often.
const UNFINISHED: Duration = Duration::from_hours(48);

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    repository: Repository,
    started_at: Timestamp,
    reports: Vec<(ResourceName, Report)>,
}

impl Agent {
    /// The agent of a configuration. Does nothing yet.
    #[must_use]
    pub fn new(config: Config, repository: Repository) -> Arc<Self> {
        let streamed = config.clusters().filter(|(_, cluster)| cluster.stream);
        let reports = streamed.map(|(resource, _)| (resource.clone(), Report::new(&resource))).collect();
        Arc::new(Self { config, repository, started_at: clock::now(), reports })
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The status of this moment.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let clusters = self.reports.iter().map(|(_, report)| report.status()).collect();
        AgentStatus::new(self.started_at, clock::now(), memory::resident_bytes(), clusters)
    }

    /// Runs everything until it is asked to stop, and then until what was received is stored, as far as the store takes it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(http::serve(Arc::clone(&self), self.config.agent.listen, stop.clone()));
        tasks.spawn(sweep(self.repository.clone()));
        tasks.spawn(socket::serve(self.config.clone(), self.repository.clone(), stop.clone()));
        for (resource, cluster) in self.config.clusters() {
            let report = self.reports.iter().find(|(name, _)| *name == resource).map(|(_, report)| report.clone());
            let (repository, cluster) = (self.repository.clone(), cluster.clone());
            tasks.spawn(Inspection { repository, resource, cluster, report }.run(stop.clone()));
        }
        for (resource, report) in &self.reports {
            let Ok((resource, cluster)) = self.config.cluster(Some(resource)) else { continue };
            let (repository, cluster) = (self.repository.clone(), cluster.clone());
            tasks.spawn(supervise(repository, resource, cluster, report.clone(), stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(panic) = ended {
                tracing::error!("a task of the agent failed: {panic}");
            }
        }
    }
}

/// Removes what unfinished uploads left behind.
async fn sweep(repository: Repository) {
    match repository.store().sweep(UNFINISHED).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed what unfinished uploads had left behind"),
        Err(error) => tracing::warn!("what unfinished uploads left behind could not be removed: {error}"),
    }
}

/// Keeps the receiver of a cluster running.
async fn supervise(repository: Repository, resource: ResourceName, cluster: Postgres, report: Report, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let Some(trouble) = receive(&repository, &resource, &cluster, &report, &stop).await else { return };
        tracing::error!(%resource, hint = trouble.hint, "the receiver failed: {}", trouble.message);
        report.update(|status| {
            status.state = State::Waiting;
            status.trouble = Some(trouble);
        });
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Runs a receiver; what it failed of, if it did not just stop.
async fn receive(
    repository: &Repository,
    resource: &ResourceName,
    cluster: &Postgres,
    report: &Report,
    stop: &CancellationToken,
) -> Option<Trouble> {
    let receiver = match Receiver::new(repository.clone(), resource.clone(), cluster, report.clone()) {
        Ok(receiver) => receiver,
        Err(error) => return Some(trouble(&error)),
    };
    let stop = stop.clone();
    let running = tokio::spawn(async move { receiver.run(&stop).await });
    running.await.err().map(|panic| Trouble::now(panic.to_string(), None))
}

fn trouble(error: &archive::Error) -> Trouble {
    Trouble::now(error.to_string(), error.hint())
}
