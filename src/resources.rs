//! What can be backed up: the trait that all kinds of resources share, and one folder per kind, none knowing another.
//!
//! The layers above know resources by the trait alone: `registry` makes them from the configuration. Invariants: a backup is listed only
//! when everything of it is stored and checked; of one that fails or is cancelled, the content is removed. A restore is planned first,
//! and what carries the plan out decides nothing. `docs/architecture.md` says how a kind is added.

pub mod bucket;
pub mod command;
pub mod dump;
mod exclusions;
mod failure;
pub mod files;
pub mod place;
pub mod postgres;
mod progress;
pub mod redis;
mod registry;
mod run;
mod verified;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::Write;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

pub use failure::{Error, Explained, Result};
pub use progress::{Doing, Progress};
pub use registry::{all, find};
pub use run::{BackedUp, Run};
pub use verified::{Damage, Verified};

use crate::repository::{BackupEntry, Listed, Repository, ResourceName};

/// One thing that is backed up.
#[async_trait]
pub trait Resource: Send + Sync + Debug {
    /// What it is called.
    fn name(&self) -> &ResourceName;

    /// Looks at what would be backed up, and stores nothing.
    ///
    /// # Errors
    /// When a backup would fail for a reason that shows already.
    async fn plan(&self) -> Result<Plan>;

    /// Backs it up now and lists the backup.
    ///
    /// # Errors
    /// Why there is no backup, and what could not be removed of it.
    async fn back_up(&self, run: &Run) -> Result<BackedUp>;

    /// Begins to watch it. What changes from then on ends the returned wait, once the burst that it belongs to is over; so does the time
    /// to look again, because a watch can miss something. Whoever waits begins the next watch, and backs it up then, with
    /// `Run::only_changes`: so no change falls in between. Where changes cannot be noticed the wait has no end.
    ///
    /// # Errors
    /// When the source cannot be watched.
    async fn watch(&self) -> Result<BoxFuture<'static, ()>> {
        Ok(Box::pin(std::future::pending()))
    }

    /// Its listed backups, the oldest first, and the entries that cannot be read.
    ///
    /// # Errors
    /// When the store fails.
    async fn list(&self, repository: &Repository) -> Result<Listed<BackupEntry>> {
        Ok(repository.backups(self.name()).list().await?)
    }

    /// Reads back every byte of a backup and checks it. Damage is a result, not an error.
    ///
    /// # Errors
    /// When the store fails in such a way that nothing is known.
    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified>;

    /// Finds out what a restore would do here, and changes nothing.
    ///
    /// # Errors
    /// When it is impossible or refused.
    async fn plan_restore(&self, run: &Run, backup: &BackupEntry, wanted: &WantedRestore) -> Result<Box<dyn RestorePlan>>;
}

/// What a backup would take, found by looking at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What was found, in a sentence.
    pub found: String,
    /// About how many bytes would be read; none where the source does not say.
    pub plain_bytes: Option<u64>,
    /// What would be left out, or deserves a look.
    pub warnings: Vec<String>,
}

/// What is wanted of a restore.
#[derive(Debug, Clone, Default)]
pub struct WantedRestore {
    /// Where to: what it means is the kind's to say (a directory, a file, `-` for standard output, a URL). None: in place, where the kind
    /// has such a thing.
    pub to: Option<OsString>,
    /// What only some kinds understand.
    pub options: RestoreOptions,
}

/// What only some kinds understand of a restore; typed by the kind.
#[derive(Debug, Clone, Default)]
pub enum RestoreOptions {
    /// Nothing special.
    #[default]
    None,
    /// For a cluster.
    Postgres(Box<postgres::RestoreRequest>),
    /// For the objects of a bucket.
    Bucket(bucket::RestoreRequest),
    /// For the output of a program.
    Command(command::RestoreRequest),
    /// For the data of a Redis server.
    Redis(redis::RestoreRequest),
    /// For trees of files.
    Files(files::RestoreRequest),
    /// For a dump.
    Dump(dump::RestoreRequest),
}

/// A restore that was planned: everything is decided, nothing is changed.
#[async_trait]
pub trait RestorePlan: Send + Debug {
    /// The plan for people: what would be written where, and what would be lost.
    fn text(&self) -> String;

    /// The plan for programs.
    fn json(&self) -> serde_json::Value;

    /// Whether it needs no further word: a plan that would change what is there waits for `--apply`.
    fn is_confirmed(&self) -> bool {
        true
    }

    /// Carries it out. Content that goes to standard output goes to `output`, and nothing else does.
    ///
    /// # Errors
    /// When an object is damaged or something cannot be written.
    async fn carry_out(self: Box<Self>, run: &Run, output: &mut (dyn Write + Send)) -> Result<Restored>;
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was done and what to do next, for people. Empty where the content went to standard output.
    pub text: String,
    /// The same for programs.
    pub json: serde_json::Value,
    /// How much of what was to be done was not: the text names it.
    pub undone: usize,
}

impl Restored {
    /// A restore that did all that was planned.
    #[must_use]
    pub const fn whole(text: String, json: serde_json::Value) -> Self {
        Self { text, json, undone: 0 }
    }
}
