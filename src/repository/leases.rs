//! Leases: who is at work on a resource right now, so that nobody else does the same and nothing that is in use is removed.
//!
//! A store can create an object that is not there, and cannot replace one. So a lease is a row of objects, one for each
//! *generation*: taking it, renewing it, giving it back and breaking it all create the next one, which only one of several can. The last
//! generation is the one that counts; the ones before it are removed by whoever made it, and the last of a name that is used again
//! stays, because a number is never used twice.
//!
//! Invariants: ages are told by the store's clock alone, between the time at which a generation was stored and that at which another
//! object was, so that no host's clock matters. A lease whose age passes what its holder promised (and half as much again) is dead: it may be
//! taken over, or broken. Its holder, should it still live, notices with its next renewal. What must not be done without the lease is
//! preceded by a renewal that succeeded (`confirm`).
//!
//! Where the store ignores conditions, two that create a generation at the same moment may both be told that they did. There the
//! winner is the one whose record is found a while later; a store that is slower than that can let both in.

mod claim;
mod held;
mod terms;

use std::time::Duration;

pub use claim::{Acquired, Lease, Terms};
pub use held::HeldLease;
pub use terms::{Holder, LeaseName, LeaseRecord, LeaseState, Protects};

use super::{Error, Repository, ResourceName, Result, keys, record};
use crate::storage::{Entry, list_all};
use crate::sys::clock;
use crate::sys::host;
use jiff::Timestamp;

/// A broken lease is forgotten after so long: its holder, if it ever wakes up, then misses its own generation.
const FORGET: Duration = Duration::from_hours(7 * 24);
/// A record that cannot be read is not minded any more after so long.
const UNREADABLE: Duration = Duration::from_hours(24);

/// The leases on one resource.
#[derive(Clone, Debug)]
pub struct Leases {
    repository: Repository,
    resource: ResourceName,
}

/// The last generation of a lease, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: LeaseName,
    /// The number of the generation.
    pub generation: u64,
    /// What stands in it.
    pub record: LeaseRecord,
    /// When it was stored, by the store's clock.
    pub stored_at: Timestamp,
}

/// A clock that shows the store's time, whatever the host's clock does.
#[derive(Clone, Copy, Debug)]
pub struct StoreClock {
    at: Timestamp,
    read: std::time::Instant,
}

impl StoreClock {
    /// A clock that shows `at` now.
    #[must_use]
    pub fn showing(at: Timestamp) -> Self {
        Self { at, read: clock::instant() }
    }

    /// The store's time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = clock::instant().saturating_duration_since(self.read);
        self.at.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

impl Standing {
    /// Whether somebody may be at work under this lease.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.record.state == LeaseState::Held && self.age(now) <= self.record.patience()
    }

    /// When it is dead unless it is renewed.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.stored_at.checked_add(self.record.patience()).unwrap_or(Timestamp::MAX)
    }

    /// How long ago it was stored.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.stored_at)).unwrap_or_default()
    }
}

impl Repository {
    /// The leases on a resource.
    #[must_use]
    pub fn leases(&self, resource: &ResourceName) -> Leases {
        Leases { repository: self.clone(), resource: resource.clone() }
    }
}

impl Leases {
    /// The resource that they are on.
    #[must_use]
    pub const fn resource(&self) -> &ResourceName {
        &self.resource
    }

    /// The last generation of every lease.
    ///
    /// # Errors
    /// When the store fails, or a record that is not old cannot be read.
    pub async fn standing(&self) -> Result<Vec<Standing>> {
        let entries = list_all(self.repository.store.as_ref(), &keys::leases(&self.resource)).await?;
        let mut last: Vec<(LeaseName, u64, Entry)> = Vec::new();
        for entry in entries {
            let Some((name, generation)) = keys::parse_lease(&entry.key) else { continue };
            match last.last_mut() {
                Some(known) if known.0 == name && known.1 < generation => (known.1, known.2) = (generation, entry),
                Some(known) if known.0 == name => {}
                _ => last.push((name, generation, entry)),
            }
        }
        let mut standing = Vec::new();
        for (name, generation, entry) in last {
            standing.extend(self.read(name, generation, entry).await?);
        }
        standing.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(standing)
    }

    /// The leases that somebody may be at work under.
    ///
    /// # Errors
    /// As `standing`.
    pub async fn alive(&self, clock: &StoreClock) -> Result<Vec<Standing>> {
        let mut standing = self.standing().await?;
        standing.retain(|lease| lease.is_alive(clock.now()));
        Ok(standing)
    }

