//! Collecting what is stored of a cluster: the facts that a plan is made from.

use std::ops::Range;

use super::error::{Error, Result};
use super::path::{Histories, StoredWal};
use super::plan::Facts;
use crate::pg::{Lsn, TimelineId, WalFileName};
use crate::repository::{self, BackupEntry, BackupId, Lineage, Repository, ResourceName, WalArchive};
use crate::resources::postgres::archive::coverage::{cut, stored_through};

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
    let histories = histories(&archive).await?;
    let from = backups.iter().map(|entry| entry.postgres().start_lsn).min().unwrap_or_default();
    let gaps = archive.gaps().await?;
    let mut stored = StoredWal::new();
    for timeline in archive.timelines().await? {
        stored.insert(timeline, cut(stretches_of(&archive, timeline, from).await?, &gaps.records, timeline));
    }
    let mut damaged = repository.lineages(resource).await?.damaged;
    damaged.extend(listed.damaged.into_iter().chain(gaps.damaged));
    let (system_id, segment_size) = (lineage.system_id, lineage.segment_size);
    Ok((Facts { system_id, segment_size, backups, histories, stored, gaps: gaps.records, damaged }, archive))
}

async fn lineage(
    repository: &Repository,
    resource: &ResourceName,
    backups: &[BackupEntry],
    wanted: Option<&BackupId>,
) -> Result<Lineage> {
    let candidates = backups.iter().filter(|entry| wanted.is_none_or(|id| entry.id == *id));
    let system_id = candidates.max_by_key(|entry| entry.finished_at).map(|entry| entry.postgres().system_id);
    Ok(match system_id {
        Some(system_id) => repository.lineage_of(resource, system_id).await?,
        None => repository.newest_lineage(resource).await?,
    })
}

async fn histories(archive: &WalArchive) -> Result<Histories> {
    let mut histories = Histories::new();
    for timeline in archive.histories().await? {
        let name = WalFileName::History(timeline);
        let malformed = |detail: String| repository::Error::Malformed { object: archive.key(name).to_string(), detail };
        let history = archive.history(timeline).await?.ok_or_else(|| malformed("it was removed meanwhile".to_owned()))?;
        histories.insert(timeline, history);
    }
    Ok(histories)
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
