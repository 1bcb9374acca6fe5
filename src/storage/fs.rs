//! A directory as the store. It can be a mounted network file system.
//!
//! Invariants: a key is the path of a file below the root, so no key can be the folder of another. A file has its name only when it is
//! whole and on disk, and nothing is ever written to a file that has a name. The folder `.tmp` below the root holds files that
//! are being written; it is also what tells the store from the empty directory that is left when a disk is not mounted.
//! Where it is missing every answer is `NoStore`: absence is claimed only of a store that was there before and after the look.

mod failure;
mod root;
mod upload;
mod walk;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{ConditionalPut, Entry, Error, Failure, IsOwn, ObjectKey, Put, Result, Store, Upload};
use crate::sys::buffer::{buffer, into_bytes};
use root::Root;

/// What a piece of blocking work returns: errors without the operation and the object, which `FileStore::run` adds.
type Done<T> = std::result::Result<T, Failure>;

/// A store in a directory.
#[derive(Clone, Debug)]
pub struct FileStore {
    root: Arc<Root>,
}

impl FileStore {
    /// Makes the directory a store: creates it and those above it where they are missing. Safe to repeat.
    ///
    /// # Errors
    /// When it cannot be created.
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let store = Self { root: Arc::new(Root::new(path.into())) };
        let root = Arc::clone(&store.root);
        let done = tokio::task::spawn_blocking(move || root.create()).await;
        store.named("create", String::new(), flatten(done))?;
        Ok(store)
    }

    /// Opens a directory that `create` has made a store.
    ///
    /// # Errors
    /// `Failure::NoStore` where it is missing or is not one: perhaps the disk is not mounted.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let store = Self { root: Arc::new(Root::new(path.into())) };
        store.run("open", String::new(), |_| Ok(())).await?;
        Ok(store)
    }

    /// Does blocking work on a thread for it, between two looks at the root.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        object: impl Into<String>,
        work: impl FnOnce(&Root) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let root = Arc::clone(&self.root);
        let done = tokio::task::spawn_blocking(move || root.watched(work)).await;
        self.named(operation, object.into(), flatten(done))
    }

    fn named<T>(&self, operation: &'static str, object: String, done: Done<T>) -> Result<T> {
        done.map_err(|failure| Error { store: self.url(), operation, object, failure })
    }
}

/// A panic of the work is passed on as a failure; there is none that a caller could cause.
fn flatten<T>(done: std::result::Result<Done<T>, tokio::task::JoinError>) -> Done<T> {
    done.unwrap_or_else(|error| Err(Failure::Other(error.to_string())))
}

#[async_trait]
impl Store for FileStore {
    fn url(&self) -> String {
        format!("file://{}", self.root.path().display())
    }

    fn conditional_put(&self) -> ConditionalPut {
        ConditionalPut::Atomic
    }

    // The operating system sees to it.
    fn set_conditional_put(&self, _found: ConditionalPut) {}

    async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<Put> {
        let path = self.named("put", key.to_string(), self.root.file(key))?;
        self.run("put", key.as_str(), move |root| put(root, &path, &body)).await
    }

    // One thread's work: that another thread has to be woken for the second half takes longer than the half.
    async fn put_and_look(&self, key: &ObjectKey, body: Bytes, prefix: &str) -> Result<(Put, Result<Vec<ObjectKey>>)> {
        let path = self.named("put", key.to_string(), self.root.file(key))?;
        let begin = prefix.to_owned();
        let (done, found) = self
            .run("put", key.as_str(), move |root| {
                let done = put(root, &path, &body)?;
                Ok((done, keys(root, &begin)))
            })
            .await?;
        Ok((done, self.named("list", prefix.to_owned(), found)))
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        let path = self.named("upload", key.to_string(), self.root.file(key))?;
        let draft = self.run("upload", key.as_str(), |root| root.draft()).await?;
        Ok(Box::new(upload::FileUpload::new(self.clone(), key, path, draft)))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        let path = self.named("get", key.to_string(), self.root.file(key))?;
        self.run("get", key.as_str(), move |_| read_whole(&path).map_err(|error| failure::of(&error))).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let path = self.named("get", key.to_string(), self.root.file(key))?;
        self.run("get", key.as_str(), move |_| read_range(&path, &range).map_err(|error| failure::of(&error))).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        let path = self.named("size", key.to_string(), self.root.file(key))?;
        self.run("size", key.as_str(), move |_| match std::fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) => failure::absent_or(&error).map(|()| None),
        })
        .await
    }

    async fn settle(&self, key: &ObjectKey) -> Result<()> {
        let path = self.named("settle", key.to_string(), self.root.file(key))?;
        self.run("settle", key.as_str(), move |root| root.settle(&path)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let (begin, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.run("list", prefix, move |root| {
            let found =
                walk::page(root.path(), &begin, after.as_deref(), limit.min(1000)).map_err(|error| failure::of(&error))?;
            found.into_iter().map(entry).collect()
        })
        .await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let folder = prefix.to_owned();
        self.run("list", prefix, move |root| walk::folders(root.path(), &folder).map_err(|error| failure::of(&error))).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let path = self.named("delete", key.to_string(), self.root.file(key))?;
        self.run("delete", key.as_str(), move |root| root.delete_all(&[path])).await
    }

    async fn delete_all(&self, keys: &[ObjectKey]) -> Result<()> {
        let Some(first) = keys.first() else { return Ok(()) };
        let paths = keys.iter().map(|key| self.root.file(key)).collect::<Done<Vec<_>>>();
        let paths = self.named("delete", first.to_string(), paths)?;
        self.run("delete", first.as_str(), move |root| root.delete_all(&paths)).await
    }

    async fn sweep(&self, age: Duration, _: IsOwn) -> Result<usize> {
        self.run("sweep", root::DRAFTS, move |root| root.sweep(age)).await
    }
}

fn put(root: &Root, path: &Path, body: &[u8]) -> Done<Put> {
    let mut draft = root.draft()?;
    draft.write(body).map_err(|error| failure::of(&error))?;
    root.publish(draft, path)
}

fn keys(root: &Root, prefix: &str) -> Done<Vec<ObjectKey>> {
    let names = walk::keys(root.path(), prefix).map_err(|error| failure::of(&error))?;
    let key = |name| ObjectKey::new(name).ok_or_else(|| Failure::Other("a file with an impossible name".to_owned()));
    names.into_iter().map(key).collect()
}

fn read_whole(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = buffer(usize::try_from(size).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(into_bytes(bytes))
}

fn read_range(path: &Path, range: &Range<u64>) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let wanted = range.end.min(size).saturating_sub(range.start);
    let mut bytes = buffer(usize::try_from(wanted).map_err(|_| io::ErrorKind::OutOfMemory)?);
    (&file).seek(io::SeekFrom::Start(range.start))?;
    (&file).take(wanted).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == wanted { Ok(into_bytes(bytes)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn entry((name, metadata): (String, std::fs::Metadata)) -> Done<Entry> {
    let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    let modified = modified.ok_or_else(|| Failure::Other(format!("{name} has no time of change")))?;
    let key = ObjectKey::new(name).ok_or_else(|| Failure::Other("a file with an impossible name".to_owned()))?;
    Ok(Entry { key, size: metadata.len(), modified })
}

#[cfg(test)]
mod tests;
