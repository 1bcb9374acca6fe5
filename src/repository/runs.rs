//! The history of what was done for a resource of itself: one small record for each run, the last of each job.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupId, Error, Repository, ResourceName, Result, keys, record};
use crate::storage::list_all;
use crate::sys::host;

/// So many runs of each job are remembered.
const KEPT: usize = 50;

/// What is done of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// A backup.
    Backup,
    /// Retention.
    Expire,
}

impl Job {
    /// As it stands in keys, messages and lease names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Expire => "expire",
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did what it was to do.
    Done {
        /// The backup that it made.
        backup: Option<BackupId>,
        /// What there is to say about it.
        remark: String,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
        /// What to do next.
        hint: Option<String>,
    },
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRun {
    /// What was done.
    pub job: Job,
    /// When it was due.
    pub due_at: Timestamp,
    /// Which attempt this was, from 1 on.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// On which host.
    pub host: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl JobRun {
    /// Whether it did what it was to do.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        matches!(self.outcome, Outcome::Done { .. })
    }

    /// When it ended.
    #[must_use]
    pub fn finished_at(&self) -> Timestamp {
        self.started_at.checked_add(Duration::from_millis(self.took_ms)).unwrap_or(Timestamp::MAX)
    }
}

impl Repository {
    /// Adds a run to the history, and forgets the oldest ones of its job.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_run(&self, resource: &ResourceName, run: &JobRun) -> Result<()> {
        let key = keys::run(resource, run.job, run.started_at, host::mark());
        self.store.put_if_absent(&key, record::seal(run)).await?;
        let all = list_all(self.store.as_ref(), &keys::runs(resource, run.job)).await?;
        for old in &all[..all.len().saturating_sub(KEPT)] {
            self.store.delete(&old.key).await?;
        }
        Ok(())
    }

    /// The last runs of a job, the oldest first, at most `limit`. A record that cannot be read is left out: it is only history.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn runs(&self, resource: &ResourceName, job: Job, limit: usize) -> Result<Vec<JobRun>> {
        let all = list_all(self.store.as_ref(), &keys::runs(resource, job)).await?;
        let mut runs = Vec::new();
        for entry in &all[all.len().saturating_sub(limit)..] {
            let read = match self.store.get(&entry.key).await {
                Ok(bytes) => record::open(&entry.key, &bytes).and_then(|json| record::value(&entry.key, json)),
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            match read {
                Ok(run) => runs.push(run),
                Err(Error::Malformed { object, detail }) => tracing::warn!("{object} cannot be read and is left out: {detail}"),
                Err(error) => return Err(error),
            }
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Compression;
    use crate::storage::FileStore;

    #[tokio::test]
    async fn the_history_is_in_order_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let resource: ResourceName = "postgres/main".parse().unwrap();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for number in 0..KEPT + 7 {
            let started_at = at(i64::try_from(number).unwrap());
            let outcome = Outcome::Done { backup: None, remark: String::new() };
            let (took_ms, host) = (1000, "db1".to_owned());
            let run = JobRun { job: Job::Expire, due_at: started_at, attempt: 1, started_at, took_ms, host, outcome };
            repository.put_run(&resource, &run).await.unwrap();
        }
        let runs = repository.runs(&resource, Job::Expire, 1000).await.unwrap();
        let times: Vec<Timestamp> = runs.iter().map(|run| run.started_at).collect();
        assert_eq!(times, (7..i64::try_from(KEPT).unwrap() + 7).map(at).collect::<Vec<_>>());
        assert_eq!(repository.runs(&resource, Job::Expire, 3).await.unwrap().len(), 3);
        assert_eq!(repository.runs(&resource, Job::Backup, 3).await.unwrap(), vec![]);
    }
}
