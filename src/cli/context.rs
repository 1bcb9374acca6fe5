//! What every verb needs: the configuration, the repository, a way to print.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, Output, output};
use crate::config::{self, Config};
use crate::repository::{Encryption, Repository};
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

    /// The repository, which `init` has created.
    pub(super) async fn repository(&self, config: &Config) -> Result<Repository, Failure> {
        let repository = Repository::open(open_store(config).await?, config.repository.compression).await?;
        Ok(repository.with_encryption(encryption(config)).with_lease_time(config.repository.lease.0))
    }
}

/// The store below the repository; it must exist.
pub(super) async fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    Ok(storage::open::open(&config.repository.location()?, Policy::default()).await?)
}

/// The store below the repository, made where it can be made.
pub(super) async fn create_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    Ok(storage::open::create(&config.repository.location()?, Policy::default()).await?)
}

/// Who can read what is stored: passphrases that are not configured are asked for on the terminal, when they are needed.
pub(super) fn encryption(config: &Config) -> Encryption {
    config.encryption.encryption(Arc::new(output::ask_passphrase))
}
