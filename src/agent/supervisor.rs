//! One task for every cluster, every resource and every service; none ends another.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::receivers::Receivers;
use super::scheduler::{Board, Shared, tend};
use super::{AgentStatus, http, memory, socket, sweep};
use crate::config::Config;
use crate::repository::{Repository, ResourceName};
use crate::sys::clock;

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: watch::Sender<Arc<Config>>,
    repository: Repository,
    started_at: Timestamp,
    receivers: Receivers,
    board: Board,
}

impl Agent {
    /// The agent of a configuration. Does nothing yet.
    #[must_use]
    pub fn new(config: Config, repository: Repository) -> Arc<Self> {
        let (config, _) = watch::channel(Arc::new(config));
        let (receivers, board) = (Receivers::default(), Board::default());
        Arc::new(Self { config, repository, started_at: clock::now(), receivers, board })
    }

    /// The status of this moment.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let (clusters, jobs, kept) = (self.receivers.statuses(), self.board.all(), self.board.all_kept());
        AgentStatus::new(
            self.repository.store().url(),
            self.started_at,
            clock::now(),
            memory::resident_bytes(),
            clusters,
            jobs,
            kept,
        )
    }

    /// What it runs with.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// Takes on another configuration, which stands like the one before, while it runs. A backup that is running goes on as it began.
    pub fn reload(&self, config: Config) {
        self.config.send_replace(Arc::new(config));
        tracing::info!("the configuration was read anew");
    }

    /// Runs everything until it is asked to stop, and then until what was received is stored, as far as the store takes it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let listen = self.config.borrow().agent.listen;
        tasks.spawn(http::serve(Arc::clone(&self), listen, stop.clone()));
        tasks.spawn(sweep::run(self.config.subscribe(), self.repository.clone(), stop.clone()));
        let followed = Arc::clone(&self).follow(&stop);
        followed.await;
        self.receivers.ended().await;
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    }

    /// Keeps what runs in line with the configuration, until the agent is asked to stop.
    async fn follow(self: Arc<Self>, stop: &CancellationToken) {
        let mut config = self.config.subscribe();
        let places = Arc::new(Semaphore::new(config.borrow().agent.jobs_at_once.get()));
        let shared = Shared {
            repository: self.repository.clone(),
            config: config.clone(),
            board: self.board.clone(),
            places,
            stop: stop.clone(),
        };
        let (mut tended, mut tasks) = (BTreeSet::<ResourceName>::new(), JoinSet::new());
        let mut sockets = JoinSet::new();
        while !stop.is_cancelled() {
            let current = Arc::clone(&config.borrow_and_update());
            self.receivers.apply(&current, &self.repository, stop);
            let answering = stop.child_token();
            sockets.spawn(socket::serve(Config::clone(&current), self.repository.clone(), answering.clone()));
            for resource in current.resources().filter(|resource| !tended.contains(resource)).collect::<Vec<_>>() {
                tended.insert(resource.clone());
                tasks.spawn(tend_one(shared.clone(), resource));
            }
            tokio::select! {
                // The sender lives as long as the agent.
                changed = config.changed() => drop(changed),
                () = stop.cancelled() => {}
                Some(ended) = tasks.join_next() => forget(&mut tended, ended),
            }
            answering.cancel();
            while let Some(ended) = sockets.join_next().await {
                report(ended);
            }
        }
        while let Some(ended) = tasks.join_next().await {
            forget(&mut tended, ended);
        }
    }
}

async fn tend_one(shared: Shared, resource: ResourceName) -> ResourceName {
    tend(shared, resource.clone()).await;
    resource
}

/// A resource that is not tended any more is tended anew should it come back.
fn forget(tended: &mut BTreeSet<ResourceName>, ended: Result<ResourceName, tokio::task::JoinError>) {
    match ended {
        Ok(resource) => drop(tended.remove(&resource)),
        Err(panic) => tracing::error!("a task of the scheduler failed; restart the agent: {panic}"),
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended {
        tracing::error!("a task of the agent failed: {panic}");
    }
}
