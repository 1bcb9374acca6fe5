//! `holdfast wal acknowledge CLUSTER NAME`: takes note of a gap or a conflict. The record stays, the alarm ends.

use clap::Args;
use serde::Serialize;

use super::super::{Context, Failure, Outcome, exit};
use crate::pg::SystemId;
use crate::repository::{ResourceName, Stored, WalArchive};

/// What `wal acknowledge` takes.
#[derive(Args)]
pub(super) struct Options {
    /// The cluster, as in postgres/main
    cluster: ResourceName,
    /// The gap or conflict, as 'holdfast status' and 'holdfast wal list' name it
    name: String,
    /// The system identifier of the cluster [default: the newest under that name]
    #[arg(long, value_name = "SYSTEM_ID")]
    lineage: Option<SystemId>,
}

#[derive(Serialize)]
struct Report<'a> {
    resource: &'a ResourceName,
    name: &'a str,
    /// Whether it had been acknowledged before.
    known: bool,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let (resource, _) = config.cluster(Some(&options.cluster))?;
    let repository = context.repository(&config).await?;
    let lineage = match options.lineage {
        Some(system_id) => repository.lineage_of(&resource, system_id).await?,
        None => repository.newest_lineage(&resource).await?,
    };
    let archive = repository.wal(&resource, &lineage);
    let stored = acknowledge(&archive, &options.name).await?;
    let report = Report { resource: &resource, name: &options.name, known: stored == Stored::Identical };
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

async fn acknowledge(archive: &WalArchive, name: &str) -> Result<Stored, Failure> {
    let (gaps, conflicts) = (archive.gaps().await?.records, archive.conflicts().await?.records);
    if let Some(gap) = gaps.iter().find(|gap| gap.name() == name) {
        return Ok(archive.acknowledge_gap(gap).await?);
    }
    if let Some(conflict) = conflicts.iter().find(|conflict| conflict.name() == name) {
        return Ok(archive.acknowledge_conflict(conflict).await?);
    }
    let names: Vec<String> = gaps.iter().map(|gap| gap.name()).chain(conflicts.iter().map(|conflict| conflict.name())).collect();
    let known = if names.is_empty() { "there are none".to_owned() } else { format!("known are {}", names.join(", ")) };
    let hint = "copy the name from 'holdfast status'".to_owned();
    Err(Failure::new(format!("no gap or conflict of {} is called '{name}'; {known}", archive.resource())).with_hint(Some(hint)))
}

impl Report<'_> {
    fn text(&self) -> String {
        let before = if self.known { ", as before" } else { "" };
        format!("{}: {} is acknowledged{before}; it stays on record, and is no alarm any more", self.resource, self.name)
    }
}
