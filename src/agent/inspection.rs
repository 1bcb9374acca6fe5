//! What is looked at from time to time beside the stream: holes in the store, gaps and conflicts of which nobody has taken note, and whether
//! a gap cuts the newest backup off from the present. Then a new base backup is taken at once.
//!
//! One backup at a time for a cluster; one that fails is tried again after pauses that grow.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::Postgres;
use crate::operations::status::{Noted, Records, records};
use crate::pg::{Lsn, TimelineId};
use crate::repository::{self, BackupEntry, Gap, Repository, ResourceName};
use crate::resources::postgres::archive::holes::Holes;
use crate::resources::postgres::archive::{BackupState, NewBackup, Report, State, Trouble};
use crate::resources::postgres::backup::{self, Reporter, Request, take};
use crate::resources::postgres::{followed, source};
use crate::sys::clock;

/// How long after the agent has begun.
const FIRST: Duration = Duration::from_secs(3);
/// How often.
const EVERY: Duration = Duration::from_secs(30);
/// How often the whole archive is listed, and not only its end: what was deleted behind our back shows then.
const EVERYTHING_EVERY: Duration = Duration::from_hours(1);
/// The pause after a backup that failed; twice as long after each further one.
const PAUSE: Duration = Duration::from_mins(1);
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// Looks after one cluster.
#[derive(Debug)]
pub(super) struct Inspection {
    pub repository: Repository,
    pub resource: ResourceName,
    pub cluster: Postgres,
    /// Where WAL is streamed: only who streams takes backups, so that of two agents one does.
    pub report: Option<Report>,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
struct Memory {
    holes: Holes,
    everything: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Inspection {
    /// Looks until it is asked to stop.
    pub async fn run(self, stop: CancellationToken) {
        let (mut memory, mut pause) = (Memory::default(), FIRST);
        loop {
            tokio::select! {
                () = tokio::time::sleep(std::mem::replace(&mut pause, EVERY)) => {}
                () = stop.cancelled() => return,
            }
            let looked = tokio::select! {
                looked = self.look(&mut memory) => looked,
                () = stop.cancelled() => return,
            };
            match looked {
                Ok(Some(gap)) => self.back_up(&gap, &mut memory, &stop).await,
                Ok(None) => {}
                Err(error) => tracing::debug!(resource = %self.resource, "the stored WAL could not be inspected: {error}"),
            }
        }
    }

    /// Returns the gap because of which a backup is to be taken now.
    async fn look(&self, memory: &mut Memory) -> repository::Result<Option<Gap>> {
        let lineage = self.repository.newest_lineage(&self.resource).await?;
        let archive = self.repository.wal(&self.resource, &lineage);
        if memory.everything.is_none_or(|at| at.elapsed() >= EVERYTHING_EVERY) {
            memory.holes.look_at_everything();
            memory.everything = Some(clock::instant());
        }
        if let Some(passed) = self.passed() {
            memory.holes.record(&archive, passed).await?;
        }
        let records = records(&archive).await?;
        self.tell(&records);
        let mut backups = self.repository.backups(&self.resource).list().await?.records;
        backups.retain(|backup| backup.postgres().system_id == lineage.system_id);
        let due = memory.not_before.is_none_or(|at| at <= clock::instant());
        Ok(unbridged(&records.gaps, &backups).filter(|_| due && self.is_on_duty()).cloned())
    }

    fn tell(&self, records: &Records) {
        let open = |gap: &&Noted<Gap>| gap.is_open();
        let open_gaps = records.gaps.iter().filter(open).count();
        let conflicts = records.conflicts.iter().filter(|conflict| conflict.is_open());
        let conflicts: Vec<_> = conflicts.map(|conflict| conflict.record.clone()).collect();
        let gaps: Vec<Gap> = records.gaps.iter().map(|gap| gap.record.clone()).collect();
        self.update(|status| {
            status.gaps = gaps;
            status.open_gaps = open_gaps;
            status.conflicts = conflicts;
        });
    }

    fn update(&self, change: impl FnOnce(&mut crate::resources::postgres::archive::ReceiverStatus)) {
        if let Some(report) = &self.report {
            report.update(change);
        }
    }

    /// Up to where the stream has come; to the end of everything where nothing is streamed, and none as long as it does not run.
    fn passed(&self) -> Option<(TimelineId, Lsn)> {
        let Some(report) = &self.report else { return Some((TimelineId(u32::MAX), Lsn(u64::MAX))) };
        let status = report.status();
        status.timeline.zip(status.stored).filter(|_| status.state == State::Streaming)
    }

    fn is_on_duty(&self) -> bool {
        self.report.as_ref().is_none_or(|report| report.status().state == State::Streaming)
    }

    async fn back_up(&self, gap: &Gap, memory: &mut Memory, stop: &CancellationToken) {
        let (because, since) = (gap.name(), clock::now());
        tracing::warn!(resource = %self.resource, gap = because, "a base backup is taken, because nothing before this gap leads across it");
        let new = |state, trouble| NewBackup { because: because.clone(), state, since, failures: memory.failures, trouble };
        self.update(|status| status.new_backup = Some(new(BackupState::Running, None)));
        match self.take(stop).await {
            Ok(id) => {
                tracing::info!(resource = %self.resource, id, "the base backup behind the gap is listed");
                let done = new(BackupState::Done, None);
                self.update(|status| status.new_backup = Some(done));
                (memory.failures, memory.not_before) = (0, None);
            }
            Err(trouble) => {
                tracing::error!(resource = %self.resource, hint = trouble.hint, "the base backup behind the gap failed: {}", trouble.message);
                let failed = NewBackup { failures: memory.failures + 1, ..new(BackupState::Failed, Some(trouble)) };
                self.update(|status| status.new_backup = Some(failed));
                let pause = PAUSE.saturating_mul(1 << memory.failures.min(10)).min(PAUSE_MAX);
                (memory.failures, memory.not_before) = (memory.failures + 1, Some(clock::instant() + pause));
            }
        }
    }

    async fn take(&self, stop: &CancellationToken) -> Result<String, Trouble> {
        let source = |error: source::Error| Trouble::now(error.to_string(), error.hint());
        let failed = |failed: backup::Failed| Trouble::now(failed.to_string(), failed.error.hint());
        let info = source::conninfo(&self.cluster).map_err(source)?;
        let reached = followed::reach(&self.repository, &self.resource, &info, None).await.map_err(source)?;
        let (reporter, _progress) = Reporter::new();
        let request = Request::default();
        let taken = take(&self.repository, &self.resource, reached.connection, &request, reporter, stop).await;
        taken.map(|report| report.entry.id.to_string()).map_err(failed)
    }
}

/// A gap behind which no backup was taken, though one was before it: the window of that one ends at the gap.
fn unbridged<'a>(gaps: &'a [Noted<Gap>], backups: &[BackupEntry]) -> Option<&'a Gap> {
    let before = |gap: &Gap| backups.iter().any(|backup| backup.postgres().start_lsn < gap.end);
    // By its time too: on another timeline positions tell nothing.
    let taken_since = |at: Timestamp| backups.iter().any(|backup| backup.started_at >= at);
    let behind = |gap: &Gap| backups.iter().any(|backup| backup.postgres().start_lsn >= gap.end) || taken_since(gap.noticed_at);
    gaps.iter().map(|gap| &gap.record).find(|gap| before(gap) && !behind(gap))
}
