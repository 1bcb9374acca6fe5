//! `holdfast wal fetch NAME PATH`: delivers one WAL file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use holdfast_archive_command::exit as shim;

use super::super::context::{encryption, open_store};
use super::super::{Context, Outcome, exit};
use super::Cluster;
use crate::config::Config;
use crate::pg::{SystemId, WalFileName};
use crate::repository::{self, Repository, ResourceName, WalArchive};
use crate::resources::postgres::restore::fetch::{Error, Fetched, Fetcher, Patience};
use crate::storage::Store;
use crate::sys::clock::Deadline;

/// Between two tries of a store that cannot be reached.
const PAUSE: Duration = Duration::from_secs(1);

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
    let fetcher = fetcher(context, options.cluster.resource.as_ref(), options.lineage).await?;
    match fetcher.fetch(options.name, &options.path).await? {
        Fetched::Delivered => Ok(exit::DONE),
        Fetched::Absent(absence) => {
            context.output.note(&format!("{} is not there: {absence}", options.name));
            Ok(shim::ABSENT)
        }
    }
}

/// Opens the WAL of a lineage; of the newest where none is named. A store that cannot be reached is waited for, within bounds.
pub(super) async fn fetcher(
    context: &Context,
    resource: Option<&ResourceName>,
    lineage: Option<SystemId>,
) -> Result<Fetcher, exit::Failure> {
    let config = context.config()?;
    let (resource, _) = config.cluster(resource)?;
    let store = open_store(&config).await.map_err(|failure| failure.with_code(shim::STORE))?;
    let patience = Patience::default();
    let deadline = Deadline::after(patience.store);
    loop {
        match open(&store, &config, &resource, lineage).await {
            Err(error) if error.is_retryable() && !deadline.has_passed() => tokio::time::sleep(PAUSE).await,
            opened => {
                let (repository, archive) = opened.map_err(Error::from)?;
                return Ok(Fetcher::new(&repository, archive, patience));
            }
        }
    }
}

async fn open(
    store: &Arc<dyn Store>,
    config: &Config,
    resource: &ResourceName,
    lineage: Option<SystemId>,
) -> repository::Result<(Repository, WalArchive)> {
    let repository = Repository::open(Arc::clone(store), config.repository.compression).await?;
    let repository = repository.with_encryption(encryption(config)).with_lease_time(config.repository.lease.0);
    let lineage = match lineage {
        Some(system_id) => repository.lineage_of(resource, system_id).await?,
        None => repository.newest_lineage(resource).await?,
    };
    let archive = repository.wal(resource, &lineage);
    Ok((repository, archive))
}

impl From<Error> for exit::Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint()).with_code(error.exit_code())
    }
}
