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
use crate::storage::open::Location;
use crate::storage::retry::Policy;
use crate::storage::s3::Credentials;
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
    let mut hangups = hangups()?;
    let Some(repository) = open_repository(&config, &stop).await? else { return Ok(exit::DONE) };
    tokio::spawn(systemd::watchdog(stop.clone()));
    let mut next = Some((config, repository));
    while let Some((config, repository)) = next.take() {
        tracing::info!(repository = repository.store().url(), version = env!("CARGO_PKG_VERSION"), "the agent begins");
        // Where they cannot be had just now, the next reload opens the store anew.
        let keys = credentials(&config).ok().flatten();
        let (agent, life) = (Agent::new(config, repository), stop.child_token());
        let running = tokio::spawn(Arc::clone(&agent).run(life.clone()));
        systemd::ready();
        tokio::select! {
            begun_anew = reload(context, &agent, keys.as_ref(), &mut hangups) => next = begun_anew,
            () = stop.cancelled() => systemd::stopping(),
        }
        life.cancel();
        running.await.map_err(|panic| Failure::new(format!("the agent failed: {panic}")))?;
    }
    tracing::info!("the agent has stopped");
    Ok(exit::DONE)
}

fn hangups() -> Result<Signal, Failure> {
    signal(SignalKind::hangup()).map_err(|error| Failure::new(format!("signals cannot be received: {error}")))
}

/// Reads the configuration anew on each SIGHUP. One that is wrong changes nothing. Returns what the agent has to begin anew with:
/// everything that is stored depends on the repository and on who can read it, so an agent has one of each from its beginning to its end.
async fn reload(
    context: &Context,
    agent: &Agent,
    keys: Option<&Credentials>,
    hangups: &mut Signal,
) -> Option<(Config, Repository)> {
    while hangups.recv().await.is_some() {
        systemd::reloading();
        match reloaded(context, &agent.config(), keys).await {
            Ok((config, None)) => agent.reload(config),
            Ok((config, Some(repository))) => {
                tracing::info!("the configuration was read anew: the agent begins anew with it");
                return Some((config, repository));
            }
            Err(failure) => {
                tracing::error!(hint = failure.hint, "the configuration stays as it was: {}", failure.message);
            }
        }
        systemd::ready();
    }
    std::future::pending().await
}

/// The configuration of this moment, with a repository where it is not to be used like the one before.
async fn reloaded(
    context: &Context,
    before: &Config,
    keys: Option<&Credentials>,
) -> Result<(Config, Option<Repository>), Failure> {
    let config = context.config()?;
    if goes_on(&config, before, keys)? {
        return Ok((config, None));
    }
    let store = open_store(&config).await?;
    let repository = context::opened(&config, store).await?;
    Ok((config, Some(repository)))
}

/// Whether an agent that has opened its store with these keys can go on under another configuration. Keys that are taken from a file or a program
/// change without a change of the configuration.
fn goes_on(config: &Config, before: &Config, keys: Option<&Credentials>) -> Result<bool, Failure> {
    Ok(config.stands_like(before) && credentials(config)?.as_ref() == keys)
}

/// The keys for the store, as they are now.
fn credentials(config: &Config) -> Result<Option<Credentials>, Failure> {
    Ok(match config.repository.location()? {
        Location::S3(options) => options.credentials,
        Location::Directory(_) => None,
    })
}

/// Waits for a store that cannot be used yet; none if the agent is asked to stop meanwhile.
async fn open_repository(config: &Config, stop: &CancellationToken) -> Result<Option<Repository>, Failure> {
    let mut complained = false;
    while !stop.is_cancelled() {
        let failure = match open_store(config).await {
            Ok(store) => match context::opened(config, store).await {
                Ok(repository) => return Ok(Some(repository)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_changed_where_they_are_taken_from_are_taken_on_by_a_reload() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let secret = |text: &str| std::fs::write(file.path(), text).expect("write a file");
        secret("one");
        let path = file.path().display();
        let text =
            format!("[repository]\nurl = \"s3://b\"\naccess_key_id = \"a\"\nsecret_access_key = {{ file = \"{path}\" }}\n");
        let config = crate::config::parse(&text, std::path::Path::new("/c")).expect("a valid configuration");
        let goes_on = |keys: &Option<Credentials>| goes_on(&config, &config, keys.as_ref()).is_ok_and(|goes_on| goes_on);
        let keys = credentials(&config).expect("the keys");
        assert!(keys.is_some() && goes_on(&keys));
        secret("two");
        assert!(!goes_on(&keys));
    }
}
