//! WAL that the server has removed before it was stored: what can still be had is found, and what is lost is recorded.

use std::time::Duration;

use tokio::time::timeout;

use super::Result;
use super::setup::{Plan, Task};
use super::start::begin_at;
use crate::pg::{Lsn, SegmentNumber};
use crate::pgwire::{self, Failure, ReplicationConnection, Status, WalEvent};
use crate::repository::{Gap, GapCause};
use crate::sys::clock;

/// How long the server may take to show whether it has a position.
const DEADLINE: Duration = Duration::from_secs(30);

impl Task {
    /// Records what is lost between the end of the stored WAL and the first position that the server still has.
    ///
    /// # Errors
    /// Those of the server and the store; and the server's refusal itself, where it does not even have what the slot holds back.
    pub async fn record_gap(&self, plan: &Plan, refusal: pgwire::Error) -> Result<()> {
        let size = plan.archive.segment_size();
        let mut removed = SegmentNumber::containing(plan.goal, size).0;
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
        for (timeline, lost) in plan.chain.split(&(plan.goal..end)) {
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

/// Whether the server says that it has the WAL no more.
pub(super) fn is_removed(error: &pgwire::Error) -> bool {
    matches!(error.failure(), Failure::WalRemoved)
}