    /// Reads what the store's clock shows, by storing something small and looking at its time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn store_clock(&self) -> Result<StoreClock> {
        let key = keys::lease_clock(&self.resource, host::mark());
        let store = &self.repository.store;
        store.put_if_absent(&key, record::seal(&serde_json::json!({ "by": host::name() }))).await?;
        let read = clock::instant();
        let listed = store.list(key.as_str(), None, 1).await?;
        store.delete(&key).await?;
        let vanished = || Error::Malformed { object: key.to_string(), detail: "it was removed at once".to_owned() };
        let at = listed.first().ok_or_else(vanished)?.modified;
        Ok(StoreClock { at, read })
    }

    /// Ends a dead lease, so that its holder, should it still live, cannot go on under it. False where it turned out to be alive.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn break_dead(&self, dead: &Standing) -> Result<bool> {
        let record = LeaseRecord { state: LeaseState::Broken, holder: Holder::here(), ..dead.record.clone() };
        let made = claim::create(self, &dead.name, dead.generation + 1, &record).await?;
        Ok(made.is_some())
    }

    /// Ends a lease that its holder has left behind. Its name must be one that is never used again.
    ///
    /// # Errors
    /// When the store fails: it then ends when it gets too old.
    pub async fn end(&self, name: &LeaseName) -> Result<()> {
        let Some(left) = self.newest(name).await? else { return Ok(()) };
        Ok(self.repository.store.delete(&keys::lease(&self.resource, name, left.generation)).await?)
    }

    /// Removes what is left of leases that nobody asks for any more, and clocks that a killed process left behind.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tidy(&self, clock: &StoreClock) -> Result<()> {
        let store = &self.repository.store;
        for entry in list_all(store.as_ref(), &keys::lease_clocks(&self.resource)).await? {
            if entry.modified.duration_until(clock.now()) > UNREADABLE.try_into().unwrap_or_default() {
                store.delete(&entry.key).await?;
            }
        }
        for lease in self.standing().await? {
            if lease.record.state == LeaseState::Broken && !lease.name.is_used_again() && lease.age(clock.now()) > FORGET {
                store.delete(&keys::lease(&self.resource, &lease.name, lease.generation)).await?;
            }
        }
        Ok(())
    }

    /// Reads a generation; `None` where it was removed meanwhile because there is a later one, or the lease was given back.
    async fn read(&self, name: LeaseName, generation: u64, entry: Entry) -> Result<Option<Standing>> {
        let bytes = match self.repository.store.get(&entry.key).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return self.newest(&name).await,
            Err(error) => return Err(error.into()),
        };
        let record = match record::open(&entry.key, &bytes).and_then(|json| record::value(&entry.key, json)) {
            Ok(record) => record,
            Err(error) => self.unreadable(&entry, &error).await?,
        };
        Ok(Some(Standing { name, generation, record, stored_at: entry.modified }))
    }

    /// A damaged record stands in the way for a day, and not for ever.
    async fn unreadable(&self, entry: &Entry, error: &Error) -> Result<LeaseRecord> {
        let now = self.store_clock().await?.now();
        if entry.modified.duration_until(now) < UNREADABLE.try_into().unwrap_or_default() {
            return Err(Error::Malformed { object: entry.key.to_string(), detail: error.to_string() });
        }
        Ok(LeaseRecord::unreadable())
    }

    /// The last generation of one lease; `None` where there is none.
    ///
    /// # Errors
    /// As `standing`.
    pub async fn newest(&self, name: &LeaseName) -> Result<Option<Standing>> {
        loop {
            let entries = list_all(self.repository.store.as_ref(), &keys::lease_folder(&self.resource, name)).await?;
            let numbered = entries.into_iter().filter_map(|entry| Some((keys::parse_lease(&entry.key)?.1, entry)));
            let Some((generation, entry)) = numbered.max_by_key(|(generation, _)| *generation) else { return Ok(None) };
            match self.repository.store.get(&entry.key).await {
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
                Ok(bytes) => {
                    let record = match record::open(&entry.key, &bytes).and_then(|json| record::value(&entry.key, json)) {
                        Ok(record) => record,
                        Err(error) => self.unreadable(&entry, &error).await?,
                    };
                    return Ok(Some(Standing { name: name.clone(), generation, record, stored_at: entry.modified }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
