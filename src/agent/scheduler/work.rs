//! One run: under a lease, in its turn, and only if it is still due then.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::JobState;
use super::tend::{Memory, Shared, Task, look};
use crate::config::Config;
use crate::operations::expire::{self, Progress, Rules, expire};
use crate::repository::{self, Acquired, HeldLease, Job, JobRun, LeaseName, Outcome, Protects, ResourceName, Terms};
use crate::resources::{self, BackedUp, Run};
use crate::sys::{clock, host};

/// What became of an attempt to run a job.
pub(super) enum Step {
    /// It ran; how it ended.
    Ran(Box<JobRun>),
    /// Another agent was faster.
    NotDue,
    /// Another process is at it.
    Elsewhere(String),
    /// The agent is to end. What was begun is not in the history: it is made up for.
    Stopped,
    /// The store failed before it began.
    Trouble(repository::Error),
}

/// How a job ended: the outcome, or that it was cancelled.
type Ended = Option<Outcome>;

/// Runs a job that is due.
pub(super) async fn run(shared: &Shared, config: &Config, resource: &ResourceName, task: Task, memory: &Memory) -> Step {
    shared.board.state(resource, task.job(), JobState::Queued);
    let _place = tokio::select! {
        place = shared.places.acquire() => place,
        () = shared.stop.cancelled() => return Step::Stopped,
    };
    match task {
        Task::Backup | Task::Change => backup(shared, config, resource, task, memory).await,
        // It takes a lease of its own, as it does on the command line.
        Task::Expire => attempt(shared, config, resource, task, memory, &shared.stop).await,
    }
}

async fn backup(shared: &Shared, config: &Config, resource: &ResourceName, task: Task, memory: &Memory) -> Step {
    let lease = match lease(shared, resource).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(holder)) => return Step::Elsewhere(holder),
        Err(error) => return Step::Trouble(error),
    };
    let cancelled = shared.stop.child_token();
    let step = tokio::select! {
        biased;
        step = attempt(shared, config, resource, task, memory, &cancelled) => step,
        never = cancel_when_lost(&lease, &cancelled) => match never {},
    };
    lease.release().await;
    step
}

/// Whoever has taken the lease over does the work; what was begun here is cleaned up.
async fn cancel_when_lost(lease: &HeldLease, cancelled: &CancellationToken) -> std::convert::Infallible {
    lease.lost().cancelled().await;
    cancelled.cancel();
    std::future::pending().await
}

async fn lease(shared: &Shared, resource: &ResourceName) -> repository::Result<Result<HeldLease, String>> {
    let terms = Terms {
        name: LeaseName::job(Job::Backup.as_str()),
        purpose: "a scheduled backup".to_owned(),
        protects: Protects::Nothing,
        lease: shared.repository.lease_time(),
        take_over: false,
    };
    Ok(match shared.repository.leases(resource).acquire(&terms).await? {
        Acquired::Ours(lease) => Ok(lease.keep()),
        Acquired::Held(other) => Err(other.record.holder.to_string()),
    })
}

