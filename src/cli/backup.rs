//! `holdfast backup`: backs up a resource now.

mod cluster;
mod other;

use clap::Args;

use super::exit::USAGE;
use super::{Context, Failure, Outcome};
use crate::repository::{ResourceKind, ResourceName};

/// What `backup` takes.
#[derive(Args)]
pub(super) struct Options {
    /// The resource, as in postgres/main; by default the only one
    resource: Option<ResourceName>,
    /// Store nothing where nothing has changed since the newest backup
    #[arg(long)]
    only_changes: bool,
    #[command(flatten)]
    cluster: Option<cluster::ClusterOptions>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let resource = config.resource(options.resource.as_ref())?;
    let is_cluster = resource.kind() == ResourceKind::Postgres;
    if is_cluster && options.only_changes {
        return Err(Failure::new("a cluster changes all the time: --only-changes is for other resources").with_code(USAGE));
    }
    if !is_cluster && options.cluster.is_some() {
        return Err(Failure::new(format!("{resource} takes none of the options for postgres resources")).with_code(USAGE));
    }
    if is_cluster {
        let defaults = cluster::ClusterOptions::default();
        return cluster::run(context, &config, &resource, options.cluster.as_ref().unwrap_or(&defaults)).await;
    }
    other::run(context, &config, &resource, options.only_changes).await
}
