//! `holdfast wal serve`: the WAL server of one recovery, which the restore shim starts in the data directory.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use holdfast_archive_command::exit as shim_exit;

use super::super::{Context, Outcome, exit};
use super::fetch;
use crate::repository::ResourceName;
use crate::resources::postgres::restore::wal_server::{Identity, Open, WalServer};
use crate::resources::postgres::shim;

/// What `wal serve` takes: the same as the shim, word for word.
#[derive(Args)]
pub(super) struct Options {
    /// The cluster
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// The system identifier
    #[arg(long, value_name = "SYSTEM_ID")]
    lineage: Option<String>,
    /// How long to wait for requests before ending
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    idle: u64,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.path().map(PathBuf::from);
    let bytes = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    let identity = Identity {
        resource: bytes(&options.resource),
        lineage: bytes(&options.lineage),
        config: config.as_ref().map_or(Vec::new(), |path| path.as_os_str().as_bytes().to_vec()),
    };
    let failed = |error: std::io::Error| exit::Failure::new(format!("the WAL server cannot be run: {error}"));
    let Some(server) = WalServer::start(identity, open(context, options)).await.map_err(failed)? else { return Ok(exit::DONE) };
    server.run(Duration::from_secs(options.idle)).await.map_err(failed)?;
    Ok(exit::DONE)
}

/// Opens the repository when the first request comes, and again with the next where that fails.
fn open(context: &Context, options: &Options) -> Open {
    let context = context.clone();
    let (resource, lineage) = (options.resource.clone(), options.lineage.clone());
    Box::new(move || {
        let (context, resource, lineage) = (context.clone(), resource.clone(), lineage.clone());
        Box::pin(async move {
            let fetcher = async {
                let usage = |error: String| exit::Failure::new(error);
                let resource = resource.map(|text| text.parse::<ResourceName>()).transpose();
                let resource = resource.map_err(|error| usage(error.to_string()))?;
                let lineage = lineage.map(|text| text.parse()).transpose();
                let lineage = lineage.map_err(|error: std::num::ParseIntError| usage(format!("--lineage: {error}")))?;
                fetch::fetcher(&context, resource.as_ref(), lineage).await
            };
            let refused =
                |failure: exit::Failure| shim::verdict(Err((failure.code.max(shim_exit::FAILED), failure.message, failure.hint)));
            fetcher.await.map_err(refused)
        })
    })
}
