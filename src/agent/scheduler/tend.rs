//! One resource: waits until something is due, does it, and looks again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::board::{Board, JobState};
use super::changes::Changes;
use super::due::{Due, Plan, backup_due, change_due, expire_due};
use super::kept::KeptStatus;
use super::work::{self, Step};
use crate::config::Config;
use crate::operations::upkeep::LOOK_RECORDED_EVERY;
use crate::repository::{self, Job, JobRun, Outcome, Repository, ResourceName};
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

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Task {
    /// A backup by schedule.
    Backup,
    /// A backup of what has changed, if it has.
    Change,
    /// Retention.
    Expire,
}

impl Task {
    /// As what it stands in the history.
    pub(super) const fn job(self) -> Job {
        match self {
            Self::Backup | Self::Change => Job::Backup,
            Self::Expire => Job::Expire,
        }
    }
}

/// What is due, and what was done.
pub(super) struct Outlook {
    backup: Option<Due>,
    change: Option<Due>,
    expire: Due,
    last: BTreeMap<Job, JobRun>,
}

impl Outlook {
    /// What comes first; a backup before retention.
    fn first(&self) -> (Task, Due) {
        let tasks = [Task::Backup, Task::Change].into_iter().filter_map(|task| Some((task, self.due(task)?)));
        let backup = tasks.min_by_key(|(_, due)| due.begin_at);
        backup.filter(|(_, due)| due.begin_at <= self.expire.begin_at).unwrap_or((Task::Expire, self.expire))
    }

    pub(super) const fn due(&self, task: Task) -> Option<Due> {
        match task {
            Task::Backup => self.backup,
            Task::Change => self.change,
            Task::Expire => Some(self.expire),
        }
    }

    /// Whether a look that found nothing new is worth a record: once an hour, as a sign of life.
    fn is_news(&self, run: &JobRun) -> bool {
        let recent = |last: &JobRun| {
            last.succeeded()
                && Duration::try_from(run.started_at.duration_since(last.started_at)).is_ok_and(|age| age < LOOK_RECORDED_EVERY)
        };
        !(run.found_nothing() && self.last.get(&Job::Backup).is_some_and(recent))
    }
}

/// What a task remembers of its resource. Nothing is lost with it: the next agent looks at everything once.
#[derive(Default)]
pub(super) struct Memory {
    /// What could not be written into the history: it must not be done again all the same.
    unrecorded: BTreeMap<Job, JobRun>,
    /// Since when a change waits to be stored.
    noticed: Option<Timestamp>,
    /// When the catalog was looked at; not since something was done to it.
    catalog_seen: Option<Timestamp>,
}

/// Tends a resource until the agent ends or the resource is not in the configuration any more.
pub(in crate::agent) async fn tend(mut shared: Shared, resource: ResourceName) {
    let (mut memory, mut changes) = (Memory::default(), Changes::default());
    while !shared.stop.is_cancelled() {
        let config = Arc::clone(&shared.config.borrow_and_update());
        if config.upkeep(&resource).is_none() {
            break;
        }
        tokio::select! {
            () = changes.follow(&config, &resource, &mut memory.noticed) => {}
            () = shared.stop.cancelled() => break,
        }
        let rest = match look(&shared.repository, &config, &resource, &memory).await {
            Ok(outlook) => {
                show(&shared.board, &resource, &outlook);
                show_kept(&shared, &resource, &mut memory).await;
                act(&shared, &config, &resource, &outlook, &mut memory).await
            }
            Err(error) => {
                tracing::warn!(%resource, "what is due cannot be found out, trying again: {error}");
                TROUBLE
            }
        };
        if pause(&mut shared, rest, &mut changes).await {
            memory.noticed.get_or_insert_with(clock::now);
        }
    }
    shared.board.forget(&resource);
}

