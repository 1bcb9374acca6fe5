//! What the scheduler tells of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kept::KeptStatus;
use crate::repository::{Job, JobRun, ResourceName};

/// What a job is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It waits for its time.
    Waiting,
    /// It waits for its turn: enough others run.
    Queued,
    /// It runs, since then.
    Running(Timestamp),
    /// Another agent runs it.
    Elsewhere(String),
}

/// One job of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The resource.
    pub resource: String,
    /// The job.
    pub job: Job,
    /// What it is doing.
    pub state: JobState,
    /// When it is begun next; none where it has no schedule.
    pub next_at: Option<Timestamp>,
    /// The last run, by whichever agent.
    pub last: Option<JobRun>,
}

impl JobStatus {
    /// What is wrong, in a sentence.
    #[must_use]
    pub fn ailment(&self) -> Option<String> {
        let failed = self.last.as_ref().filter(|run| !run.succeeded())?;
        let crate::repository::Outcome::Failed { error, .. } = &failed.outcome else { return None };
        Some(format!("{}: the last {} failed (attempt {}): {error}", self.resource, self.job.as_str(), failed.attempt))
    }
}

/// The state of all jobs, and what is kept. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::agent) struct Board {
    jobs: Arc<Mutex<BTreeMap<(ResourceName, Job), JobStatus>>>,
    kept: Arc<Mutex<BTreeMap<ResourceName, KeptStatus>>>,
}

impl Board {
    /// All jobs, by resource.
    pub(in crate::agent) fn all(&self) -> Vec<JobStatus> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What is kept, by resource.
    pub(in crate::agent) fn all_kept(&self) -> Vec<KeptStatus> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn keep(&self, resource: &ResourceName, kept: KeptStatus) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.clone(), kept);
    }

    pub(super) fn set(
        &self,
        resource: &ResourceName,
        job: Job,
        state: JobState,
        next_at: Option<Timestamp>,
        last: Option<&JobRun>,
    ) {
        let status = JobStatus { resource: resource.to_string(), job, state, next_at, last: last.cloned() };
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert((resource.clone(), job), status);
    }

    pub(super) fn state(&self, resource: &ResourceName, job: Job, state: JobState) {
        if let Some(status) = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&(resource.clone(), job)) {
            status.state = state;
        }
    }

    pub(super) fn forget(&self, resource: &ResourceName) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != resource);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
    }
}
