//! A store that fails on demand, for tests of everything that stands on a store.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use holdfast::storage::{Failure, Store, faulty::{Effect, Fault, Faulty, Operation}};
//! # fn example(store: Arc<dyn Store>) {
//! let faulty = Faulty::new(store);
//! // The third put of a slice is carried out, but its answer is lost.
//! let lost = Effect::FailAfter(Failure::Unavailable("connection reset".to_owned()));
//! faulty.inject(Fault::on(Operation::Put, lost).of("slices").skip(2).times(1));
//! # }
//! ```

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{ConditionalPut, Entry, Error, Failure, IsOwn, ObjectKey, Put, Result, Store, Upload};

/// The operations that faults are told apart by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// `put_if_absent`.
    Put,
    /// `upload`: the beginning of one.
    Upload,
    /// `Upload::write`.
    Write,
    /// `Upload::finish`.
    Finish,
    /// `get` and `get_range`.
    Get,
    /// `size`.
    Size,
    /// `settle`.
    Settle,
    /// `list` and `folders`.
    List,
    /// `delete`.
    Delete,
}

/// What a fault does to an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It fails without being carried out.
    Fail(Failure),
    /// It is carried out, and fails: its answer is lost.
    FailAfter(Failure),
    /// It takes so much longer.
    Delay(Duration),
    /// It never ends.
    Hang,
    /// What is read ends after so many bytes. (Only of `Get`.)
    Truncate(usize),
    /// One bit of what is read is turned over. (Only of `Get`.)
    Alter,
}

/// When something happens, and what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    operation: Operation,
    effect: Effect,
    part: String,
    skip: usize,
    times: usize,
}

impl Fault {
    /// A fault that strikes every such operation until the store is healed.
    #[must_use]
    pub const fn on(operation: Operation, effect: Effect) -> Self {
        Self { operation, effect, part: String::new(), skip: 0, times: usize::MAX }
    }

    /// Only of keys (for `List`: prefixes) that contain `part`.
    #[must_use]
    pub fn of(self, part: &str) -> Self {
        Self { part: part.to_owned(), ..self }
    }

    /// Not the first `skip` of them.
    #[must_use]
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Only so often.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Counts a call; the effect if this is one that it strikes.
    fn strike(&mut self, operation: Operation, object: &str) -> Option<Effect> {
        if self.operation != operation || !object.contains(&self.part) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some(self.effect.clone())
    }
}

/// A store that fails on demand. Clones share their faults.
#[derive(Clone, Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    state: Arc<Mutex<State>>,
    loose: bool,
}

/// How long a store without conditions takes between looking and putting.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Default, Debug)]
struct State {
    faults: Vec<Fault>,
    calls: HashMap<Operation, usize>,
}

impl Faulty {
    /// Decorates a store; it does not fail yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, state: Arc::default(), loose: false }
    }

    /// The same without conditional puts: it looks whether there is an object, and puts its own a moment later, whatever came in between.
    #[must_use]
    pub fn without_conditions(inner: Arc<dyn Store>) -> Self {
        Self { loose: true, ..Self::new(inner) }
    }

    async fn put_loosely(&self, key: &ObjectKey, body: Bytes) -> Result<Put> {
        if self.inner.size(key).await?.is_some() {
            return Ok(Put::AlreadyExists);
        }
        tokio::time::sleep(LOOK).await;
        self.inner.delete(key).await?;
        self.inner.put_if_absent(key, body).await.map(|_| Put::Created)
    }

    /// Adds a fault. Where several strike, the one added first does.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Takes all faults back.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// How many such operations there were, those that failed included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> usize {
        self.state().calls.get(&operation).copied().unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn effect(&self, operation: Operation, object: &str) -> Option<Effect> {
        let mut state = self.state();
        *state.calls.entry(operation).or_default() += 1;
        state.faults.iter_mut().find_map(|fault| fault.strike(operation, object))
    }

    /// Carries out an operation, or what a fault makes of it. Returns what is left for the caller to do to its result.
    async fn struck<T>(
        &self,
        operation: Operation,
        object: &str,
        done: impl Future<Output = Result<T>>,
    ) -> Result<(T, Option<Effect>)> {
        let failed = |failure| Error { store: self.url(), operation: "faulty operation", object: object.to_owned(), failure };
        match self.effect(operation, object) {
            Some(Effect::Fail(failure)) => Err(failed(failure)),
            Some(Effect::FailAfter(failure)) => {
                done.await?;
                Err(failed(failure))
            }
            Some(Effect::Hang) => std::future::pending().await,
            Some(Effect::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                Ok((done.await?, None))
            }
            effect => Ok((done.await?, effect)),
        }
    }

    async fn read(&self, key: &ObjectKey, done: impl Future<Output = Result<Bytes>>) -> Result<Bytes> {
        let (bytes, effect) = self.struck(Operation::Get, key.as_str(), done).await?;
        Ok(match effect {
            Some(Effect::Truncate(length)) => bytes.slice(..length.min(bytes.len())),
            Some(Effect::Alter) => altered(&bytes),
            _ => bytes,
        })
    }
}

fn altered(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x10;
    }
    bytes.into()
}

#[async_trait]
impl Store for Faulty {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn conditional_put(&self) -> ConditionalPut {
        if self.loose { ConditionalPut::LookedUp } else { self.inner.conditional_put() }
    }

    fn set_conditional_put(&self, found: ConditionalPut) {
        self.inner.set_conditional_put(found);
    }

    async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<Put> {
        let put =
            async { if self.loose { self.put_loosely(key, body).await } else { self.inner.put_if_absent(key, body).await } };
        Ok(self.struck(Operation::Put, key.as_str(), put).await?.0)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        let (inner, _) = self.struck(Operation::Upload, key.as_str(), self.inner.upload(key)).await?;
        Ok(Box::new(FaultyUpload { inner, store: self.clone(), key: key.clone() }))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.read(key, self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.read(key, self.inner.get_range(key, range)).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        Ok(self.struck(Operation::Size, key.as_str(), self.inner.size(key)).await?.0)
    }

    async fn settle(&self, key: &ObjectKey) -> Result<()> {
        self.struck(Operation::Settle, key.as_str(), self.inner.settle(key)).await?;
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        Ok(self.struck(Operation::List, prefix, self.inner.list(prefix, after, limit)).await?.0)
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.struck(Operation::List, prefix, self.inner.folders(prefix)).await?.0)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.struck(Operation::Delete, key.as_str(), self.inner.delete(key)).await.map(|_| ())
    }

    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize> {
        self.inner.sweep(age, own).await
    }
}

struct FaultyUpload {
    inner: Box<dyn Upload>,
    store: Faulty,
    key: ObjectKey,
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.store.struck(Operation::Write, self.key.as_str(), self.inner.write(bytes)).await.map(|_| ())
    }

    async fn finish(self: Box<Self>) -> Result<Put> {
        Ok(self.store.struck(Operation::Finish, self.key.as_str(), self.inner.finish()).await?.0)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
