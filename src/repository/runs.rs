//! The history of what was done for a resource of itself: one small record for each run, the last of each job.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupId, Error, Repository, ResourceName, Result, keys, record};
use crate::storage::{Entry, list_all};
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

    /// Whether it was a look at what is backed up on change, which found nothing new and stored nothing.
    #[must_use]
    pub fn found_nothing(&self) -> bool {
        self.job == Job::Backup && matches!(self.outcome, Outcome::Done { backup: None, .. })
    }

    /// When it ended.
    #[must_use]
    pub fn finished_at(&self) -> Timestamp {
        self.started_at.checked_add(Duration::from_millis(self.took_ms)).unwrap_or(Timestamp::MAX)
    }
}

impl Repository {
    /// Adds a run to the history, and forgets the oldest ones of its job, by the store's clock: runs that a host's wrong clock has put into the
    /// future must not crowd out those of today.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_run(&self, resource: &ResourceName, run: &JobRun) -> Result<()> {
        let key = keys::run(resource, run.job, run.started_at, host::mark());
        self.store.put_if_absent(&key, record::seal(run)).await?;
        let mut all = list_all(self.store.as_ref(), &keys::runs(resource, run.job)).await?;
        all.sort_by_key(|entry| entry.modified);
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
            runs.extend(self.run(entry).await?);
        }
        Ok(runs)
    }

    /// The last run of a job that had begun by `now`. A later one is of a clock that was wrong: it says nothing about what is due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_run(&self, resource: &ResourceName, job: Job, now: Timestamp) -> Result<Option<JobRun>> {
        let all = list_all(self.store.as_ref(), &keys::runs(resource, job)).await?;
        for entry in all.iter().rev().filter(|entry| keys::has_begun(&entry.key, now)) {
            if let Some(run) = self.run(entry).await? {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    async fn run(&self, entry: &Entry) -> Result<Option<JobRun>> {
        let read = match self.store.get(&entry.key).await {
            Ok(bytes) => record::open(&entry.key, &bytes).and_then(|json| record::value(&entry.key, json)),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match read {
            Ok(run) => Ok(Some(run)),
            Err(Error::Malformed { object, detail }) => {
                tracing::warn!("{object} cannot be read and is left out: {detail}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Compression;
    use crate::storage::FileStore;

    async fn repository(folder: &tempfile::TempDir) -> (Repository, ResourceName) {
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        (repository, "postgres/main".parse().unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn run(started_at: Timestamp) -> JobRun {
        let outcome = Outcome::Done { backup: None, remark: String::new() };
        let (took_ms, host) = (1000, "db1".to_owned());
        JobRun { job: Job::Expire, due_at: started_at, attempt: 1, started_at, took_ms, host, outcome }
    }

    #[tokio::test]
    async fn the_history_is_in_order_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (repository, resource) = repository(&folder).await;
        for number in 0..KEPT + 7 {
            repository.put_run(&resource, &run(at(i64::try_from(number).unwrap()))).await.unwrap();
        }
        let runs = repository.runs(&resource, Job::Expire, 1000).await.unwrap();
        let times: Vec<Timestamp> = runs.iter().map(|run| run.started_at).collect();
        assert_eq!(times, (7..i64::try_from(KEPT).unwrap() + 7).map(at).collect::<Vec<_>>());
        assert_eq!(repository.runs(&resource, Job::Expire, 3).await.unwrap().len(), 3);
        assert_eq!(repository.runs(&resource, Job::Backup, 3).await.unwrap(), vec![]);
    }

    #[tokio::test]
    async fn runs_of_the_future_hide_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (repository, resource) = repository(&folder).await;
        for number in 0..KEPT + 7 {
            repository.put_run(&resource, &run(at(1_000_000 + i64::try_from(number).unwrap()))).await.unwrap();
        }
        assert_eq!(repository.last_run(&resource, Job::Expire, at(50)).await.unwrap(), None);
        for number in [10, 20] {
            repository.put_run(&resource, &run(at(number))).await.unwrap();
            let last = repository.last_run(&resource, Job::Expire, at(50)).await.unwrap();
            assert_eq!(last.map(|run| run.started_at), Some(at(number)));
        }
        let last = repository.last_run(&resource, Job::Expire, at(15)).await.unwrap();
        assert_eq!(last.map(|run| run.started_at), Some(at(10)));
    }
}
