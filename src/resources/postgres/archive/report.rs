//! What a receiver tells about itself, for `status`, metrics and health.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DelaySummary;
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::repository::{Conflict, Gap};
use crate::sys::clock;

/// So long nothing may be stored although there is something to store, until a receiver counts as unhealthy; beside twice the time that
/// WAL may wait anyway.
const UNHEALTHY_AFTER: Duration = Duration::from_secs(10);

/// What a receiver is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Connecting, or finding out where to go on.
    #[default]
    Starting,
    /// Receiving and storing.
    Streaming,
    /// The store is behind or down: nothing more is read from the server until it has caught up.
    Stalled,
    /// Something is wrong; tried again every few seconds.
    Waiting,
    /// Asked to stop.
    Stopped,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What failed, on which object.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Trouble {
    /// Trouble of this moment.
    #[must_use]
    pub fn now(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { message: message.into(), hint, at: clock::now() }
    }
}

/// The replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its name.
    pub name: String,
    /// The oldest position that it holds back; none if it holds back nothing (any more).
    pub restart: Option<Lsn>,
    /// How much WAL it holds back, in bytes.
    pub retained_bytes: u64,
    /// `max_slot_wal_keep_size`, in bytes: when so much is held back, the slot is lost. None if there is no limit.
    pub limit_bytes: Option<u64>,
    /// By how much that has grown per second lately, in bytes; 0 where it has not.
    #[serde(default)]
    pub growth_bytes_per_second: u64,
    /// When the limit is reached if it goes on like this; none where it does not, or where there is no limit.
    #[serde(default)]
    pub lost_at: Option<Timestamp>,
    /// When this was asked.
    pub at: Timestamp,
}

/// How a base backup stands that the agent takes by itself because of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupState {
    /// It is being taken.
    Running,
    /// It failed, and is tried again after a pause.
    Failed,
    /// It is listed.
    Done,
}

/// A base backup that the agent takes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBackup {
    /// The gap because of which.
    pub because: String,
    /// How it stands.
    pub state: BackupState,
    /// When it was begun.
    pub since: Timestamp,
    /// How often it has failed.
    pub failures: u32,
    /// Why it failed last.
    pub trouble: Option<Trouble>,
}

/// How one cluster's WAL comes in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReceiverStatus {
    /// The resource.
    pub resource: String,
    /// What is being done.
    pub state: State,
    /// The server that it comes from.
    pub server: Option<String>,
    /// Its version.
    pub server_version: Option<String>,
    /// The cluster.
    pub system_id: Option<SystemId>,
    /// The timeline that is streamed.
    pub timeline: Option<TimelineId>,
    /// The end of the server's WAL, as far as it is known.
    pub server_end: Option<Lsn>,
    /// The end of what was received.
    pub received: Option<Lsn>,
    /// The end of what is stored without a hole: what is reported as flushed.
    pub stored: Option<Lsn>,
    /// How much of the server's WAL is not stored yet.
    pub lag_bytes: u64,
    /// When something was stored last.
    pub last_stored_at: Option<Timestamp>,
    /// The longest that received WAL waits before it is stored, if all is well.
    pub max_delay_seconds: f64,
    /// Since when there is WAL that is not stored, without anything having been stored; none if all is stored.
    pub behind_since: Option<Timestamp>,
    /// Since when there is no connection that streams.
    pub disconnected_since: Option<Timestamp>,
    /// The slot.
    pub slot: Option<SlotStatus>,
    /// How long commits wait until they are stored.
    pub delay: Option<DelaySummary>,
    /// What is wrong with the server or the connection; none when it was mended.
    pub trouble: Option<Trouble>,
    /// What is wrong with the store; none when it was mended.
    pub store_trouble: Option<Trouble>,
    /// What somebody should know although it works.
    pub warnings: Vec<String>,
    /// WAL that is lost.
    pub gaps: Vec<Gap>,
    /// How many of these gaps nobody has taken note of.
    pub open_gaps: usize,
    /// Refused WAL of another server under this name, of which nobody has taken note.
    pub conflicts: Vec<Conflict>,
    /// The last base backup that the agent took by itself.
    pub new_backup: Option<NewBackup>,
}

