//! Up to where retention has removed WAL: recorded before it is removed, so that what is gone never looks like the end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::wal::WalArchive;
use super::{Result, keys, record};
use crate::pg::{Lsn, TimelineId};
use crate::storage::list_all;

/// WAL of a timeline that lies below a position, and is not stored, was removed by retention. It never lies above what is kept so that
/// a backup can be recovered to the end of a timeline; what single backups need to be consistent may lie below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// The timeline.
    pub timeline: TimelineId,
    /// The position: the first byte of a segment. 0/0 where only backups have gone: then no WAL was removed for them yet.
    pub below: Lsn,
    /// When it was recorded.
    pub made_at: Timestamp,
}

impl WalArchive {
    /// Records a horizon. Durable when this returns; only then may WAL below it be removed.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn put_horizon(&self, horizon: &Horizon) -> Result<()> {
        let key = keys::horizon(self.resource(), self.system_id(), horizon.timeline, horizon.below);
        self.repository().store.put_if_absent(&key, record::seal(horizon)).await?;
        Ok(())
    }

    /// The highest horizon of each timeline that has one, from keys alone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn horizons(&self) -> Result<BTreeMap<TimelineId, Lsn>> {
        let mut highest = BTreeMap::new();
        let entries = list_all(self.repository().store.as_ref(), &keys::horizons(self.resource(), self.system_id())).await?;
        for (timeline, below) in entries.iter().filter_map(|entry| keys::parse_horizon(&entry.key)) {
            let known = highest.entry(timeline).or_insert(below);
            *known = below.max(*known);
        }
        Ok(highest)
    }

    /// Removes the records that a higher one of the same timeline has made superfluous.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tidy_horizons(&self) -> Result<()> {
        let store = &self.repository().store;
        let highest = self.horizons().await?;
        for entry in list_all(store.as_ref(), &keys::horizons(self.resource(), self.system_id())).await? {
            let parsed = keys::parse_horizon(&entry.key);
            if parsed.is_some_and(|(timeline, below)| highest.get(&timeline).is_some_and(|highest| below < *highest)) {
                store.delete(&entry.key).await?;
            }
        }
        Ok(())
    }
}
