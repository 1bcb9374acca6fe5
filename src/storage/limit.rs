//! A limit on how many operations are under way at once.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{ConditionalPut, Entry, IsOwn, ObjectKey, Put, Result, Store, Upload};

/// A store that carries out so many operations at once; the others wait their turn.
///
/// An upload waits at each write and at its end, not in between, so that one task may have several.
#[derive(Debug)]
pub struct Limited {
    inner: Arc<dyn Store>,
    turns: Arc<Semaphore>,
}

impl Limited {
    /// Decorates a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, at_once: usize) -> Self {
        Self { inner, turns: Arc::new(Semaphore::new(at_once.max(1))) }
    }
}

async fn turn(turns: &Semaphore) -> SemaphorePermit<'_> {
    turns.acquire().await.expect("the semaphore is never closed")
}

#[async_trait]
impl Store for Limited {
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
        let _turn = turn(&self.turns).await;
        self.inner.put_if_absent(key, body).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        let _turn = turn(&self.turns).await;
        Ok(Box::new(LimitedUpload { inner: self.inner.upload(key).await?, turns: Arc::clone(&self.turns) }))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        let _turn = turn(&self.turns).await;
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let _turn = turn(&self.turns).await;
        self.inner.get_range(key, range).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        let _turn = turn(&self.turns).await;
        self.inner.size(key).await
    }

    async fn settle(&self, key: &ObjectKey) -> Result<()> {
        let _turn = turn(&self.turns).await;
        self.inner.settle(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let _turn = turn(&self.turns).await;
        self.inner.list(prefix, after, limit).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let _turn = turn(&self.turns).await;
        self.inner.folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let _turn = turn(&self.turns).await;
        self.inner.delete(key).await
    }

    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize> {
        let _turn = turn(&self.turns).await;
        self.inner.sweep(age, own).await
    }
}

struct LimitedUpload {
    inner: Box<dyn Upload>,
    turns: Arc<Semaphore>,
}

#[async_trait]
impl Upload for LimitedUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let _turn = turn(&self.turns).await;
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<Put> {
        let _turn = turn(&self.turns).await;
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let _turn = turn(&self.turns).await;
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStore;
    use crate::storage::faulty::{Effect, Fault, Faulty, Operation};

    #[tokio::test]
    async fn no_more_than_so_many_are_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let faulty = Arc::new(Faulty::new(store));
        faulty.inject(Fault::on(Operation::Size, Effect::Hang).times(2));
        let limited = Arc::new(Limited::new(faulty.clone(), 2));
        let key = ObjectKey::new("a").unwrap();
        let ask = || {
            let (limited, key) = (limited.clone(), key.clone());
            tokio::spawn(async move { limited.size(&key).await })
        };
        let hanging = [ask(), ask()];
        while faulty.calls(Operation::Size) < 2 {
            tokio::task::yield_now().await;
        }
        let third = ask();
        assert!(tokio::time::timeout(Duration::from_millis(50), third).await.is_err());
        assert_eq!(faulty.calls(Operation::Size), 2);
        hanging.iter().for_each(tokio::task::JoinHandle::abort);
        assert_eq!(limited.size(&key).await.unwrap(), None);
    }
}
