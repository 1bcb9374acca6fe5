//! What every verb needs: the configuration, the repository, a way to print.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Failure, Output, output};
use crate::config::{self, Config, StoreUrl};
use crate::repository::{self, Encryption, Repository};
use crate::storage::retry::Policy;
use crate::storage::{self, Store};

/// Opened on demand, so that a verb touches only what it needs.
#[derive(Clone)]
pub(super) struct Context {
    path: Option<PathBuf>,
    /// Where results and progress go.
    pub output: Output,
}

impl Context {
    pub(super) const fn new(path: Option<PathBuf>, output: Output) -> Self {
        Self { path, output }
    }

    /// The configuration file that the command line names.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The configuration.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let path = self.path.clone().unwrap_or_else(config::default_path);
        Ok(config::load(&path)?)
    }

    /// The repository, which `init` has created, for work that waits for a store that is away for a while.
    pub(super) async fn repository(&self, config: &Config) -> Result<Repository, Failure> {
        Ok(opened(config, open_store(config).await?).await?)
    }

    /// The repository, for a person who waits for the answer: a store that does not answer is an error within seconds.
    pub(super) async fn repository_now(&self, config: &Config) -> Result<Repository, Failure> {
        let store = storage::open::open(&config.repository.location()?, Policy::interactive()).await?;
        let opened = timeout(ANSWER_WITHIN, Repository::open(store, config.repository.compression)).await;
        match opened {
            Ok(Ok(repository)) => Ok(repository.with_encryption(encryption(config))),
            Ok(Err(error)) if error.is_retryable() => Err(Failure::from(error).with_hint(Some(unreachable_hint(config)))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(no_answer(config)),
        }
    }
}

/// How long a store may take for the first answer where a person waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The failure of a store that took a request and did not answer.
fn no_answer(config: &Config) -> Failure {
    let message = format!("{} did not answer within {} s", store_name(config), ANSWER_WITHIN.as_secs());
    Failure::new(message).with_hint(Some(unreachable_hint(config)))
}

/// What to look at where a store cannot be reached.
fn unreachable_hint(config: &Config) -> String {
    format!(
        "check that {} can be reached from this host: name, port, firewall, proxy, and that the service runs",
        store_name(config)
    )
}

fn store_name(config: &Config) -> String {
    match (&config.repository.url, &config.repository.endpoint) {
        (StoreUrl::Directory(path), _) => path.display().to_string(),
        (StoreUrl::S3 { .. }, Some(endpoint)) => endpoint.clone(),
        (StoreUrl::S3 { bucket, .. }, None) => format!("the bucket {bucket} at AWS"),
    }
}

/// The repository in a store, as the configuration wants it used.
pub(super) async fn opened(config: &Config, store: Arc<dyn Store>) -> repository::Result<Repository> {
    let repository = Repository::open(store, config.repository.compression).await?;
    Ok(repository.with_encryption(encryption(config)).with_lease_time(config.repository.lease.0))
}

/// The store below the repository; it must exist.
pub(super) async fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    Ok(storage::open::open(&config.repository.location()?, Policy::default()).await?)
}

/// The store below the repository, made where it can be made, for a person who waits for the answer.
pub(super) async fn create_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    Ok(storage::open::create(&config.repository.location()?, Policy::interactive()).await?)
}

/// Who can read what is stored: passphrases that are not configured are asked for on the terminal, when they are needed.
pub(super) fn encryption(config: &Config) -> Encryption {
    config.encryption.encryption(Arc::new(output::ask_passphrase))
}
