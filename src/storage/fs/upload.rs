//! A large object on its way into a directory.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{FileStore, failure, flatten};
use crate::storage::{Failure, ObjectKey, Put, Result, Upload};
use crate::sys::durable::Draft;

/// Writes a draft, one piece behind its caller. Dropping it removes the draft, at the latest when the write that is under way ends.
pub struct FileUpload {
    store: FileStore,
    key: String,
    path: PathBuf,
    writing: Option<JoinHandle<io::Result<Draft>>>,
}

impl FileUpload {
    pub fn new(store: FileStore, key: &ObjectKey, path: PathBuf, draft: Draft) -> Self {
        let writing = Some(tokio::task::spawn_blocking(move || Ok(draft)));
        Self { store, key: key.to_string(), path, writing }
    }

    /// The draft, when the write that is under way has ended.
    async fn draft(&mut self) -> Result<Draft> {
        // Taken only after it has ended: a caller that gives up waiting can come again.
        let done = match self.writing.as_mut() {
            Some(writing) => writing.await,
            None => return self.named(Err(Failure::Other("an earlier write failed".to_owned()))),
        };
        self.writing = None;
        let done = flatten(done.map(|written| written.map_err(|error| failure::of(&error))));
        self.named(done)
    }

    fn named<T>(&self, done: super::Done<T>) -> Result<T> {
        self.store.named("upload", self.key.clone(), done)
    }
}

#[async_trait]
impl Upload for FileUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut draft = self.draft().await?;
        self.writing = Some(tokio::task::spawn_blocking(move || draft.write(&bytes).map(|()| draft)));
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Put> {
        let draft = self.draft().await?;
        let path = self.path.clone();
        self.store.run("upload", self.key.as_str(), move |root| root.publish(draft, &path)).await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        // Whether the last write failed does not matter: the draft goes with what it returned.
        if let Some(writing) = self.writing.take() {
            drop(writing.await);
        }
        Ok(())
    }
}