impl ReceiverStatus {
    /// Why this receiver does not do its work; `None` if it does.
    #[must_use]
    pub fn ailment(&self, now: Timestamp) -> Option<String> {
        if let Some(conflict) = self.conflicts.last() {
            let Conflict { segment, refused, .. } = conflict;
            return Some(format!(
                "{}: two servers write under this name; what {refused} sent for {segment} was refused",
                self.resource
            ));
        }
        let patience = UNHEALTHY_AFTER.as_secs_f64() + 2.0 * self.max_delay_seconds;
        let long_since = |since: Option<Timestamp>| since.filter(|since| now.duration_since(*since).as_secs_f64() >= patience);
        let trouble = self.store_trouble.as_ref().or(self.trouble.as_ref());
        let reason = trouble.map(|trouble| format!(": {}", trouble.message)).unwrap_or_default();
        if let Some(since) = long_since(self.disconnected_since) {
            return Some(format!("{}: no WAL is received since {since:.0}{reason}", self.resource));
        }
        let since = long_since(self.behind_since)?;
        Some(format!("{}: nothing was stored since {since:.0} although {} bytes wait{reason}", self.resource, self.lag_bytes))
    }

    fn derive(&mut self, now: Timestamp) {
        let stored = self.stored.unwrap_or_default();
        self.lag_bytes = self.server_end.max(self.received).unwrap_or_default().bytes_since(stored);
        self.behind_since = if self.lag_bytes == 0 { None } else { self.behind_since.or(Some(now)) };
        let connected = matches!(self.state, State::Streaming | State::Stalled);
        self.disconnected_since = if connected { None } else { self.disconnected_since.or(Some(now)) };
    }
}

/// A receiver's status, shared with those who show it.
#[derive(Debug, Clone, Default)]
pub struct Report(Arc<Mutex<ReceiverStatus>>);

impl Report {
    /// The report of a receiver that has not begun, and that stores what it receives within `max_delay`.
    #[must_use]
    pub fn new(resource: &crate::repository::ResourceName, max_delay: Duration) -> Self {
        let max_delay_seconds = max_delay.as_secs_f64();
        let mut status = ReceiverStatus { resource: resource.to_string(), max_delay_seconds, ..ReceiverStatus::default() };
        status.derive(clock::now());
        Self(Arc::new(Mutex::new(status)))
    }

    /// The status of this moment.
    #[must_use]
    pub fn status(&self) -> ReceiverStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it.
    pub fn update(&self, change: impl FnOnce(&mut ReceiverStatus)) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = status.stored;
        change(&mut status);
        let now = clock::now();
        if stored.is_some() && status.stored > stored {
            status.last_stored_at = Some(now);
            status.behind_since = None;
        }
        status.derive(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{ResourceKind, ResourceName};

    fn report() -> Report {
        Report::new(&ResourceName::new(ResourceKind::Postgres, "main").unwrap(), Duration::from_secs(3))
    }

    fn later(seconds: i64) -> Timestamp {
        clock::now() + jiff::SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_receiver_that_ships_nothing_is_not_healthy() {
        let report = report();
        assert!(report.status().ailment(later(17)).is_some(), "never connected");
        report.update(|status| {
            status.state = State::Streaming;
            status.server_end = Some(Lsn(200));
            status.stored = Some(Lsn(100));
        });
        assert_eq!(report.status().ailment(later(15)), None, "twice the delay and ten seconds have not passed");
        assert!(report.status().ailment(later(17)).is_some_and(|text| text.contains("100 bytes wait")));
        report.update(|status| status.stored = Some(Lsn(200)));
        assert_eq!(report.status().ailment(later(600)), None, "an idle server is well");
    }
}
