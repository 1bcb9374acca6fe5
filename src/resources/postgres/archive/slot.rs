//! The replication slot: made when it is missing, made anew when it is lost, and watched.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Result;
use super::report::{Report, SlotStatus, State};
use crate::pg::Lsn;
use crate::pgwire::{ConnInfo, Failure, ReplicationConnection, ReservedWal, SlotKind, SlotName};
use crate::sys::clock;

/// How often the slot is looked at.
const EVERY: Duration = Duration::from_secs(15);
/// How often while nothing can be stored: WAL piles up, and a server that shuts down must not be held up.
const EVERY_STALLED: Duration = Duration::from_secs(2);
/// Over how long it is measured how fast it fills.
const PACE_OVER: Duration = Duration::from_mins(5);
/// How long looking may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The position that the slot holds back, which is made if it is missing. None if it holds back nothing.
///
/// # Errors
/// Those of the server.
pub(super) async fn ensure(connection: &mut ReplicationConnection, slot: &SlotName) -> Result<Option<Lsn>> {
    if let Some(position) = connection.read_slot(slot).await? {
        return Ok(position.restart_lsn);
    }
    tracing::warn!(%slot, "the replication slot is missing and is created: WAL from before is kept only as long as the server likes");
    create(connection, slot).await
}

/// Replaces a slot that was invalidated, and so holds back nothing, by a new one.
///
/// # Errors
/// Those of the server.
pub(super) async fn replace(connection: &mut ReplicationConnection, slot: &SlotName) -> Result<Option<Lsn>> {
    tracing::error!(%slot, "the replication slot was invalidated: it is dropped and created anew; WAL may be lost");
    match connection.drop_slot(slot).await {
        Err(error) if !matches!(error.failure(), Failure::SlotMissing) => return Err(error.into()),
        _ => {}
    }
    create(connection, slot).await
}

async fn create(connection: &mut ReplicationConnection, slot: &SlotName) -> Result<Option<Lsn>> {
    match connection.create_physical_slot(slot, SlotKind::Permanent, ReservedWal::FromLastCheckpoint).await {
        Err(error) if !matches!(error.failure(), Failure::SlotExists) => return Err(error.into()),
        _ => {}
    }
    Ok(connection.read_slot(slot).await?.and_then(|position| position.restart_lsn))
}

/// What becomes known by looking at the server beside the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The server is shutting down: it lets nobody in.
    pub shutting_down: bool,
}

/// Looks at the slot from time to time, through a connection of its own that lasts only as long as the look, and puts what it finds
/// into the report. Ends when nobody listens any more.
pub(super) async fn watch(info: ConnInfo, slot: SlotName, report: Report, seen: watch::Sender<Seen>) {
    let mut pace = Pace::default();
    while !seen.is_closed() {
        let found = timeout(DEADLINE, look(&info, &slot)).await;
        let shutting_down = match &found {
            Ok(Err(error)) => matches!(error.failure(), Failure::ServerStarting | Failure::ServerShuttingDown),
            _ => false,
        };
        seen.send_replace(Seen { shutting_down });
        match found {
            Ok(Ok(status)) => note(&report, pace.judge(status, clock::instant())),
            Ok(Err(error)) => tracing::debug!("the replication slot cannot be looked at: {error}"),
            Err(_) => tracing::debug!("the replication slot cannot be looked at: no answer"),
        }
        let stalled = report.status().state == State::Stalled;
        tokio::select! {
            () = sleep(if stalled { EVERY_STALLED } else { EVERY }) => {}
            () = seen.closed() => return,
        }
    }
}

async fn look(info: &ConnInfo, slot: &SlotName) -> crate::pgwire::Result<SlotStatus> {
    let mut connection = ReplicationConnection::connect(info).await?;
    let identity = connection.identify_system().await?;
    let restart = connection.read_slot(slot).await?.and_then(|position| position.restart_lsn);
    let limit = connection.show("max_slot_wal_keep_size").await?;
    connection.close().await;
    let retained_bytes = restart.map_or(0, |restart| identity.flushed.bytes_since(restart));
    let limit_bytes = super::setting::size(&limit);
    let (name, at) = (slot.to_string(), clock::now());
    Ok(SlotStatus { name, restart, retained_bytes, limit_bytes, growth_bytes_per_second: 0, lost_at: None, at })
}

/// How fast what the slot holds back grows.
#[derive(Debug, Default)]
struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    /// Adds how fast it has grown over the last few minutes, and when the limit is reached if that goes on. PostgreSQL looks at the limit
    /// at checkpoints (`InvalidateObsoleteReplicationSlots` in `replication/slot.c`), so this is the earliest time.
    fn judge(&mut self, mut slot: SlotStatus, now: Instant) -> SlotStatus {
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > PACE_OVER) {
            self.0.pop_front();
        }
        self.0.push_back((now, slot.retained_bytes));
        let (since, before) = self.0.front().copied().unwrap_or((now, slot.retained_bytes));
        let milliseconds = now.duration_since(since).as_millis();
        let grown = u128::from(slot.retained_bytes.saturating_sub(before)) * 1000;
        slot.growth_bytes_per_second = grown.checked_div(milliseconds).and_then(|pace| u64::try_from(pace).ok()).unwrap_or(0);
        let left = slot.limit_bytes.map(|limit| limit.saturating_sub(slot.retained_bytes));
        let seconds = left.and_then(|left| left.checked_div(slot.growth_bytes_per_second));
        slot.lost_at = seconds.and_then(|seconds| slot.at.checked_add(Duration::from_secs(seconds)).ok());
        slot
    }
}

fn note(report: &Report, slot: SlotStatus) {
    if report.status().state == State::Stalled {
        let (retained, limit) = (slot.retained_bytes >> 20, slot.limit_bytes.map(|bytes| bytes >> 20));
        match limit {
            Some(limit) => tracing::warn!(
                "the slot {} holds back {retained} MB of WAL; at max_slot_wal_keep_size = {limit} MB WAL is lost",
                slot.name
            ),
            None => tracing::warn!("the slot {} holds back {retained} MB of WAL, without a limit", slot.name),
        }
    }
    report.update(|status| status.slot = Some(slot));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(retained_bytes: u64, limit_bytes: Option<u64>) -> SlotStatus {
        let (name, restart, at) = ("holdfast".to_owned(), None, jiff::Timestamp::UNIX_EPOCH);
        SlotStatus { name, restart, retained_bytes, limit_bytes, growth_bytes_per_second: 0, lost_at: None, at }
    }

    #[test]
    fn it_is_told_when_the_limit_is_reached_at_the_present_rate() {
        let (mut pace, begun) = (Pace::default(), clock::instant());
        let later = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(pace.judge(slot(1000, Some(10_000)), begun).lost_at, None, "one look tells no pace");
        let found = pace.judge(slot(3000, Some(10_000)), later(20));
        assert_eq!(found.growth_bytes_per_second, 100);
        assert_eq!(found.lost_at, Some(jiff::Timestamp::from_second(70).unwrap()));
        assert_eq!(pace.judge(slot(3000, None), later(30)).lost_at, None, "no limit");
        assert_eq!(pace.judge(slot(500, Some(10_000)), later(40)).lost_at, None, "it shrinks");
        let found = pace.judge(slot(900, Some(10_000)), later(400));
        assert_eq!((found.growth_bytes_per_second, found.lost_at), (0, None), "what was long ago does not count");
    }
}
