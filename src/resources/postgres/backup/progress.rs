//! How far a running backup is.

use std::sync::Arc;

use tokio::sync::watch;

use crate::pg::Lsn;

/// What a backup does at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// The server makes a checkpoint and estimates its size.
    #[default]
    Checkpoint,
    /// The server sends files.
    Transfer,
    /// Everything was sent; the WAL up to this position has to reach the repository.
    Wal {
        /// Up to where WAL is stored.
        reached: Lsn,
        /// Up to where it is needed.
        stop: Lsn,
    },
}

/// How far a running backup is. All in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// What the server expects to send.
    pub expected: u64,
    /// What it has sent.
    pub received: u64,
    /// What is stored of it, compressed.
    pub stored: u64,
}

/// Where the parts of a backup report how far they are.
#[derive(Clone, Debug)]
pub struct Reporter(Arc<watch::Sender<Progress>>);

impl Reporter {
    /// A reporter, and where its reports are read.
    #[must_use]
    pub fn new() -> (Self, watch::Receiver<Progress>) {
        let (sender, receiver) = watch::channel(Progress::default());
        (Self(Arc::new(sender)), receiver)
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.0.send_modify(|progress| progress.phase = phase);
    }

    pub(super) fn begin_transfer(&self, expected: u64) {
        self.0.send_modify(|progress| *progress = Progress { phase: Phase::Transfer, expected, ..*progress });
    }

    pub(super) fn received(&self, bytes: u64) {
        self.0.send_modify(|progress| progress.received += bytes);
    }

    pub(super) fn stored(&self, bytes: u64) {
        self.0.send_modify(|progress| progress.stored += bytes);
    }
}