/// Looks once more whether it is due, now that nobody else is at it, and does it.
async fn attempt(
    shared: &Shared,
    config: &Config,
    resource: &ResourceName,
    task: Task,
    memory: &Memory,
    cancelled: &CancellationToken,
) -> Step {
    let outlook = match look(&shared.repository, config, resource, memory).await {
        Ok(outlook) => outlook,
        Err(error) => return Step::Trouble(error),
    };
    let (job, started_at, begun) = (task.job(), clock::now(), clock::instant());
    let Some(due) = outlook.due(task).filter(|due| due.begin_at <= started_at) else { return Step::NotDue };
    shared.board.state(resource, job, JobState::Running(started_at));
    // Of looks there are many, and most find nothing.
    match task {
        Task::Change => tracing::debug!(%resource, attempt = due.attempt, "looking for changes, due {}", due.due_at),
        _ => tracing::info!(%resource, attempt = due.attempt, "the {} begins, due {}", job.as_str(), due.due_at),
    }
    let ended = match task {
        Task::Backup => back_up(shared, config, resource, false, cancelled).await,
        Task::Change => back_up(shared, config, resource, true, cancelled).await,
        Task::Expire => match apply_retention(shared, config, resource, cancelled).await {
            Ok(ended) => ended,
            Err(holder) => return Step::Elsewhere(holder),
        },
    };
    let Some(outcome) = ended else { return Step::Stopped };
    tell(resource, task, &outcome);
    let (host, took_ms) = (host::name(), u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    Step::Ran(Box::new(JobRun { job, due_at: due.due_at, attempt: due.attempt, started_at, took_ms, host, outcome }))
}

fn tell(resource: &ResourceName, task: Task, outcome: &Outcome) {
    let job = task.job();
    match outcome {
        Outcome::Done { backup: None, remark } if task == Task::Change => tracing::debug!(%resource, "{remark}"),
        Outcome::Done { remark, .. } => tracing::info!(%resource, "the {} is done: {remark}", job.as_str()),
        Outcome::Failed { error, hint } => tracing::error!(%resource, hint, "the {} failed: {error}", job.as_str()),
    }
}

async fn back_up(
    shared: &Shared,
    config: &Config,
    resource: &ResourceName,
    only_changes: bool,
    cancelled: &CancellationToken,
) -> Ended {
    let found = match resources::find(config, Some(resource)) {
        Ok(found) => found,
        Err(error) => return Some(Outcome::Failed { error: error.to_string(), hint: None }),
    };
    let run = Run { cancelled: cancelled.clone(), only_changes, ..Run::new(shared.repository.clone()) };
    let backed_up = match guarded(async move { found.back_up(&run).await }).await {
        Ok(backed_up) => backed_up,
        Err(failed) => return Some(failed),
    };
    match backed_up {
        Ok(BackedUp::Listed { entry, remarks }) => {
            remarks.iter().for_each(|remark| tracing::warn!(%resource, "{remark}"));
            Some(Outcome::Done { remark: format!("backup {}", entry.id), backup: Some(entry.id) })
        }
        Ok(BackedUp::Unchanged(id)) => Some(Outcome::Done { backup: None, remark: format!("nothing has changed since {id}") }),
        Err(_) if cancelled.is_cancelled() => None,
        Err(error) => {
            let (whole, recorded) = (error.to_string(), error.for_the_record());
            if whole != recorded {
                tracing::error!(%resource, "in the words of the program: {whole}");
            }
            Some(Outcome::Failed { error: recorded, hint: error.hint() })
        }
    }
}

/// Applies retention; the holder, where another process is at it.
async fn apply_retention(
    shared: &Shared,
    config: &Config,
    resource: &ResourceName,
    cancelled: &CancellationToken,
) -> Result<Ended, String> {
    let Some(upkeep) = config.upkeep(resource) else { return Ok(None) };
    let rules = Rules::of(&upkeep, config.time_zone());
    let (progress, _) = watch::channel(Progress::default());
    let (repository, of, stop) = (shared.repository.clone(), resource.clone(), cancelled.clone());
    let applied = match guarded(async move { expire(&repository, &of, &rules, &progress, &stop).await }).await {
        Ok(applied) => applied,
        Err(failed) => return Ok(Some(failed)),
    };
    Ok(match applied {
        Ok(report) if report.stopped => None,
        Ok(report) => {
            let removed = report.removed.unwrap_or_default();
            let remark = format!("removed {} backup(s), {} object(s), {} bytes", removed.backups, removed.objects, removed.bytes);
            Some(Outcome::Done { backup: None, remark })
        }
        Err(expire::Error::Busy { holder, .. }) => return Err(holder),
        Err(error) => Some(Outcome::Failed { error: error.to_string(), hint: error.hint() }),
    })
}

/// Does work in a task of its own, so that a defect which ends it is a failure among others: it is in the history, tried again, and seen. What it
/// says can show a part of what was worked on, and the history lies in the clear: it stays in the log.
async fn guarded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Outcome> {
    tokio::spawn(work).await.map_err(|panic| {
        tracing::error!("the work ended early: {panic}");
        let hint = "this is a defect of Holdfast: report it with what the agent's log says";
        Outcome::Failed { error: "the work ended early; why is in the agent's log".to_owned(), hint: Some(hint.to_owned()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn defect() -> u8 {
        panic!("a defect")
    }

    #[tokio::test]
    async fn work_that_panics_has_failed_and_ends_nothing_else() {
        let failed = guarded(defect()).await;
        assert!(matches!(failed, Err(Outcome::Failed { error, .. }) if error.contains("log") && !error.contains("a defect")));
        assert!(matches!(guarded(async { 7 }).await, Ok(7)));
    }
}
