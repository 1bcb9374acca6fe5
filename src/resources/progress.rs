//! How far something is that takes long, for whoever wants to show it.

use std::sync::Arc;

use tokio::sync::watch;

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Doing {
    /// What it waits for, or which part of the work this is; empty where the verb says it all.
    pub what: String,
    /// How much is done, in bytes before compression.
    pub done_bytes: u64,
    /// How much there is to do, as far as that is known; else zero.
    pub total_bytes: u64,
    /// How much the store has taken, in bytes as stored.
    pub stored_bytes: u64,
}

/// Where the parts of a work report how far they are. Clones report to the same place.
#[derive(Debug, Clone)]
pub struct Progress(Arc<watch::Sender<Doing>>);

impl Default for Progress {
    fn default() -> Self {
        Self::new().0
    }
}

impl Progress {
    /// A progress, and where it is read.
    #[must_use]
    pub fn new() -> (Self, watch::Receiver<Doing>) {
        let (sender, receiver) = watch::channel(Doing::default());
        (Self(Arc::new(sender)), receiver)
    }

    /// Says what is being done, or waited for.
    pub fn say(&self, what: impl Into<String>) {
        self.0.send_modify(|doing| doing.what = what.into());
    }

    /// What was said last.
    #[must_use]
    pub fn said(&self) -> String {
        self.0.borrow().what.clone()
    }

    /// Says how much there is to do.
    pub fn expect(&self, total_bytes: u64) {
        self.0.send_modify(|doing| doing.total_bytes = total_bytes);
    }

    /// Says that so much more is done.
    pub fn done(&self, bytes: u64) {
        self.0.send_modify(|doing| doing.done_bytes += bytes);
    }

    /// Says that the store has taken so much more.
    pub fn stored(&self, bytes: u64) {
        self.0.send_modify(|doing| doing.stored_bytes += bytes);
    }

    /// Replaces everything that was said.
    pub fn set(&self, doing: Doing) {
        self.0.send_replace(doing);
    }
}
