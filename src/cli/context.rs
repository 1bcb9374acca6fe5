//! What every verb needs: the configuration, the repository, a way to print.

use std::path::PathBuf;

use super::{Failure, Output};
use crate::config::{self, Config};

/// Opened on demand, so that a verb touches only what it needs.
pub(super) struct Context {
    path: Option<PathBuf>,
    /// Where results and progress go.
    pub output: Output,
}

impl Context {
    pub(super) const fn new(path: Option<PathBuf>, output: Output) -> Self {
        Self { path, output }
    }

    /// The configuration.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let path = self.path.clone().unwrap_or_else(config::default_path);
        Ok(config::load(&path)?)
    }
}
