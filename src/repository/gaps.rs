//! WAL that is lost: recorded, so that a hole is never taken for the end.

use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::marker::to_json;
use super::wal::WalArchive;
use super::{Error, Result, Stored, keys};
use crate::pg::{Lsn, TimelineId};
use crate::storage::{Put, list_all};

/// Why WAL is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapCause {
    /// The server removed it before it was stored: the slot was lost, dropped or made too late.
    RemovedByServer,
}

/// A stretch of WAL that is not stored and cannot be had any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The timeline it is on.
    pub timeline: TimelineId,
    /// Where the stored WAL before it ends.
    pub start: Lsn,
    /// Where the stored WAL after it begins.
    pub end: Lsn,
    /// Why.
    pub cause: GapCause,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

impl Gap {
    /// Whether recovery from `from` to `to` has to pass through it.
    #[must_use]
    pub fn cuts(&self, timeline: TimelineId, range: &Range<Lsn>) -> bool {
        self.timeline == timeline && self.start < range.end && self.end > range.start
    }
}

impl WalArchive {
    /// Records a gap. The same gap again is no news.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn put_gap(&self, gap: &Gap) -> Result<Stored> {
        let key = keys::gap(self.resource(), self.system_id(), gap.timeline, &(gap.start..gap.end));
        match self.repository().store.put_if_absent(&key, to_json(gap)).await? {
            Put::Created => Ok(Stored::New),
            Put::AlreadyExists => Ok(Stored::Identical),
        }
    }

    /// All recorded gaps, in no particular order.
    ///
    /// # Errors
    /// When the store fails or a record cannot be read.
    pub async fn gaps(&self) -> Result<Vec<Gap>> {
        let store = &self.repository().store;
        let mut gaps = Vec::new();
        for entry in list_all(store.as_ref(), &keys::gaps(self.resource(), self.system_id())).await? {
            let bytes = store.get(&entry.key).await?;
            let malformed =
                |error: serde_json::Error| Error::Malformed { object: entry.key.to_string(), detail: error.to_string() };
            gaps.push(serde_json::from_slice(&bytes).map_err(malformed)?);
        }
        Ok(gaps)
    }
}
