//! `holdfast init`: creates the repository and the replication slots; safe to repeat.

use clap::Args;
use serde::Serialize;

use super::{Context, Outcome, context, exit};
use crate::repository::{Repository, Stored};

/// What `init` takes.
#[derive(Args)]
pub(super) struct Options {}

/// What `init` did.
#[derive(Serialize)]
struct Report {
    repository: String,
    created: bool,
}

pub(super) async fn run(context: &Context, _options: &Options) -> Outcome {
    let config = context.config()?;
    let store = context::create_store(&config).await?;
    let url = store.url();
    let (_, stored) = Repository::create(store, config.repository.compression).await?;
    let report = Report { repository: url, created: stored == Stored::New };
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

impl Report {
    fn text(&self) -> String {
        let what = if self.created { "created" } else { "was there already" };
        format!("repository {} {what}", self.repository)
    }
}
