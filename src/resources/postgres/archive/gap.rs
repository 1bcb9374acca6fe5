//! WAL that the server has removed before it was stored, or that leads nowhere: what can still be had is found, and the rest is recorded.

use std::ops::Range;
use std::time::Duration;

use tokio::time::timeout;

use super::Result;
use super::setup::{Plan, Task};
use super::start::begin_at;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentNumber, TimelineId};
use crate::pgwire::{self, Failure, ReplicationConnection, Status, WalEvent};
use crate::repository::{Gap, GapCause};
use crate::sys::clock;

/// How long the server may take to show whether it has a position.
const DEADLINE: Duration = Duration::from_secs(30);

impl Task {
    /// Records what is lost between `stored`, the end of the stored WAL by now, and the first position that the server still has.
    ///
    /// # Errors
    /// Those of the server and the store; and the server's refusal itself, where it does not even have what the slot holds back.
    pub async fn record_gap(&self, plan: &Plan, stored: Lsn, refusal: pgwire::Error) -> Result<()> {
        let size = plan.archive.segment_size();
        let mut removed = SegmentNumber::containing(stored, size).0;
        let mut present = SegmentNumber::containing(plan.reserved, size).0;
        if present <= removed {
            return Err(refusal.into());
        }
        // The oldest segments are removed first, so the boundary can be found by halving.
        while present - removed > 1 {
            let middle = removed + (present - removed) / 2;
            if self.has(plan, SegmentNumber(middle).start(size)).await? {
                present = middle;
            } else {
                removed = middle;
            }
        }
        let end = SegmentNumber(present).start(size);
        // What is stored behind a hole is not lost.
        let end = plan.hole.as_ref().map_or(end, |hole| hole.end.min(end));
        for (timeline, lost) in plan.chain.split(&(stored..end)) {
            tracing::error!(
                resource = %self.resource, %timeline, start = %lost.start, end = %lost.end,
                "WAL IS LOST: the server removed it before it was stored; nothing can be recovered across this gap, take a base backup now"
            );
            let (start, end, cause) = (lost.start, lost.end, GapCause::RemovedByServer);
            plan.archive.put_gap(&Gap { timeline, start, end, cause, noticed_at: clock::now() }).await?;
        }
        Ok(())
    }

    /// Whether the server still has the WAL from `lsn` on.
    async fn has(&self, plan: &Plan, lsn: Lsn) -> Result<bool> {
        let begin = begin_at(&plan.chain, lsn, plan.archive.segment_size());
        let asked = async {
            let connection = ReplicationConnection::connect(&plan.info).await?;
            let mut stream = connection.start_replication(None, begin.lsn, begin.timeline).await?;
            stream.send_status(Status { written: begin.lsn, flushed: Lsn::INVALID }, true).await?;
            while let WalEvent::Keepalive { .. } = stream.next().await? {}
            Ok::<(), pgwire::Error>(())
        };
        match timeout(DEADLINE, asked).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) if is_removed(&error) => Ok(false),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(pgwire::Error::new(format!("asking for {lsn}"), "", Failure::Timeout(DEADLINE)).into()),
        }
    }
}

/// What is recorded of WAL in which the server goes over to `wal_level = minimal`. PostgreSQL refuses to recover past that record
/// (`CheckRequiredParameterValues` in `access/transam/xlog.c`): behind it there can be changes of which there is no WAL.
pub(super) fn of_minimal_wal(timeline: TimelineId, activity: &Activity) -> Option<Gap> {
    let Range { start, end } = activity.minimal.clone()?;
    tracing::error!(
        %timeline, %start, %end,
        "the server has run with wal_level = minimal; nothing before this place can be recovered across it, take a base backup now"
    );
    Some(Gap { timeline, start, end, cause: GapCause::WalLevelMinimal, noticed_at: clock::now() })
}

/// Whether the server says that it has the WAL no more.
pub(super) fn is_removed(error: &pgwire::Error) -> bool {
    matches!(error.failure(), Failure::WalRemoved)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Compression;
    use crate::config::Environment;
    use crate::pg::{SegmentSize, SystemId};
    use crate::pgwire::ConnInfo;
    use crate::repository::{Lineage, NewLineage, Repository, ResourceKind, ResourceName};
    use crate::resources::postgres::archive::chain::Chain;
    use crate::resources::postgres::archive::report::Report;
    use crate::resources::postgres::archive::slicing::SliceRule;
    use crate::storage::FileStore;

    const MB: u64 = 1 << 20;

    /// A plan to go on at 3 MB, where the slot holds back what comes from within the segment at 6 MB on.
    async fn planned(directory: &std::path::Path) -> (Task, Plan) {
        let store = Arc::new(FileStore::create(directory).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
        let segment_size = SegmentSize::try_from(MB).unwrap();
        let lineage = Lineage { system_id: SystemId(7), segment_size, postgres_major: 17, created_at: clock::now() };
        repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.unwrap();
        let (archive, chain) = (repository.wal(&resource, &lineage), Chain::new(TimelineId(1), []));
        let (goal, reserved) = (Lsn(3 * MB), Lsn(6 * MB + 17));
        let begin = begin_at(&chain, goal, segment_size);
        let info = ConnInfo::parse("host=nowhere user=me dbname=postgres", &Environment::default()).unwrap();
        let (server, status_every) = ("nowhere".to_owned(), Duration::from_secs(1));
        let rule = SliceRule { max_delay: status_every, synchronous: false };
        let (slot, report) = ("holdfast".parse().unwrap(), Report::new(&resource, rule.max_delay));
        let task = Task { repository, resource, info: info.clone(), slot, rule, report };
        let (hole, follows, new_from) = (None, None, None);
        (task, Plan { archive, chain, goal, hole, reserved, begin, follows, server, info, new_from, status_every })
    }

    fn refusal() -> pgwire::Error {
        pgwire::Error::new("START_REPLICATION", "nowhere", Failure::WalRemoved)
    }

    async fn recorded(plan: &Plan) -> Vec<(u64, u64)> {
        let gaps = plan.archive.gaps().await.unwrap().records;
        gaps.iter().map(|gap| (gap.start.0, gap.end.0)).collect()
    }

    // Where the stored WAL ends in the segment before the one that the slot holds back, the server has to be asked for nothing.

    #[tokio::test]
    async fn what_was_stored_until_the_server_removed_the_rest_is_no_part_of_the_gap() {
        let directory = tempfile::tempdir().unwrap();
        let (task, plan) = planned(directory.path()).await;
        task.record_gap(&plan, Lsn(5 * MB + 7), refusal()).await.unwrap();
        assert_eq!(recorded(&plan).await, [(5 * MB + 7, 6 * MB)]);
        task.record_gap(&plan, Lsn(6 * MB + 20), refusal()).await.expect_err("what the slot holds back is not lost");
        assert_eq!(recorded(&plan).await.len(), 1);
    }

    #[tokio::test]
    async fn what_is_stored_behind_a_hole_is_no_part_of_the_gap() {
        let directory = tempfile::tempdir().unwrap();
        let (task, plan) = planned(directory.path()).await;
        let plan = Plan { hole: Some(Lsn(5 * MB)..Lsn(5 * MB + 500)), ..plan };
        task.record_gap(&plan, Lsn(5 * MB + 7), refusal()).await.unwrap();
        assert_eq!(recorded(&plan).await, [(5 * MB + 7, 5 * MB + 500)]);
    }
}
