//! `holdfast status`: to which moments each cluster can be recovered, and how far behind the store is.

use clap::Args;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::backups::damaged;
use super::output::seconds;
use super::{Context, Outcome, exit, live};
use crate::agent::AgentStatus;
use crate::operations::resources::{ResourceStatus, resource_status};
use crate::operations::running_backup::{self, RunningBackup};
use crate::operations::status::{ClusterStatus, Noted, cluster_status};
use crate::operations::upkeep::{UpkeepStatus, upkeep_status};
use crate::operations::windows::Window;
use crate::repository::{self, Conflict, Gap, GapCause, JobRun, ResourceKind, ResourceName};

/// What `status` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Only this one; all of them by default
    resource: Option<ResourceName>,
}

/// What the repository proves, and what the agent says of itself where one runs.
#[derive(Serialize)]
struct Report {
    repository: String,
    clusters: Vec<ClusterStatus>,
    resources: Vec<ResourceStatus>,
    upkeep: Vec<UpkeepStatus>,
    #[serde(serialize_with = "answered")]
    agent: Result<AgentStatus, live::Silence>,
    #[serde(skip)]
    streamed: Vec<ResourceName>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    if options.resource.is_some() {
        config.resource(options.resource.as_ref())?;
    }
    let repository = context.repository_now(&config).await?;
    // Before the store is looked at: what the agent has stored by now has to be found there.
    let agent = live::status(config.agent.listen, Some(&repository.store().url())).await;
    let (mut clusters, mut upkeep) = (Vec::new(), Vec::new());
    for (resource, _) in config.clusters() {
        if options.resource.as_ref().is_none_or(|wanted| *wanted == resource) {
            clusters.push(cluster_status(&repository, &resource).await?);
            upkeep.push(upkeep_status(&repository, &config, &resource).await?);
        }
    }
    let mut resources = Vec::new();
    for resource in config.resources().filter(|resource| resource.kind() != ResourceKind::Postgres) {
        if options.resource.as_ref().is_none_or(|wanted| *wanted == resource) {
            resources.push(resource_status(&repository, &resource).await?);
            upkeep.push(upkeep_status(&repository, &config, &resource).await?);
        }
    }
    let streamed = config.clusters().filter(|(_, cluster)| cluster.stream).map(|(name, _)| name).collect();
    let report = Report { repository: repository.store().url(), clusters, resources, upkeep, agent, streamed };
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

fn answered<S: Serializer>(agent: &Result<AgentStatus, live::Silence>, serializer: S) -> Result<S::Ok, S::Error> {
    agent.as_ref().ok().serialize(serializer)
}

impl Report {
    fn text(&self) -> String {
        let mut lines = vec![format!("repository {}", self.repository)];
        for cluster in &self.clusters {
            lines.push(String::new());
            lines.extend(cluster_lines(cluster));
            lines.extend(self.upkeep_of(&cluster.resource));
            lines.extend(cluster.left_behind.iter().map(|fork| format!("  warning: {fork}")));
            if self.streamed.contains(&cluster.resource) {
                lines.extend(live::lines(&self.agent, &cluster.resource, cluster.present()));
            }
        }
        for resource in &self.resources {
            lines.extend(resource_lines(resource));
            lines.extend(self.upkeep_of(&resource.resource));
        }
        lines.join("\n")
    }

