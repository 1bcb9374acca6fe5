//! The recovery point objective of a cluster: for how long nothing was stored although the server wrote.

use std::time::Duration;

use super::{Finding, Level};
use crate::config;
use crate::pg::TimelineId;
use crate::pgwire::SystemIdentity;
use crate::repository::{Repository, ResourceName, Result, StoredWal, WalArchive};
use crate::resources::postgres::archive::coverage::range_of;
use crate::sys::clock;

/// Whether what is stored of a cluster lies further behind than its objective allows.
pub(super) async fn check_rpo(
    repository: &Repository,
    resource: &ResourceName,
    rpo: config::Duration,
    server: &SystemIdentity,
) -> Option<Finding> {
    match behind(repository, resource, server).await {
        Ok(Some(age)) if age > rpo.0 => {
            let found = format!(
                "the server has written WAL, and nothing was stored for {} s; the rpo is {} s",
                age.as_secs(),
                rpo.0.as_secs()
            );
            let hint = "see 'holdfast status' and the agent's log: what is not stored is lost with the server".to_owned();
            Some(Finding::bad(Level::Critical, &resource.to_string(), found, Some(hint)))
        }
        // What cannot be found out is reported by the other checks.
        _ => None,
    }
}

/// How long ago the last WAL was stored, if the server has written more since; `None` where everything is stored, or nothing is.
async fn behind(repository: &Repository, resource: &ResourceName, server: &SystemIdentity) -> Result<Option<Duration>> {
    let lineage = repository.lineage_of(resource, server.system_id).await?;
    let archive = repository.wal(resource, &lineage);
    let stored = stored_last(&archive, server.timeline).await?;
    let mut end = None;
    for StoredWal { object, .. } in &stored {
        end = end.max(range_of(&archive, object).await?.map(|range| range.end));
    }
    let last = stored.iter().map(|stored| stored.stored_at).max();
    let Some((end, last)) = end.zip(last).filter(|(end, _)| *end < server.flushed) else { return Ok(None) };
    tracing::debug!(%resource, %end, flushed = %server.flushed, "the server is ahead of what is stored");
    Ok(Some(Duration::try_from(clock::now().duration_since(last)).unwrap_or_default()))
}

/// What was stored last of a timeline, or of those before it: of one that was begun since nothing may be stored.
async fn stored_last(archive: &WalArchive, timeline: TimelineId) -> Result<Vec<StoredWal>> {
    for timeline in archive.timelines().await?.into_iter().rev().filter(|stored| *stored <= timeline) {
        let stored = archive.list_last_group(timeline).await?;
        if !stored.is_empty() {
            return Ok(stored);
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::codec::Compression;
    use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, SystemId};
    use crate::repository::{Lineage, NewLineage, Slice, WalAbout, WalSource};
    use crate::storage::FileStore;

    #[tokio::test]
    async fn a_server_of_whose_new_timeline_nothing_is_stored_is_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(directory.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let resource = "postgres/main".parse().unwrap();
        let (system_id, segment_size) = (SystemId(7), SegmentSize::DEFAULT);
        let lineage = Lineage { system_id, segment_size, postgres_major: 17, created_at: clock::now() };
        repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.unwrap();
        let archive = repository.wal(&resource, &lineage);
        let at = |offset: u64| Lsn(SegmentNumber(3).start(segment_size).0 + offset);
        let server = |timeline, flushed| SystemIdentity { system_id, timeline: TimelineId(timeline), flushed };
        assert_eq!(behind(&repository, &resource, &server(1, at(2000))).await.unwrap(), None, "nothing is stored");
        let segment = SegmentName::new(TimelineId(1), SegmentNumber(3), segment_size);
        let about = WalAbout { system_id, source: WalSource::Streaming, start: None, end: None, activity: None };
        archive.put_slice(&Slice { segment, bytes: 0..1000 }, Bytes::from_static(&[0; 1000]), &about).await.unwrap();
        for (timeline, flushed, is_behind) in [(1, 1000, false), (1, 2000, true), (2, 2000, true)] {
            let found = behind(&repository, &resource, &server(timeline, at(flushed))).await.unwrap();
            assert_eq!(found.is_some(), is_behind, "timeline {timeline} up to {flushed}");
        }
    }
}
