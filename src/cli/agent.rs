//! `holdfast agent`: runs everything until it is asked to stop.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Context, Failure, Outcome, context, exit, signals};
use crate::agent::{Agent, systemd};
use crate::config::Config;
use crate::repository::{self, Repository};
use crate::storage::retry::Policy;
use crate::storage::{self, Store};

/// How long to wait until a store that cannot be reached is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long a single operation on the store is tried before it is reported as failed.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// What `agent` takes.
#[derive(Args)]
pub(super) struct Options {}

pub(super) async fn run(context: &Context, _options: &Options) -> Outcome {
    let config = context.config()?;
    let stop = signals::stop()?;
    let Some(repository) = open_repository(&config, &stop).await? else { return Ok(exit::DONE) };
    tracing::info!(repository = repository.store().url(), version = env!("CARGO_PKG_VERSION"), "the agent begins");
    let agent = Agent::new(config, repository);
    let reloading = tokio::spawn(reload(context.clone(), Arc::clone(&agent), hangups()?));
    systemd::ready();
    let running = tokio::spawn(agent.run(stop.clone()));
    stop.cancelled().await;
    systemd::stopping();
    running.await.map_err(|panic| Failure::new(format!("the agent failed: {panic}")))?;
    reloading.abort();
    tracing::info!("the agent has stopped");
    Ok(exit::DONE)
}

fn hangups() -> Result<Signal, Failure> {
    signal(SignalKind::hangup()).map_err(|error| Failure::new(format!("signals cannot be received: {error}")))
}

/// Reads the configuration anew on each SIGHUP. One that is wrong changes nothing.
async fn reload(context: Context, agent: Arc<Agent>, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        systemd::reloading();
        match context.config() {
            Ok(config) => agent.reload(config),
            Err(failure) => {
                tracing::error!(hint = failure.hint, "the configuration stays as it was: {}", failure.message);
            }
        }
        systemd::ready();
    }
}

/// Waits for a store that cannot be used yet; none if the agent is asked to stop meanwhile.
async fn open_repository(config: &Config, stop: &CancellationToken) -> Result<Option<Repository>, Failure> {
    let mut complained = false;
    while !stop.is_cancelled() {
        let failure = match open_store(config).await {
            Ok(store) => match Repository::open(store, config.repository.compression).await {
                Ok(repository) => {
                    let repository = repository.with_encryption(context::encryption(config));
                    return Ok(Some(repository.with_lease_time(config.repository.lease.0)));
                }
                Err(error @ repository::Error::Storage(_)) => Failure::from(error),
                Err(error) => return Err(error.into()),
            },
            Err(failure) => failure,
        };
        if !std::mem::replace(&mut complained, true) {
            tracing::error!(hint = failure.hint, "the repository cannot be opened, trying again: {}", failure.message);
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(None)
}

/// The agent's own loops try again as long as it takes, and tell what is wrong meanwhile: the store need not be patient too.
async fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let policy = Policy { deadline: STORE_PATIENCE, ..Policy::default() };
    Ok(storage::open::open(&config.repository.location()?, policy).await?)
}
