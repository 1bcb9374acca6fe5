//! `holdfast backups`: the catalog.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{bytes, table};
use super::{Context, Outcome, exit};
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::repository::{BackupEntry, BackupId, Damaged, ResourceName};

/// What `backups` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Only this one's; all of them by default
    resource: Option<ResourceName>,
}

/// One backup, as it is shown.
#[derive(Serialize)]
pub(super) struct Line {
    pub id: BackupId,
    pub resource: ResourceName,
    pub system_id: SystemId,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub duration_s: f64,
    pub timeline: TimelineId,
    pub start_lsn: Lsn,
    pub stop_lsn: Lsn,
    pub server_version: u32,
    pub files: u64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
}

impl From<&BackupEntry> for Line {
    fn from(entry: &BackupEntry) -> Self {
        let postgres = entry.postgres();
        Self {
            id: entry.id.clone(),
            resource: entry.resource.clone(),
            system_id: postgres.system_id,
            started_at: entry.started_at,
            finished_at: entry.finished_at,
            duration_s: entry.finished_at.duration_since(entry.started_at).as_secs_f64(),
            timeline: postgres.timeline,
            start_lsn: postgres.start_lsn,
            stop_lsn: postgres.stop_lsn,
            server_version: postgres.server_version,
            files: postgres.files,
            plain_bytes: entry.plain_bytes,
            stored_bytes: entry.stored_bytes,
        }
    }
}

/// All of them, the oldest first.
#[derive(Serialize)]
struct Report {
    backups: Vec<Line>,
    /// Catalog entries that cannot be read.
    damaged: Vec<Damaged>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    if options.resource.is_some() {
        config.cluster(options.resource.as_ref())?;
    }
    let repository = context.repository(&config).await?;
    let mut report = Report { backups: Vec::new(), damaged: Vec::new() };
    for (resource, _) in config.clusters() {
        if options.resource.as_ref().is_none_or(|wanted| *wanted == resource) {
            let listed = repository.backups(&resource).list().await?;
            report.backups.extend(listed.records.iter().map(Line::from));
            report.damaged.extend(listed.damaged);
        }
    }
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

const HEADINGS: [&str; 9] = ["RESOURCE", "ID", "STARTED", "DURATION", "SIZE", "STORED", "TIMELINE", "WAL", "POSTGRESQL"];

impl Report {
    fn text(&self) -> String {
        let mut lines = match self.backups.is_empty() {
            true => vec!["no backups; 'holdfast backup' takes one".to_owned()],
            false => vec![table(&HEADINGS, self.backups.iter().map(Line::cells))],
        };
        lines.extend(self.damaged.iter().map(damaged));
        lines.join("\n")
    }
}

impl Line {
    fn cells(&self) -> Vec<String> {
        vec![
            self.resource.to_string(),
            self.id.to_string(),
            self.started_at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            format!("{:.1} s", self.duration_s),
            bytes(self.plain_bytes),
            bytes(self.stored_bytes),
            self.timeline.to_string(),
            format!("{} to {}", self.start_lsn, self.stop_lsn),
            version(self.server_version),
        ]
    }
}

/// A record that cannot be read, as people must see it.
pub(super) fn damaged(damaged: &Damaged) -> String {
    format!("DAMAGED: {damaged}\n  -> {}", Damaged::HINT)
}

/// A server's version as people write it: 150018 is 15.18.
pub(super) fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}
