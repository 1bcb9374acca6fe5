//! Trying again: what may pass is tried again, later and later, until a deadline.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;

use super::{ConditionalPut, Entry, IsOwn, ObjectKey, Put, Result, Store, Upload};
use crate::sys::clock::Deadline;

/// How often and how long something is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The wait after the first failure. Each further one is about twice as long, with some randomness.
    pub first_delay: Duration,
    /// The longest wait.
    pub longest_delay: Duration,
    /// No attempt begins later than this after the first one began. An attempt has a time limit of its own.
    pub deadline: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { first_delay: Duration::from_millis(100), longest_delay: Duration::from_secs(5), deadline: Duration::from_secs(60) }
    }
}

impl Policy {
    /// For a person who waits for the answer: what does not pass within a few seconds is told instead.
    #[must_use]
    pub const fn interactive() -> Self {
        Self { first_delay: Duration::from_millis(100), longest_delay: Duration::from_secs(2), deadline: Duration::from_secs(8) }
    }

    /// One attempt.
    #[must_use]
    pub const fn once() -> Self {
        Self { first_delay: Duration::ZERO, longest_delay: Duration::ZERO, deadline: Duration::ZERO }
    }

    /// Does something until it succeeds, fails for good, or the deadline is near. The last error is returned.
    ///
    /// # Errors
    /// As the operation's.
    pub async fn run<T, Attempt>(&self, mut operation: impl FnMut() -> Attempt) -> Result<T>
    where
        Attempt: Future<Output = Result<T>>,
    {
        let deadline = Deadline::after(self.deadline);
        let mut delays = self.delays();
        loop {
            let error = match operation().await {
                Err(error) if error.is_retryable() => error,
                done => return done,
            };
            match delays.next() {
                Some(delay) if delay < deadline.remaining() => {
                    tracing::debug!(%error, ?delay, "trying again");
                    tokio::time::sleep(delay).await;
                }
                _ => return Err(error),
            }
        }
    }

    fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::default()
            .with_min_delay(self.first_delay)
            .with_max_delay(self.longest_delay)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// A store whose operations are tried again.
///
/// A put whose answer was lost is put again, and finds its own object: it returns `AlreadyExists`, and the caller compares.
/// Of an upload only the beginning is tried again here: what can be repeated of the rest its store repeats itself.
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn Store>,
    policy: Policy,
}

impl Retrying {
    /// Decorates a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, policy: Policy) -> Self {
        Self { inner, policy }
    }
}

#[async_trait]
impl Store for Retrying {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn conditional_put(&self) -> ConditionalPut {
        self.inner.conditional_put()
    }

    fn set_conditional_put(&self, found: ConditionalPut) {
        self.inner.set_conditional_put(found);
    }

    async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<Put> {
        self.policy.run(|| self.inner.put_if_absent(key, body.clone())).await
    }

    async fn put_and_look(&self, key: &ObjectKey, body: Bytes, prefix: &str) -> Result<(Put, Result<Vec<ObjectKey>>)> {
        self.policy.run(|| self.inner.put_and_look(key, body.clone(), prefix)).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        self.policy.run(|| self.inner.upload(key)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.policy.run(|| self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.policy.run(|| self.inner.get_range(key, range.clone())).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        self.policy.run(|| self.inner.size(key)).await
    }

    async fn settle(&self, key: &ObjectKey) -> Result<()> {
        self.policy.run(|| self.inner.settle(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.policy.run(|| self.inner.list(prefix, after, limit)).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.policy.run(|| self.inner.folders(prefix)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.policy.run(|| self.inner.delete(key)).await
    }

    async fn delete_all(&self, keys: &[ObjectKey]) -> Result<()> {
        self.policy.run(|| self.inner.delete_all(keys)).await
    }

    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize> {
        self.policy.run(|| self.inner.sweep(age, own)).await
    }
}
