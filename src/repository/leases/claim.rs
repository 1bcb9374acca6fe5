//! Taking a lease, renewing it, giving it back.

use std::time::Duration;

use jiff::Timestamp;

use super::terms::{Holder, LeaseName, LeaseRecord, LeaseState, Protects};
use super::{Leases, Standing, StoreClock};
use crate::repository::{Error, Result, keys, record};
use crate::storage::{ConditionalPut, Put, list_all};
use crate::sys::clock;

/// On a store that ignores conditions, how long to wait before looking who won.
const SETTLE: Duration = Duration::from_secs(1);

/// What a lease is wanted for.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its name.
    pub name: LeaseName,
    /// What for, in words.
    pub purpose: String,
    /// What retention must not remove meanwhile.
    pub protects: Protects,
    /// How long it lasts without being renewed; counted in seconds.
    pub lease: Duration,
    /// Whether a lease of that name that is alive is taken over: the name belongs to this place alone.
    pub take_over: bool,
}

/// What became of an attempt to take a lease.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Ours(Lease),
    /// Somebody else has it.
    Held(Standing),
}

/// A lease that is held by this value.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    name: LeaseName,
    generation: u64,
    record: LeaseRecord,
    clock: StoreClock,
}

impl Leases {
    /// Takes a lease, unless somebody else has it and is alive.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn acquire(&self, terms: &Terms) -> Result<Acquired> {
        let record = terms.record();
        loop {
            let newest = self.newest(&terms.name).await?;
            if let Some(standing) = &newest
                && !terms.take_over
                && standing.record.state == LeaseState::Held
                && standing.is_alive(self.store_clock().await?.now())
            {
                return Ok(Acquired::Held(standing.clone()));
            }
            let generation = newest.map_or(1, |standing| standing.generation + 1);
            if let Some(stored_at) = create(self, &terms.name, generation, &record).await? {
                let (leases, name, clock) = (self.clone(), terms.name.clone(), StoreClock::showing(stored_at));
                return Ok(Acquired::Ours(Lease { leases, name, generation, record, clock }));
            }
        }
    }
}

impl Terms {
    fn record(&self) -> LeaseRecord {
        LeaseRecord {
            holder: Holder::here(),
            purpose: self.purpose.clone(),
            protects: self.protects.clone(),
            state: LeaseState::Held,
            lease_s: self.lease.as_secs().max(1),
            made_at: clock::now(),
            left: false,
        }
    }
}

/// Creates a generation. When it was stored, if it is now the last one and ours; `None` where somebody was faster.
pub(super) async fn create(leases: &Leases, name: &LeaseName, generation: u64, made: &LeaseRecord) -> Result<Option<Timestamp>> {
    let store = &leases.repository.store;
    let key = keys::lease(&leases.resource, name, generation);
    let put = store.put_if_absent(&key, record::seal(made)).await?;
    if put == Put::Created && store.conditional_put() == ConditionalPut::LookedUp {
        tokio::time::sleep(SETTLE).await;
    }
    // The answer to a put that was tried again may be that of the first attempt; and where conditions are ignored, the last writer wins.
    if (put == Put::AlreadyExists || store.conditional_put() == ConditionalPut::LookedUp) && !is_ours(leases, &key, made).await? {
        return Ok(None);
    }
    let listed = list_all(store.as_ref(), &keys::lease_folder(&leases.resource, name)).await?;
    let numbered = |entry: &crate::storage::Entry| keys::parse_lease(&entry.key).map(|(_, number)| number);
    // Whoever slept for long may create a number that has come and gone: it is not the last one then.
    if listed.iter().filter_map(numbered).any(|number| number > generation) {
        store.delete(&key).await?;
        return Ok(None);
    }
    for earlier in listed.iter().filter(|entry| numbered(entry).is_some_and(|number| number < generation)) {
        store.delete(&earlier.key).await?;
    }
    Ok(listed.iter().find(|entry| entry.key == key).map(|entry| entry.modified))
}

async fn is_ours(leases: &Leases, key: &crate::storage::ObjectKey, made: &LeaseRecord) -> Result<bool> {
    match leases.repository.store.get(key).await {
        Ok(bytes) => {
            Ok(record::open(key, &bytes)
                .is_ok_and(|json| record::value(key, json).is_ok_and(|found: LeaseRecord| found == *made)))
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Lease {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &LeaseName {
        &self.name
    }

    /// The store's clock, as it was read when the lease was taken or last renewed.
    #[must_use]
    pub const fn clock(&self) -> &StoreClock {
        &self.clock
    }

    /// How long it lasts without being renewed.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_secs(self.record.lease_s)
    }

    /// Renews it.
    ///
    /// # Errors
    /// `Error::LeaseLost` where it was taken over or broken; otherwise when the store fails, and it is not known.
    pub async fn renew(&mut self) -> Result<()> {
        self.advance(LeaseState::Held).await
    }

    /// Gives it back.
    ///
    /// # Errors
    /// As `renew`. It then ends when it gets too old.
    pub async fn release(mut self) -> Result<()> {
        if self.name.is_used_again() {
            return self.advance(LeaseState::Released).await;
        }
        let key = keys::lease(&self.leases.resource, &self.name, self.generation);
        Ok(self.leases.repository.store.delete(&key).await?)
    }

    /// Leaves it behind for so long: what it protects stays until then.
    ///
    /// # Errors
    /// As `renew`.
    pub async fn leave_for(mut self, lease: Duration) -> Result<()> {
        (self.record.lease_s, self.record.left) = (lease.as_secs().max(1), true);
        self.renew().await
    }

    async fn advance(&mut self, state: LeaseState) -> Result<()> {
        let next = self.generation + 1;
        // Nobody but us removes it while it is the last.
        let own = keys::lease(&self.leases.resource, &self.name, self.generation);
        let still_there = self.leases.repository.store.size(&own).await?.is_some();
        let record = LeaseRecord { state, made_at: clock::now(), ..self.record.clone() };
        let created = match still_there {
            true => create(&self.leases, &self.name, next, &record).await?,
            false => None,
        };
        let Some(stored_at) = created else {
            return Err(Error::LeaseLost { lease: self.name.to_string(), resource: self.leases.resource.to_string() });
        };
        self.generation = next;
        self.clock = StoreClock::showing(stored_at);
        Ok(())
    }
}