/// Finds out what is due.
pub(super) async fn look(
    repository: &Repository,
    config: &Config,
    resource: &ResourceName,
    memory: &Memory,
) -> repository::Result<Outlook> {
    let (now, zone) = (clock::now(), config.time_zone());
    let mut last = memory.unrecorded.clone();
    last.retain(|_, run| run.started_at <= now);
    for job in [Job::Backup, Job::Expire] {
        let recorded = repository.last_run(resource, job, now).await?;
        let later = recorded.filter(|run| last.get(&job).is_none_or(|known| known.started_at <= run.started_at));
        last.extend(later.map(|run| (job, run)));
    }
    let mut backup = None;
    if let Some(schedule) = config.upkeep(resource).and_then(|upkeep| upkeep.schedule) {
        let newest = match last.get(&Job::Backup) {
            Some(run) if run.found_nothing() => {
                let backups = repository.backups(resource);
                let begun: Vec<_> = backups.ids().await?.into_iter().filter_map(|id| id.begun()).collect();
                // Where this host's clock is behind, the ids of its backups are ahead of it, and their entries say what it showed.
                let is_ahead = begun.iter().any(|begun| *begun > now);
                let shown = if is_ahead { backups.newest().await?.map(|entry| entry.started_at) } else { None };
                begun.into_iter().chain(shown).filter(|begun| *begun <= now).max()
            }
            Some(_) => None,
            None => {
                let listed = repository.backups(resource).list().await?.records;
                listed.iter().map(|entry| entry.started_at).filter(|started_at| *started_at <= now).max()
            }
        };
        let name = resource.to_string();
        backup = backup_due(Plan { schedule, zone: &zone, seed: &name }, last.get(&Job::Backup), newest, now);
    }
    let change = memory.noticed.map(|noticed| change_due(noticed, last.get(&Job::Backup)));
    let made = |run: &&JobRun| matches!(run.outcome, Outcome::Done { backup: Some(_), .. });
    let backed_up = last.get(&Job::Backup).filter(made).map(JobRun::finished_at);
    let expire = expire_due(last.get(&Job::Expire), backed_up, now);
    Ok(Outlook { backup, change, expire, last })
}

fn show(board: &Board, resource: &ResourceName, outlook: &Outlook) {
    let backup = [outlook.backup, outlook.change].into_iter().flatten().map(|due| due.begin_at).min();
    for (job, next_at) in [(Job::Backup, backup), (Job::Expire, Some(outlook.expire.begin_at))] {
        if next_at.is_some() || outlook.last.contains_key(&job) {
            board.set(resource, job, JobState::Waiting, next_at, outlook.last.get(&job));
        }
    }
}

/// Shows what is kept. Where that cannot be found out, what was found before stays: its age tells.
async fn show_kept(shared: &Shared, resource: &ResourceName, memory: &mut Memory) {
    let now = clock::now();
    let is_recent = |seen: Timestamp| Duration::try_from(now.duration_since(seen)).is_ok_and(|age| age < LOOK_EVERY);
    if memory.catalog_seen.is_some_and(is_recent) {
        return;
    }
    match KeptStatus::look(&shared.repository, resource).await {
        Ok(kept) => {
            shared.board.keep(resource, kept);
            memory.catalog_seen = Some(now);
        }
        Err(error) => tracing::warn!(%resource, "what is kept cannot be found out, trying again: {error}"),
    }
}

/// Does what is due; how long to rest then.
async fn act(shared: &Shared, config: &Config, resource: &ResourceName, outlook: &Outlook, memory: &mut Memory) -> Duration {
    let (task, due) = outlook.first();
    let job = task.job();
    let wait = until(due.begin_at);
    if !wait.is_zero() {
        return wait.min(LOOK_EVERY);
    }
    match work::run(shared, config, resource, task, memory).await {
        Step::Ran(run) => {
            if job == Job::Expire || matches!(run.outcome, Outcome::Done { backup: Some(_), .. }) {
                memory.catalog_seen = None;
            }
            if outlook.is_news(&run)
                && let Err(error) = shared.repository.put_run(resource, &run).await
            {
                tracing::warn!(%resource, "the history could not be written: {error}");
            }
            if job == Job::Backup && run.succeeded() {
                memory.noticed = None;
            }
            // What found nothing new is remembered as it was recorded last, so that the next sign of life comes in time.
            if outlook.is_news(&run) {
                memory.unrecorded.insert(job, *run);
            }
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

/// Rests in short sleeps, so that a clock that is set is noticed; or until the resource or the configuration changes or the agent ends.
/// Returns whether the resource may have changed.
async fn pause(shared: &mut Shared, rest: Duration, changes: &mut Changes) -> bool {
    let end = clock::now().checked_add(rest).unwrap_or(Timestamp::MAX);
    loop {
        let remaining = until(end);
        if remaining.is_zero() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(remaining.min(SLEEP_MAX)) => {}
            () = changes.next() => return true,
            // A sender that is gone is an agent that ends.
            _ = shared.config.changed() => {
                changes.reset();
                return false;
            }
            () = shared.stop.cancelled() => return false,
        }
    }
}
