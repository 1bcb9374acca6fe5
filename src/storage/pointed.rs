//! A store with fail points before and after every operation, for tests that kill the process there.
//!
//! `NAME.before`: nothing has happened yet. `NAME.after`: it has, and nobody knows: where it fails there, the answer is lost.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{ConditionalPut, Entry, Error, Failure, IsOwn, ObjectKey, Put, Result, Store, Upload};
use crate::sys::fail_point;

/// The names of an operation's two points.
type Points = [&'static str; 2];

const PUT: Points = ["put.before", "put.after"];
const UPLOAD: Points = ["upload.before", "upload.after"];
const WRITE: Points = ["write.before", "write.after"];
const FINISH: Points = ["finish.before", "finish.after"];
const GET: Points = ["get.before", "get.after"];
const LIST: Points = ["list.before", "list.after"];
const DELETE: Points = ["delete.before", "delete.after"];

/// A store with fail points.
#[derive(Clone, Debug)]
pub struct Pointed {
    inner: Arc<dyn Store>,
}

impl Pointed {
    /// Decorates a store where points are armed.
    #[must_use]
    pub fn wherever_armed(inner: Arc<dyn Store>) -> Arc<dyn Store> {
        if fail_point::is_armed() { Arc::new(Self { inner }) } else { inner }
    }

    async fn between<T>(&self, points: Points, object: &str, done: impl Future<Output = Result<T>>) -> Result<T> {
        let reach = |point| {
            let failed = |error: std::io::Error| Failure::Unavailable(error.to_string());
            let named = |failure| Error { store: self.url(), operation: "fail point", object: object.to_owned(), failure };
            fail_point::reach(point, || object.to_owned()).map_err(failed).map_err(named)
        };
        reach(points[0])?;
        let result = done.await?;
        reach(points[1])?;
        Ok(result)
    }
}

#[async_trait]
impl Store for Pointed {
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
        self.between(PUT, key.as_str(), self.inner.put_if_absent(key, body)).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        let inner = self.between(UPLOAD, key.as_str(), self.inner.upload(key)).await?;
        Ok(Box::new(PointedUpload { inner, store: self.clone(), key: key.clone() }))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.between(GET, key.as_str(), self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.between(GET, key.as_str(), self.inner.get_range(key, range)).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        self.between(GET, key.as_str(), self.inner.size(key)).await
    }

    async fn settle(&self, key: &ObjectKey) -> Result<()> {
        self.inner.settle(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.between(LIST, prefix, self.inner.list(prefix, after, limit)).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.between(LIST, prefix, self.inner.folders(prefix)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.between(DELETE, key.as_str(), self.inner.delete(key)).await
    }

    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize> {
        self.inner.sweep(age, own).await
    }
}

struct PointedUpload {
    inner: Box<dyn Upload>,
    store: Pointed,
    key: ObjectKey,
}

#[async_trait]
impl Upload for PointedUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.store.between(WRITE, self.key.as_str(), self.inner.write(bytes)).await
    }

    async fn finish(self: Box<Self>) -> Result<Put> {
        self.store.between(FINISH, self.key.as_str(), self.inner.finish()).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
