//! `holdfast wal fetch NAME PATH`: delivers one WAL file.

use std::path::PathBuf;

use clap::Args;
use holdfast_archive_command::exit as shim;

use super::super::{Context, Outcome, exit};
use super::Cluster;
use crate::pg::{SystemId, WalFileName};
use crate::repository::{Lineage, Repository, ResourceName};
use crate::resources::postgres::restore::fetch::{Error, Fetched, Fetcher, Patience};

/// What `wal fetch` takes.
#[derive(Args)]
pub(super) struct Options {
    /// The file's name, as PostgreSQL gives it for %f
    name: WalFileName,
    /// Where to put it, as PostgreSQL gives it for %p
    path: PathBuf,
    #[command(flatten)]
    cluster: Cluster,
    /// The system identifier of the cluster whose WAL is meant [default: the newest under that name]
    #[arg(long, value_name = "SYSTEM_ID")]
    lineage: Option<SystemId>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let (resource, _) = config.cluster(options.cluster.resource.as_ref())?;
    let repository = context.repository(&config).await?;
    let lineage = lineage(&repository, &resource, options.lineage).await?;
    let fetcher = Fetcher::new(&repository, repository.wal(&resource, &lineage), Patience::default());
    match fetcher.fetch(options.name, &options.path).await? {
        Fetched::Delivered => Ok(exit::DONE),
        Fetched::Absent(absence) => {
            tracing::debug!(file = %options.name, "absent: {absence}");
            Ok(shim::ABSENT)
        }
    }
}

/// The lineage of that system identifier, or the newest.
async fn lineage(repository: &Repository, resource: &ResourceName, wanted: Option<SystemId>) -> Result<Lineage, exit::Failure> {
    Ok(match wanted {
        Some(system_id) => repository.lineage_of(resource, system_id).await?,
        None => repository.newest_lineage(resource).await?,
    })
}

impl From<Error> for exit::Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint()).with_code(error.exit_code())
    }
}
