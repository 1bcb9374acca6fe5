//! A bucket whose objects belong to somebody else: any keys, with their types, metadata and tags, listed, read and written.
//!
//! Invariants: every request has a time limit and is tried again as the options' policy says. Keys are those of the service, without the
//! prefix of the options, and no order of listings is relied on. A piece of an object is of the version that was asked for, or none.

mod listing;
mod read;
mod sum;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use sum::{Md5Hasher, Md5Sum};
pub use write::BucketUpload;

use super::{Options, S3Store};
use crate::storage::{Error, Result, Store};

/// A bucket, or what lies below a prefix of one. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: S3Store,
    /// What the last request failed with that may pass; nothing once one has passed. Clones share it.
    trouble: Arc<Mutex<Option<String>>>,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key, without the bucket's prefix.
    pub key: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// When it was stored, to the second.
    pub modified: Timestamp,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListedPage {
    /// The objects, in whatever order the service has.
    pub objects: Vec<ListedObject>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

/// What an object carries besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Cache-Control`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// User metadata, the names without `x-amz-meta-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What became of reading an object.
#[derive(Clone, Debug)]
pub enum Reading<T> {
    /// Here it is.
    Here(T),
    /// It is not the version any more that was asked for.
    Changed,
    /// There is none of that key.
    Gone,
}

/// The first piece of an object, and what the service says of the whole.
#[derive(Clone, Debug)]
pub struct FirstPiece {
    /// The object: its size is that of the whole.
    pub object: ListedObject,
    /// What it carries; tags are read on their own.
    pub description: Description,
    /// Whether the service says that it has tags.
    pub has_tags: bool,
    /// The MD5 sum that its ETag may be, where the content travels unguarded.
    pub md5: Option<Md5Sum>,
    /// Its first bytes; all of them where it is no larger than what was asked for.
    pub piece: Bytes,
}

impl Bucket {
    /// A client of that bucket. Nothing is asked of the service yet.
    pub async fn connect(options: Options) -> Self {
        Self { store: S3Store::connect(options).await, trouble: Arc::default() }
    }

    /// Why the service is asked again and again, while it is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something until it passes, fails for good, or has been tried for long enough.
    async fn tried<T, Attempt>(&self, mut attempt: impl FnMut() -> Attempt) -> Result<T>
    where
        Attempt: Future<Output = Result<T>>,
    {
        let noted = || {
            let answer = attempt();
            async move { self.noted(answer.await) }
        };
        Box::pin(self.store.options.retry.run(noted)).await
    }

    fn noted<T>(&self, done: Result<T>) -> Result<T> {
        let trouble = done.as_ref().err().filter(|error| error.is_retryable()).map(Error::to_string);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        done
    }

    /// The bucket's URL, without secrets.
    #[must_use]
    pub fn url(&self) -> String {
        self.store.url()
    }

    /// A page of the objects whose keys begin with `prefix`: the first one, or the one that an earlier page leads to. At most `limit`
    /// objects, and at most 1000.
    ///
    /// # Errors
    /// When the service does not answer or refuses. An empty page is never a failure in disguise.
    pub async fn page(&self, prefix: &str, from: Option<&str>, limit: usize) -> Result<ListedPage> {
        let page = || async { self.store.named("list", prefix, listing::page(&self.store, prefix, from, limit).await) };
        self.tried(page).await
    }

    /// What an object is like now; `None` where there is none.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub async fn look_at(&self, key: &str) -> Result<Option<ListedObject>> {
        let look = || async { self.store.named("look at", key, read::look(&self.store, key).await) };
        Box::pin(self.store.options.retry.run(look)).await
    }

    /// Reads the first `limit` bytes of an object, whatever version it has.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub async fn first_piece(&self, key: &str, limit: u64) -> Result<Reading<FirstPiece>> {
        let read = || async { self.store.named("get", key, read::first(&self.store, key, limit).await) };
        self.tried(read).await
    }

    /// Reads a piece of the version of an object that has this ETag; all of `range` is there.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub async fn piece(&self, key: &str, range: Range<u64>, etag: &str) -> Result<Reading<Bytes>> {
        let read = || async { self.store.named("get", key, read::piece(&self.store, key, range.clone(), etag).await) };
        self.tried(read).await
    }

    /// The tags of an object; none where the service knows no tags.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub async fn tags(&self, key: &str) -> Result<Reading<BTreeMap<String, String>>> {
        let read = || async { self.store.named("get the tags", key, read::tags(&self.store, key).await) };
        self.tried(read).await
    }

    /// Stores an object, in place of one that may be there.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub async fn put(&self, key: &str, description: &Description, body: Bytes) -> Result<()> {
        let put = || async { self.store.named("put", key, write::put(&self.store, key, description, body.clone()).await) };
        self.tried(put).await
    }

    /// Begins an object of the key and size of `like`, which may be too large for memory; where it can be, it gets the same ETag.
    #[must_use]
    pub fn upload(&self, like: &ListedObject, description: Description) -> BucketUpload {
        BucketUpload::new(self.store.clone(), like, description)
    }

    /// Removes an object. One that is not there counts as removed.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let delete = || async { self.store.named("delete", key, write::delete(&self.store, key).await) };
        self.tried(delete).await
    }
}
