//! `holdfast agent`: runs everything until it is asked to stop.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Context, Failure, Outcome, context, exit};
use crate::agent::Agent;
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
    let stop = stop_signal()?;
    let Some(repository) = open_repository(&config, &stop).await? else { return Ok(exit::DONE) };
    tracing::info!(repository = repository.store().url(), version = env!("CARGO_PKG_VERSION"), "the agent begins");
    Agent::new(config, repository).run(stop).await;
    tracing::info!("the agent has stopped");
    Ok(exit::DONE)
}

/// Waits for a store that cannot be used yet; none if the agent is asked to stop meanwhile.
async fn open_repository(config: &Config, stop: &CancellationToken) -> Result<Option<Repository>, Failure> {
    let mut complained = false;
    while !stop.is_cancelled() {
        let failure = match open_store(config).await {
            Ok(store) => match Repository::open(store, config.repository.compression).await {
                Ok(repository) => return Ok(Some(repository.with_encryption(context::encryption(config)))),
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

/// Cancelled by SIGTERM and by SIGINT.
fn stop_signal() -> Result<CancellationToken, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: what was received is stored first");
        cancelled.cancel();
    });
    Ok(stop)
}
