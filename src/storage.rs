//! Object storage: the trait `Store`, one folder per kind of store, and the decorators around them.
//!
//! Invariants: a store knows nothing of PostgreSQL. `put_if_absent` is atomic where the store can do it, and durable when it
//! returns. What a store cannot do it says (`Capabilities`), and `probe` finds out whether it tells the truth.

pub mod conformance;
mod error;
pub mod faulty;
mod fs;
mod key;
mod limit;
pub mod open;
mod pointed;
pub mod probe;
pub mod retry;
pub mod s3;

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

pub use error::{Error, Failure};
pub use fs::FileStore;
pub use key::ObjectKey;
pub use limit::Limited;
pub use pointed::Pointed;
pub use retry::Retrying;
pub use s3::S3Store;

/// The result of a store's operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What became of a put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// The object was not there; now it is, and it is durable.
    Created,
    /// An object of this key was there; it was left untouched. Whether it has the same content is the caller's question.
    AlreadyExists,
}

/// One line of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The object's key.
    pub key: ObjectKey,
    /// Its size in bytes, as stored.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub modified: Timestamp,
}

/// Whether a create-only put can be relied on under a race.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConditionalPut {
    /// Atomic: of several writers exactly one creates the object.
    Atomic,
    /// The store ignores the condition: existence is looked up first, and two writers can race.
    LookedUp,
}

/// Tells the keys of whoever asks from those of others.
pub type IsOwn = fn(&ObjectKey) -> bool;

/// The object storage below a repository.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// The store's URL, without secrets, for messages.
    fn url(&self) -> String;

    /// Whether a create-only put is atomic.
    fn conditional_put(&self) -> ConditionalPut;

    /// Takes note of what `probe` found, now or when the repository was made. A store that knows better ignores it.
    fn set_conditional_put(&self, found: ConditionalPut);

    /// Stores a whole object unless its key is taken. The object is durable when this returns.
    ///
    /// # Errors
    /// After an error the object may or may not be stored: put again with the same bytes.
    async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<Put>;

    /// Stores an object as `put_if_absent`, and when that is over lists the keys that begin with `prefix`: for who wants to know at once
    /// who else writes there. The prefix is that of few objects.
    ///
    /// # Errors
    /// As `put_if_absent`. What the listing fails with is returned beside what became of the put.
    async fn put_and_look(&self, key: &ObjectKey, body: Bytes, prefix: &str) -> Result<(Put, Result<Vec<ObjectKey>>)> {
        let put = self.put_if_absent(key, body).await?;
        let listed = list_all(self, prefix).await;
        Ok((put, listed.map(|entries| entries.into_iter().map(|entry| entry.key).collect())))
    }

    /// Begins an object that is too large for memory. It appears, whole and durable, when the upload is finished.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>>;

    /// Reads a whole object.
    ///
    /// # Errors
    /// `Failure::NotFound` where there is none; anything else does not say that it is absent.
    async fn get(&self, key: &ObjectKey) -> Result<Bytes>;

    /// Reads a part of an object: at most `range`, less where the object ends before.
    ///
    /// # Errors
    /// As `get`.
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes>;

    /// The size of an object in bytes, as stored; `None` where there is none.
    ///
    /// # Errors
    /// When the store cannot answer.
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>>;

    /// An object that is there is durable on return, whoever is just putting it.
    ///
    /// # Errors
    /// `NotFound` where a store notices that it is not there; when the store cannot answer.
    async fn settle(&self, key: &ObjectKey) -> Result<()>;

    /// The objects whose keys begin with `prefix` and come after `after`, in the order of their keys, at most `limit` (and at most
    /// 1000) of them. A page that is not full is the last one.
    ///
    /// # Errors
    /// When the store cannot answer. An empty page is a proof of absence, so no failure is ever turned into one.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>>;

    /// The names directly below `prefix` (which ends in `/` or is empty) that have objects below them, without slash, sorted.
    ///
    /// # Errors
    /// As `list`.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>>;

    /// Removes an object. One that is not there counts as removed.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;

    /// Removes objects. Those that are not there count as removed.
    ///
    /// # Errors
    /// As `delete`; some of them may be removed then.
    async fn delete_all(&self, keys: &[ObjectKey]) -> Result<()> {
        for key in keys {
            self.delete(key).await?;
        }
        Ok(())
    }

    /// Removes what uploads left behind that were neither finished nor aborted, because their process was killed, and that were
    /// last sent something longer ago than `age`. Returns how many there were. Where others may have begun uploads in the same place, only those of
    /// keys that are `own` are removed.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize>;
}

/// An object that is being stored piece by piece. Dropping it without `finish` leaves no object behind.
#[async_trait]
pub trait Upload: Send {
    /// Adds bytes. Buffers at most a few parts; waits while the store is behind.
    ///
    /// # Errors
    /// When a part could not be stored: the upload is then of no more use.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes the object appear, unless its key is taken. When several uploads of one key are finished at the same moment, some S3 services
    /// tell more than one that it won; so give what is uploaded a key of its own.
    ///
    /// # Errors
    /// When it could not be stored as a whole.
    async fn finish(self: Box<Self>) -> Result<Put>;

    /// Gives up and removes what was stored so far.
    ///
    /// # Errors
    /// When the remains could not be removed; they are not part of any object.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// Every entry below `prefix`, page after page.
///
/// # Errors
/// As `Store::list`.
pub async fn list_all(store: &(impl Store + ?Sized), prefix: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map(|entry| entry.key.as_str().to_owned());
        let page = store.list(prefix, after.as_deref(), 1000).await?;
        let last = page.len() < 1000;
        entries.extend(page);
        if last {
            return Ok(entries);
        }
    }
}
