//! `holdfast backups`: the catalog.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{bytes, counted, table};
use super::{Context, Outcome, exit};
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::repository::{
    BackupEntry, BackupId, BucketBackup, Damaged, Detail, DumpBackup, DumpFormat, FilesBackup, Hold, RedisBackup, ResourceName,
};
use crate::sys::clock;

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
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub duration_s: f64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    /// The holds that are in force.
    pub holds: Vec<Hold>,
    #[serde(flatten)]
    pub own: Own,
}

/// What is shown of a backup that only its kind has.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Own {
    Postgres {
        system_id: SystemId,
        timeline: TimelineId,
        start_lsn: Lsn,
        stop_lsn: Lsn,
        server_version: u32,
        files: u64,
    },
    Files {
        files: u64,
        directories: u64,
        links: u64,
        skipped: u64,
    },
    Dump {
        server_version: u32,
        format: DumpFormat,
        globals: bool,
        tables: Option<u64>,
    },
    Redis {
        server: String,
        server_version: String,
        rdb_version: u32,
        keys: Option<u64>,
        databases: Option<u64>,
        offset: Option<u64>,
    },
    Bucket {
        objects: u64,
        read_objects: u64,
        left_out: u64,
    },
    Command {},
}

impl From<&BackupEntry> for Line {
    fn from(entry: &BackupEntry) -> Self {
        Self {
            id: entry.id.clone(),
            resource: entry.resource.clone(),
            started_at: entry.started_at,
            finished_at: entry.finished_at,
            duration_s: entry.finished_at.duration_since(entry.started_at).as_secs_f64(),
            plain_bytes: entry.plain_bytes,
            stored_bytes: entry.stored_bytes,
            holds: Vec::new(),
            own: Own::from(&entry.detail),
        }
    }
}

impl From<&Detail> for Own {
    fn from(detail: &Detail) -> Self {
        match detail {
            Detail::Postgres(backup) => Self::Postgres {
                system_id: backup.system_id,
                timeline: backup.timeline,
                start_lsn: backup.start_lsn,
                stop_lsn: backup.stop_lsn,
                server_version: backup.server_version,
                files: backup.files,
            },
            Detail::Bucket(BucketBackup { objects, read_objects, left_out, .. }) => {
                Self::Bucket { objects: *objects, read_objects: *read_objects, left_out: *left_out }
            }
            Detail::Files(FilesBackup { files, directories, links, skipped, .. }) => {
                Self::Files { files: *files, directories: *directories, links: *links, skipped: *skipped }
            }
            Detail::Dump(DumpBackup { server_version, format, globals, tables, .. }) => {
                Self::Dump { server_version: *server_version, format: *format, globals: globals.is_some(), tables: *tables }
            }
            Detail::Redis(backup) => Self::from(backup),
            Detail::Command(_) => Self::Command {},
        }
    }
}

impl From<&RedisBackup> for Own {
    fn from(backup: &RedisBackup) -> Self {
        Self::Redis {
            server: backup.server.clone(),
            server_version: backup.server_version.clone(),
            rdb_version: backup.rdb_version,
            keys: backup.keys,
            databases: backup.databases,
            offset: backup.position.as_ref().map(|position| position.offset),
        }
    }
}

impl Own {
    /// In a few words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Postgres { timeline, start_lsn, stop_lsn, server_version, .. } => {
                format!("PostgreSQL {}, WAL {start_lsn} to {stop_lsn} on timeline {timeline}", version(*server_version))
            }
            Self::Bucket { objects, read_objects, left_out } => {
                let without = if *left_out > 0 { format!(", {left_out} LEFT OUT") } else { String::new() };
                format!("{}, {read_objects} of them read{without}", counted(*objects, "object"))
            }
            Self::Files { files, directories, links, .. } => {
                format!("{}, {}, {}", counted(*files, "file"), counted(*directories, "directory"), counted(*links, "link"))
            }
            Self::Dump { server_version, tables, globals, .. } => {
                let tables = tables.map(|tables| format!(", {}", counted(tables, "table"))).unwrap_or_default();
                let globals = if *globals { ", with globals" } else { "" };
                format!("dump of PostgreSQL {}{tables}{globals}", version(*server_version))
            }
            Self::Redis { server, server_version, keys, offset, .. } => {
                let keys = keys.map_or_else(|| "keys not counted".to_owned(), |keys| counted(keys, "key"));
                let moment = if offset.is_some() { "" } else { ", key by key" };
                format!("{server} {server_version}, {keys}{moment}")
            }
            Self::Command {} => "the output of a program".to_owned(),
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
        config.resource(options.resource.as_ref())?;
    }
    let repository = context.repository_now(&config).await?;
    let mut report = Report { backups: Vec::new(), damaged: Vec::new() };
    for resource in config.resources() {
        if options.resource.as_ref().is_none_or(|wanted| *wanted == resource) {
            let listed = repository.backups(&resource).list().await?;
            let (holds, now) = (repository.backups(&resource).all_holds().await?, clock::now());
            let in_force = |id: &BackupId| holds.iter().filter(|hold| hold.id == *id && hold.is_in_force(now)).cloned().collect();
            let line = |entry: &BackupEntry| Line { holds: in_force(&entry.id), ..Line::from(entry) };
            report.backups.extend(listed.records.iter().map(line));
            report.damaged.extend(listed.damaged);
        }
    }
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

const HEADINGS: [&str; 7] = ["RESOURCE", "ID", "STARTED", "DURATION", "SIZE", "STORED", "CONTENT"];

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
            std::iter::once(self.own.text()).chain(self.holds.iter().map(Hold::to_string)).collect::<Vec<_>>().join("; "),
        ]
    }
}

/// A record that cannot be read, as people must see it.
pub(super) fn damaged(damaged: &Damaged) -> String {
    format!("DAMAGED: {damaged}\n  -> {}", damaged.hint())
}

/// A server's version as people write it: 150018 is 15.18.
pub(super) fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}
