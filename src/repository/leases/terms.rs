//! What stands in a lease.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pg::{Lsn, SystemId};
use crate::repository::BackupId;
use crate::sys::{clock, host};

/// What a lease is on, within its resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseName(String);

impl LeaseName {
    /// On a backup that is being taken.
    #[must_use]
    pub fn backup(id: &BackupId) -> Self {
        Self(format!("backup-{id}"))
    }

    /// Whether it is on a backup that is being taken.
    #[must_use]
    pub fn is_of_backup(&self) -> bool {
        self.0.starts_with("backup-")
    }

    /// On a backup that is being restored: one of several.
    #[must_use]
    pub fn restore(mark: u64) -> Self {
        Self(format!("restore-{mark:010X}"))
    }

    /// On the WAL that a recovery in one place needs.
    #[must_use]
    pub fn recovery(place: &crate::codec::Hash) -> Self {
        Self(format!("recovery-{}", &place.to_string()[..16]))
    }

    /// On a kind of work that one process does at a time: `backup`, `expire`.
    #[must_use]
    pub fn job(job: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        Self(format!("job-{}", job.chars().map(plain).take(40).collect::<String>()))
    }

    /// Reads a part of a key.
    pub(in crate::repository) fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let kind = text.split_once('-').map(|(kind, _)| kind);
        let known = matches!(kind, Some("backup" | "restore" | "recovery" | "job"));
        (known && text.len() <= 100 && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// Whether the name is taken again and again, so that its last generation has to stay.
    pub(super) fn is_used_again(&self) -> bool {
        self.0.starts_with("job-") || self.0.starts_with("recovery-")
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The host's name.
    pub host: String,
    /// The process id there.
    pub process: u32,
    /// Sets it apart from others of that host and number.
    pub mark: String,
}

impl Holder {
    /// This process, for one lease.
    #[must_use]
    pub fn here() -> Self {
        Self { host: host::name(), process: std::process::id(), mark: format!("{:010X}", host::mark()) }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.process, self.host)
    }
}

/// Whether a lease is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// Until it gets too old.
    Held,
    /// Its holder has given it back.
    Released,
    /// It was dead, and somebody relies on that.
    Broken,
}

/// What retention must not remove while a lease is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protects {
    /// Nothing: it only keeps others from doing the same.
    Nothing,
    /// A backup, listed or not, and what is needed to recover from it to any moment.
    Backup(BackupId),
    /// All WAL of a cluster from a position on.
    Wal {
        /// The cluster.
        system_id: SystemId,
        /// The position, on whatever timeline.
        from: Lsn,
    },
}

/// One generation of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Who made it.
    pub holder: Holder,
    /// What for, in words.
    pub purpose: String,
    /// What must not be removed meanwhile.
    pub protects: Protects,
    /// Whether it is in force.
    pub state: LeaseState,
    /// How soon the holder promises to renew it, in seconds.
    pub lease_s: u64,
    /// When it was made, by the holder's clock: for people only.
    pub made_at: Timestamp,
    /// Whether its holder has done its work, and left it behind for what may follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

impl LeaseRecord {
    /// How old it may get before it counts as dead: half as much again as promised, and the second by which stores round times.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.lease_s.saturating_add(self.lease_s / 2).saturating_add(1))
    }

    /// What stands in for a record that is damaged, and so old that nobody can be at work under it.
    pub(super) fn unreadable() -> Self {
        let holder = Holder { host: "unknown".to_owned(), process: 0, mark: String::new() };
        Self {
            holder,
            purpose: "a record that cannot be read".to_owned(),
            protects: Protects::Nothing,
            state: LeaseState::Broken,
            lease_s: 0,
            made_at: clock::now(),
            left: false,
        }
    }
}
