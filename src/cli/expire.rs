//! `holdfast expire`: applies retention. The plan first, then the work.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::output::bytes;
use super::{Context, Failure, Outcome, exit, signals};
use crate::config::Config;
use crate::operations::expire::{self, Error, Progress, Report, Rules};
use crate::repository::{Repository, ResourceName};

/// How often the display follows.
const TICK: Duration = Duration::from_millis(200);

/// What `expire` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Only this one; all of them by default
    resource: Option<ResourceName>,
    /// Show the plan, with a reason for each backup and the bytes that are freed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Reports {
    dry_run: bool,
    resources: Vec<Report>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    if options.resource.is_some() {
        config.resource(options.resource.as_ref())?;
    }
    let repository = context.repository(&config).await?;
    let stop = signals::stop()?;
    let mut resources = Vec::new();
    for resource in config.resources() {
        if options.resource.as_ref().is_none_or(|wanted| *wanted == resource) && !stop.is_cancelled() {
            resources.push(apply(context, &config, &repository, &resource, options, &stop).await?);
        }
    }
    context.output.result(&Reports { dry_run: options.dry_run, resources }, text);
    Ok(if stop.is_cancelled() { exit::FAILED } else { exit::DONE })
}

async fn apply(
    context: &Context,
    config: &Config,
    repository: &Repository,
    resource: &ResourceName,
    options: &Options,
    stop: &CancellationToken,
) -> Result<Report, Failure> {
    let unknown = || Failure::new(format!("{resource} is not in the configuration"));
    let rules = Rules::of(&config.upkeep(resource).ok_or_else(unknown)?, config.time_zone());
    if options.dry_run {
        return Ok(expire::plan_only(repository, resource, &rules).await?);
    }
    let (progress, seen) = watch::channel(Progress::default());
    let display = context.output.progress(&resource.to_string());
    let mut ticks = tokio::time::interval(TICK);
    let work = expire::expire(repository, resource, &rules, &progress, stop);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                let Progress { removed, planned_bytes } = *seen.borrow();
                if planned_bytes > 0 {
                    display.set(removed.bytes, planned_bytes);
                }
            }
        }
    };
    display.finish();
    Ok(done?)
}

fn text(reports: &Reports) -> String {
    let last = |report: &Report| match (report.removed, report.stopped) {
        (None, _) => "  nothing was changed (--dry-run)".to_owned(),
        (Some(removed), stopped) => {
            let rest = if stopped { "; STOPPED before it was done: run it again" } else { "" };
            let (backups, objects) = (removed.backups, removed.objects);
            format!("  removed {backups} backup(s), {objects} object(s), {}{rest}", bytes(removed.bytes))
        }
    };
    let each = |report: &Report| format!("{}\n{}", report.plan, last(report));
    reports.resources.iter().map(each).collect::<Vec<_>>().join("\n")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}
