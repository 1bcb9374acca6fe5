//! One resource: waits until something is due, does it, and looks again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::board::{Board, JobState};
use super::due::{Due, Plan, backup_due, expire_due};
use super::work::{self, Step};
use crate::config::Config;
use crate::repository::{self, Job, JobRun, Repository, ResourceName};
use crate::sys::clock;

/// The history is looked at so often, for what other agents did.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// The longest sleep at once: the clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(20);
/// How long to rest when the store fails.
const TROUBLE: Duration = Duration::from_secs(30);

/// What all tasks of the scheduler share.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Shared {
    /// The repository.
    pub repository: Repository,
    /// The configuration, which can change.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where the state is shown.
    pub board: Board,
    /// How many backups may run at once.
    pub places: Arc<Semaphore>,
    /// Cancelled when the agent is to end.
    pub stop: CancellationToken,
}

/// What is due, and what was done.
pub(super) struct Outlook {
    pub backup: Option<Due>,
    pub expire: Due,
    last: BTreeMap<Job, JobRun>,
}

impl Outlook {
    /// What comes first; a backup before retention.
    fn first(&self) -> (Job, Due) {
        match self.backup {
            Some(backup) if backup.begin_at <= self.expire.begin_at => (Job::Backup, backup),
            _ => (Job::Expire, self.expire),
        }
    }

    fn due(&self, job: Job) -> Option<Due> {
        match job {
            Job::Backup => self.backup,
            Job::Expire => Some(self.expire),
        }
    }
}

/// Tends a resource until the agent ends or the resource is not in the configuration any more.
pub(in crate::agent) async fn tend(mut shared: Shared, resource: ResourceName) {
    // What could not be written into the history: it must not be done again all the same.
    let mut unrecorded: BTreeMap<Job, JobRun> = BTreeMap::new();
    while !shared.stop.is_cancelled() {
        let config = Arc::clone(&shared.config.borrow_and_update());
        if config.upkeep(&resource).is_none() {
            break;
        }
        let rest = match look(&shared.repository, &config, &resource, &unrecorded).await {
            Ok(outlook) => {
                show(&shared.board, &resource, &outlook);
                act(&shared, &config, &resource, &outlook, &mut unrecorded).await
            }
            Err(error) => {
                tracing::warn!(%resource, "what is due cannot be found out, trying again: {error}");
                TROUBLE
            }
        };
        pause(&mut shared, rest).await;
    }
    shared.board.forget(&resource);
}

/// Finds out what is due.
pub(super) async fn look(
    repository: &Repository,
    config: &Config,
    resource: &ResourceName,
    unrecorded: &BTreeMap<Job, JobRun>,
) -> repository::Result<Outlook> {
    let mut last = unrecorded.clone();
    for job in [Job::Backup, Job::Expire] {
        let recorded = repository.runs(resource, job, 1).await?.pop();
        let later = recorded.filter(|run| last.get(&job).is_none_or(|known| known.started_at <= run.started_at));
        last.extend(later.map(|run| (job, run)));
    }
    let (now, zone) = (clock::now(), config.time_zone());
    let mut backup = None;
    if let Some(schedule) = config.upkeep(resource).and_then(|upkeep| upkeep.schedule) {
        let newest = match last.get(&Job::Backup) {
            Some(_) => None,
            None => repository.backups(resource).list().await?.records.iter().map(|entry| entry.started_at).max(),
        };
        let name = resource.to_string();
        backup = backup_due(Plan { schedule, zone: &zone, seed: &name }, last.get(&Job::Backup), newest, now);
    }
    let backed_up = last.get(&Job::Backup).filter(|run| run.succeeded()).map(JobRun::finished_at);
    let expire = expire_due(last.get(&Job::Expire), backed_up, now);
    Ok(Outlook { backup, expire, last })
}

fn show(board: &Board, resource: &ResourceName, outlook: &Outlook) {
    for job in [Job::Backup, Job::Expire] {
        let next_at = outlook.due(job).map(|due| due.begin_at);
        if next_at.is_some() || outlook.last.contains_key(&job) {
            board.set(resource, job, JobState::Waiting, next_at, outlook.last.get(&job));
        }
    }
}

/// Does what is due; how long to rest then.
async fn act(
    shared: &Shared,
    config: &Config,
    resource: &ResourceName,
    outlook: &Outlook,
    unrecorded: &mut BTreeMap<Job, JobRun>,
) -> Duration {
    let (job, due) = outlook.first();
    let wait = until(due.begin_at);
    if !wait.is_zero() {
        return wait.min(LOOK_EVERY);
    }
    match work::run(shared, config, resource, job, unrecorded).await {
        Step::Ran(run) => {
            if let Err(error) = shared.repository.put_run(resource, &run).await {
                tracing::warn!(%resource, "the history could not be written: {error}");
            }
            unrecorded.insert(job, *run);
            Duration::ZERO
        }
        Step::NotDue | Step::Stopped => Duration::ZERO,
        Step::Elsewhere(holder) => {
            shared.board.state(resource, job, JobState::Elsewhere(holder));
            shared.repository.lease_time() / 4
        }
        Step::Trouble(error) => {
            tracing::warn!(%resource, "the {} could not be begun, trying again: {error}", job.as_str());
            TROUBLE
        }
    }
}

fn until(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(clock::now())).unwrap_or_default()
}

/// Rests in short sleeps, so that a clock that is set is noticed; or until the configuration changes or the agent ends.
async fn pause(shared: &mut Shared, rest: Duration) {
    let end = clock::now().checked_add(rest).unwrap_or(Timestamp::MAX);
    loop {
        let remaining = until(end);
        if remaining.is_zero() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(remaining.min(SLEEP_MAX)) => {}
            // A sender that is gone is an agent that ends.
            _ = shared.config.changed() => return,
            () = shared.stop.cancelled() => return,
        }
    }
}