    fn upkeep_of(&self, resource: &ResourceName) -> impl Iterator<Item = String> {
        self.upkeep.iter().filter(move |upkeep| upkeep.resource == *resource).flat_map(upkeep_lines)
    }
}

fn resource_lines(status: &ResourceStatus) -> Vec<String> {
    let mut lines = vec![String::new(), status.resource.to_string()];
    match (&status.newest_backup, status.recoverable_to) {
        (Some(id), Some(time)) => {
            lines.push(format!("  recoverable to {}", seconds(time)));
            lines.push(format!("  backups: {}, the newest {id}", status.backups));
        }
        _ => lines.push(not_recoverable("there is no backup", &status.resource, status.running_backup.as_ref())),
    }
    if status.newest_backup.is_some() {
        lines.extend(status.running_backup.as_ref().map(|running| format!("  {running}")));
    }
    lines.extend(status.damaged.iter().map(|record| format!("  {}", damaged(record).replace('\n', "\n  "))));
    lines
}

fn cluster_lines(cluster: &ClusterStatus) -> Vec<String> {
    let mut lines = vec![format!("{} (system identifier {})", cluster.resource, cluster.system_id)];
    if cluster.windows.is_empty() {
        let why = if cluster.backups == 0 { "there is no base backup" } else { "no base backup has all the WAL that it needs" };
        lines.push(not_recoverable(why, &cluster.resource, cluster.running_backup.as_ref()));
    }
    lines.extend(cluster.windows.iter().map(window_line));
    if let Some(newest) = cluster.newest_timeline.filter(|_| !cluster.windows.is_empty() && cluster.present().is_none()) {
        let wanted = running_backup::wanted(&cluster.resource, cluster.running_backup.as_ref());
        lines.push(format!("  TIMELINE {newest} IS NOT RECOVERABLE: no base backup leads to it; {wanted}"));
    }
    let none = cluster.present().map(|_| "none found in the last window".to_owned());
    let last_commit = cluster.last_commit.map(seconds).or(none);
    lines.extend(last_commit.map(|commit| format!("  last commit stored: {commit}")));
    if let Some(backup) = &cluster.newest_backup {
        lines.push(format!("  backups: {}, the newest {} of {}", cluster.backups, backup.id, seconds(backup.finished_at)));
    }
    if cluster.present().is_some() {
        lines.extend(cluster.running_backup.as_ref().map(|running| format!("  {running}")));
    }
    lines.extend(cluster.gaps.iter().map(gap_line));
    lines.extend(cluster.conflicts.iter().map(conflict_line));
    for timeline in &cluster.missing_histories {
        lines.push(format!("  THE HISTORY OF TIMELINE {timeline} IS NOT STORED: nothing can be restored along it; 'holdfast check' says what to do"));
    }
    lines.extend(cluster.damaged.iter().map(|record| format!("  {}", damaged(record).replace('\n', "\n  "))));
    let proven = if cluster.windows.is_empty() { "looked at" } else { "proven" };
    lines.push(format!("  {proven} at {}", seconds(cluster.proven_at)));
    lines
}

/// That nothing can be restored, and what to do; not for ever, where a backup is being taken.
fn not_recoverable(why: &str, resource: &ResourceName, running: Option<&RunningBackup>) -> String {
    let yet = if running.is_some() { " YET" } else { "" };
    format!("  NOT RECOVERABLE{yet}: {why}; {}", running_backup::wanted(resource, running))
}

fn upkeep_lines(upkeep: &UpkeepStatus) -> Vec<String> {
    let next = upkeep.schedule.as_ref().zip(upkeep.next_backup);
    let next = next.map(|(schedule, next)| format!("  next backup {} (schedule {schedule})", seconds(next)));
    let on_change = upkeep.on_change.as_ref().map(|on_change| format!("  backed up {on_change}"));
    let unwatched = upkeep.unwatched.map(|_| "  NOBODY LOOKS WHETHER IT HAS CHANGED".to_owned());
    let late = (upkeep.missed > 0).then(|| "  A BACKUP IS OVERDUE".to_owned());
    let runs = upkeep.last_backup.iter().chain(&upkeep.last_expire).map(run_line);
    next.into_iter().chain(on_change).chain(unwatched).chain(late).chain(runs).collect()
}

fn run_line(run: &JobRun) -> String {
    let how = match &run.outcome {
        repository::Outcome::Done { remark, .. } => format!("done in {} ms: {remark}", run.took_ms),
        repository::Outcome::Failed { error, .. } => format!("FAILED (attempt {}): {error}", run.attempt),
    };
    format!("  last {} {} on {}: {how}", run.job.as_str(), seconds(run.started_at), run.host)
}

fn window_line(window: &Window) -> String {
    let cut = if window.cut { "; WAL AFTER THAT IS CUT OFF BY A HOLE" } else { "" };
    let Window { from, timeline, to, .. } = window;
    let from_time = seconds(window.from_time);
    format!("  recoverable from {from_time} ({from}) to {to} on timeline {timeline}{cut}")
}

fn gap_line(gap: &Noted<Gap>) -> String {
    let cause = match gap.record.cause {
        GapCause::RemovedByServer => "this WAL is lost, the server removed it before it was stored",
        GapCause::NotStored => "this WAL is lost, it was never stored, or was deleted from the store",
        GapCause::Unknown => "this WAL is lost, why is not known, its record is damaged",
        GapCause::BrokenRecords => "this WAL is lost, the server's records do not follow one another",
        GapCause::WalLevelMinimal => {
            "the server went over to wal_level = minimal here, and PostgreSQL recovers nothing across that"
        }
    };
    let Gap { noticed_at, .. } = gap.record;
    format!("  GAP {}: {cause}; noticed {}{}", gap.name, seconds(noticed_at), note(gap.acknowledged_at))
}

fn conflict_line(conflict: &Noted<Conflict>) -> String {
    let Conflict { at, refused, .. } = &conflict.record;
    let noticed_at = seconds(conflict.record.noticed_at);
    let note = note(conflict.acknowledged_at);
    format!(
        "  CONFLICT {}: TWO SERVERS WRITE UNDER THIS NAME; what {refused} sent contradicts what is stored at {at}; noticed {noticed_at}{note}",
        conflict.name
    )
}

fn note(acknowledged_at: Option<Timestamp>) -> String {
    acknowledged_at.map(|at| format!("; acknowledged {}", seconds(at))).unwrap_or_default()
}
