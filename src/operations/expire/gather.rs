//! Collecting the facts. Holds what is needed of each backup and each timeline, not their content.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::facts::{BaseBackup, Candidate, Facts, LineageFacts};
use crate::pg::history::TimelineHistory;
use crate::pg::{SystemId, TimelineId, WalFileName};
use crate::repository::{
    BackupEntry, Detail, Error, Lineage, Repository, ResourceKind, ResourceName, Result, Standing, WalArchive,
};

/// Gathers the facts of a resource at `now`, the store's time; `leases`: those that count as alive.
pub(super) async fn gather(
    repository: &Repository,
    resource: &ResourceName,
    leases: Vec<Standing>,
    now: Timestamp,
) -> Result<Facts> {
    let backups = repository.backups(resource);
    let holds = backups.all_holds().await?.into_iter().filter(|hold| hold.is_in_force(now));
    let holds = holds.map(|hold| (hold.id.clone(), hold.to_string())).collect();
    let candidates = backups.summaries(candidate).await?;
    let mut lineages = Vec::new();
    if resource.kind() == ResourceKind::Postgres {
        for lineage in repository.lineages(resource).await?.records {
            lineages.push(facts_of(&repository.wal(resource, &lineage), &lineage).await?);
        }
    }
    Ok(Facts { now, backups: candidates, holds, leases, lineages })
}

fn candidate(entry: BackupEntry, stored_at: Timestamp) -> Candidate {
    let base = match &entry.detail {
        Detail::Postgres(detail) => {
            Some(BaseBackup { system_id: detail.system_id, timeline: detail.timeline, needs: detail.start_lsn..detail.stop_lsn })
        }
        _ => None,
    };
    let finished_at = entry.ended();
    let BackupEntry { id, stored_bytes, .. } = entry;
    Candidate { id, finished_at, stored_at, stored_bytes, base }
}

async fn facts_of(archive: &WalArchive, lineage: &Lineage) -> Result<LineageFacts> {
    let Lineage { system_id, segment_size, .. } = *lineage;
    let mut histories = BTreeMap::new();
    for timeline in archive.histories().await? {
        histories.extend(history(archive, timeline).await?.map(|history| (timeline, history)));
    }
    let mut timelines = BTreeMap::new();
    for timeline in archive.timelines().await? {
        timelines.extend(last_stored(archive, timeline).await?.map(|time| (timeline, time)));
    }
    let horizons = archive.horizons().await?;
    Ok(LineageFacts { system_id, segment_size, histories, timelines, horizons })
}

/// When the last WAL of a timeline was stored; `None` where only its history is.
async fn last_stored(archive: &WalArchive, timeline: TimelineId) -> Result<Option<Timestamp>> {
    Ok(archive.list_last_group(timeline).await?.iter().map(|stored| stored.stored_at).max())
}

async fn history(archive: &WalArchive, timeline: TimelineId) -> Result<Option<TimelineHistory>> {
    let name = WalFileName::History(timeline);
    let Some((_, content)) = archive.get_file(name).await? else { return Ok(None) };
    let malformed = |detail: String| Error::Malformed { object: archive.key(name).to_string(), detail };
    TimelineHistory::parse(timeline, &content).map(Some).map_err(|error| malformed(error.to_string()))
}

/// The WAL of one cluster of a resource; `None` where it is not known there.
pub(super) async fn archive_of(
    repository: &Repository,
    resource: &ResourceName,
    system_id: SystemId,
) -> Result<Option<WalArchive>> {
    let lineages = repository.lineages(resource).await?;
    let lineage = lineages.records.iter().find(|lineage| lineage.system_id == system_id);
    Ok(lineage.map(|lineage| repository.wal(resource, lineage)))
}
