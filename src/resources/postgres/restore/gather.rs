//! Collecting what is stored of a cluster: the facts that a plan is made from.

use std::ops::Range;

use super::error::{Error, Result};
use super::path::StoredWal;
use super::plan::Facts;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId, WalFileName};
use crate::repository::{self, BackupEntry, BackupId, Conflict, Damaged, Lineage, Listed, Repository, ResourceName, WalArchive};
use crate::resources::postgres::archive::coverage::{cut, stored_through};
use crate::sys::clock;

/// The facts of the cluster that is meant, and its WAL: that of the backup `wanted`, or the newest cluster under that name that has one.
///
/// # Errors
/// When the store fails or a record cannot be read.
pub async fn gather(repository: &Repository, resource: &ResourceName, wanted: Option<&BackupId>) -> Result<(Facts, WalArchive)> {
    let listed = repository.backups(resource).list().await?;
    let lineage = lineage(repository, resource, &listed.records, wanted).await?;
    let archive = repository.wal(resource, &lineage);
    let backups: Vec<BackupEntry> =
        listed.records.into_iter().filter(|entry| entry.postgres().system_id == lineage.system_id).collect();
    let Listed { records: histories, damaged: unread } = histories(&archive).await?;
    let histories = histories.into_iter().map(|history| (history.timeline(), history)).collect();
    let from = backups.iter().map(|entry| entry.postgres().start_lsn).min().unwrap_or_default();
    let gaps = archive.gaps().await?;
    let mut stored = StoredWal::new();
    for timeline in archive.timelines().await? {
        stored.insert(timeline, cut(stretches_of(&archive, timeline, from).await?, &gaps.records, timeline));
    }
    let conflicts = conflicts(&archive).await?;
    let mut damaged = repository.lineages(resource).await?.damaged;
    damaged.extend(listed.damaged.into_iter().chain(gaps.damaged).chain(unread).chain(conflicts.damaged));
    let (system_id, segment_size) = (lineage.system_id, lineage.segment_size);
    let (gaps, conflicts, now) = (gaps.records, conflicts.records, clock::now());
    Ok((Facts { system_id, segment_size, backups, histories, stored, gaps, conflicts, damaged, now }, archive))
}

/// The conflicts of which nobody has taken note.
async fn conflicts(archive: &WalArchive) -> Result<Listed<Conflict>> {
    let (mut conflicts, notes) = (archive.conflicts().await?, archive.acknowledgements().await?);
    conflicts.records.retain(|conflict| !notes.records.iter().any(|note| note.name == conflict.name()));
    conflicts.damaged.extend(notes.damaged);
    Ok(conflicts)
}

async fn lineage(
    repository: &Repository,
    resource: &ResourceName,
    backups: &[BackupEntry],
    wanted: Option<&BackupId>,
) -> Result<Lineage> {
    let newest = backups.iter().rfind(|entry| wanted.is_none_or(|id| entry.id == *id));
    let system_id = newest.map(|entry| entry.postgres().system_id);
    Ok(match system_id {
        Some(system_id) => repository.lineage_of(resource, system_id).await?,
        None => repository.newest_lineage(resource).await?,
    })
}

/// The stored history files, and those that cannot be read.
///
/// # Errors
/// When the store fails.
pub async fn histories(archive: &WalArchive) -> repository::Result<Listed<TimelineHistory>> {
    let mut found = Listed::default();
    for timeline in archive.histories().await? {
        match history(archive, timeline).await {
            Ok(history) => found.records.push(history),
            Err(error) => found.damaged.push(Damaged::of(&archive.key(WalFileName::History(timeline)), error)?),
        }
    }
    Ok(found)
}

async fn history(archive: &WalArchive, timeline: TimelineId) -> repository::Result<TimelineHistory> {
    let name = WalFileName::History(timeline);
    let malformed = |detail: String| repository::Error::Malformed { object: archive.key(name).to_string(), detail };
    let history = archive.history(timeline).await?.ok_or_else(|| malformed("it was removed meanwhile".to_owned()))?;
    match history.parent() {
        Some(_) => Ok(history),
        None => Err(malformed("it names no ancestor".to_owned())),
    }
}

/// What is stored of a timeline from `from` on, stretch by stretch.
async fn stretches_of(archive: &WalArchive, timeline: TimelineId, from: Lsn) -> Result<Vec<Range<Lsn>>> {
    let mut stretches = Vec::new();
    let mut next = Some(Lsn(from.0 - archive.segment_size().offset(from)));
    while let Some(start) = next {
        let coverage = stored_through(archive, timeline, start..Lsn(u64::MAX)).await.map_err(Error::from)?;
        if coverage.end > start {
            stretches.push(start..coverage.end);
        }
        next = coverage.resumes.filter(|resumes| *resumes > start);
    }
    Ok(stretches)
}
