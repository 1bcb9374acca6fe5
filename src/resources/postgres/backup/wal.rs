//! Waits until the WAL that a backup needs is in the repository, and is fit to recover with.

use std::ops::Range;
use std::time::Duration;

use super::error::{Error, Result};
use super::progress::{Phase, Reporter};
use crate::pg::{Lsn, TimelineId};
use crate::repository::WalArchive;
use crate::resources::postgres::archive::coverage::{cut, stored_through};
use crate::sys::clock::Deadline;

/// How often the repository is asked.
const POLL: Duration = Duration::from_millis(250);

/// Waits until everything in `needed` is stored. Gives up when nothing was added for `patience`.
pub async fn wait(
    archive: &WalArchive,
    timeline: TimelineId,
    needed: Range<Lsn>,
    patience: Duration,
    progress: &Reporter,
) -> Result<()> {
    let (stop, mut reached) = (needed.end, needed.start);
    let mut deadline = Deadline::after(patience);
    loop {
        let coverage = stored_through(archive, timeline, reached..stop).await?;
        if coverage.end >= stop {
            return is_fit(archive, timeline, needed).await;
        }
        if coverage.end > reached {
            reached = coverage.end;
            deadline = Deadline::after(patience);
        }
        progress.phase(Phase::Wal { reached, stop });
        if deadline.has_passed() {
            return Err(Error::WalMissing { timeline, reached, stop, waited: patience, hole: coverage.resumes.is_some() });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether recovery can pass all of it. What it cannot pass is recorded before the WAL behind it counts as stored.
async fn is_fit(archive: &WalArchive, timeline: TimelineId, needed: Range<Lsn>) -> Result<()> {
    let (start, stop) = (needed.start, needed.end);
    let gaps = archive.gaps().await?.records;
    let fit = cut(vec![needed], &gaps, timeline).into_iter().find(|part| part.start == start);
    match fit.map_or(start, |part| part.end) {
        end if end == stop => Ok(()),
        end => Err(Error::WalUnfit { timeline, end, stop }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::codec::Compression;
    use crate::pg::{SegmentName, SegmentNumber, SegmentSize, SystemId};
    use crate::repository::{Gap, GapCause, Lineage, NewLineage, Repository, Slice, WalAbout, WalSource};
    use crate::storage::FileStore;
    use crate::sys::clock;

    const MB: u64 = 1 << 20;

    #[tokio::test]
    async fn wal_that_recovery_cannot_pass_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(directory.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let resource = "postgres/main".parse().unwrap();
        let (system_id, segment_size) = (SystemId(7), SegmentSize::try_from(MB).unwrap());
        let lineage = Lineage { system_id, segment_size, postgres_major: 17, created_at: clock::now() };
        repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.unwrap();
        let archive = repository.wal(&resource, &lineage);
        let (timeline, number) = (TimelineId(1), SegmentNumber(3));
        let segment = SegmentName::new(timeline, number, segment_size);
        let about = WalAbout { system_id, source: WalSource::Streaming, start: None, end: None, activity: None };
        archive.put_slice(&Slice { segment, bytes: 0..1000 }, Bytes::from_static(&[0; 1000]), &about).await.unwrap();
        let at = |offset: u64| Lsn(number.start(segment_size).0 + offset);
        let (reporter, _progress) = Reporter::new();
        let waited = |needed: Range<Lsn>| wait(&archive, timeline, needed, Duration::ZERO, &reporter);
        waited(at(40)..at(900)).await.unwrap();
        let (start, end, cause) = (at(500), at(600), GapCause::BrokenRecords);
        archive.put_gap(&Gap { timeline, start, end, cause, noticed_at: clock::now() }).await.unwrap();
        waited(at(40)..at(500)).await.unwrap();
        waited(at(600)..at(900)).await.unwrap();
        let unfit = waited(at(40)..at(900)).await.unwrap_err();
        assert!(matches!(unfit, Error::WalUnfit { end, .. } if end == at(500)), "{unfit}");
        assert!(matches!(waited(at(40)..at(1100)).await, Err(Error::WalMissing { .. })));
    }
}
