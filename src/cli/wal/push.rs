//! `holdfast wal push PATH`: stores one file of `pg_wal`.

use std::path::PathBuf;

use clap::Args;

use super::super::{Context, Outcome, exit};
use super::Cluster;
use crate::resources::postgres::archive::push::{Error, Pusher};

/// What `wal push` takes.
#[derive(Args)]
pub(super) struct Options {
    /// The file, as PostgreSQL gives it for %p: relative to the current directory, or absolute
    path: PathBuf,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let (resource, _) = config.cluster(options.cluster.resource.as_ref())?;
    let repository = context.repository(&config).await?;
    let pushed = Pusher::new(repository, resource).push(&options.path).await?;
    tracing::debug!(file = %pushed.name, stored = ?pushed.stored, "stored");
    Ok(exit::DONE)
}

impl From<Error> for exit::Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}
