//! `holdfast expire`: applies retention. The plan first, then the work.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::output::bytes;
use super::{Context, Failure, Outcome, exit, signals};
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
    /// Those that nothing could be done for; the others do not wait for them.
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    resource: ResourceName,
    error: String,
    hint: Option<String>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    if options.resource.is_some() {
        config.resource(options.resource.as_ref())?;
    }
    let repository = context.repository(&config).await?;
    let stop = signals::stop()?;
    let mut reports = Reports { dry_run: options.dry_run, resources: Vec::new(), failed: Vec::new() };
    for resource in config.resources() {
        if options.resource.as_ref().is_some_and(|wanted| *wanted != resource) || stop.is_cancelled() {
            continue;
        }
        let unknown = || Failure::new(format!("{resource} is not in the configuration"));
        let rules = Rules::of(&config.upkeep(&resource).ok_or_else(unknown)?, config.time_zone());
        match apply(context, &repository, &resource, &rules, options, &stop).await {
            Ok(report) => reports.resources.push(report),
            Err(error) if error.is_of_the_resource() => {
                reports.failed.push(Failed { hint: error.hint(), error: error.to_string(), resource });
            }
            // The store is that of the others too.
            Err(error) => return Err(error.into()),
        }
    }
    // Of a single one that failed there is nothing to report but why.
    if reports.failed.len() != 1 || !reports.resources.is_empty() {
        context.output.result(&reports, text);
    }
    match &reports.failed[..] {
        [] if stop.is_cancelled() => Ok(exit::FAILED),
        [] => Ok(exit::DONE),
        failed => Err(not_applied(failed)),
    }
}

fn not_applied(failed: &[Failed]) -> Failure {
    let each: Vec<String> = failed.iter().map(|failed| format!("{} ({})", failed.resource, failed.error)).collect();
    let hint = failed.iter().find_map(|failed| failed.hint.clone());
    Failure::new(format!("retention was not applied to {}", each.join(", "))).with_hint(hint)
}

async fn apply(
    context: &Context,
    repository: &Repository,
    resource: &ResourceName,
    rules: &Rules,
    options: &Options,
    stop: &CancellationToken,
) -> Result<Report, Error> {
    if options.dry_run {
        return expire::plan_only(repository, resource, rules).await;
    }
    let (progress, seen) = watch::channel(Progress::default());
    let display = context.output.progress(&resource.to_string());
    let mut ticks = tokio::time::interval(TICK);
    let work = expire::expire(repository, resource, rules, &progress, stop);
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
    done
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
    let failed = |failed: &Failed| format!("{}\n  NOT APPLIED: {}", failed.resource, failed.error);
    reports.resources.iter().map(each).chain(reports.failed.iter().map(failed)).collect::<Vec<_>>().join("\n")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}
