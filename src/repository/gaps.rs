//! WAL that is lost: recorded, so that a hole is never taken for the end.

use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::wal::WalArchive;
use super::{Damaged, Error, Listed, Result, Stored, keys, record};
use crate::pg::{Lsn, TimelineId};
use crate::storage::{Entry, list_all};

/// Why WAL is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapCause {
    /// The server removed it before it was stored: the slot was lost, dropped or made too late.
    RemovedByServer,
    /// It was never stored, or was deleted from the store: WAL is stored before and behind it.
    NotStored,
    /// It is stored as the server sent it, but its records do not follow one another: recovery ends there.
    BrokenRecords,
    /// It is stored, and is the record by which the server went over to `wal_level = minimal`: recovery goes no further.
    WalLevelMinimal,
    /// The record of it is damaged; where it was is known from the record's name.
    Unknown,
}

impl GapCause {
    /// Whether the WAL in the gap is stored, and recovery cannot pass it all the same.
    #[must_use]
    pub const fn is_of_stored_wal(self) -> bool {
        matches!(self, Self::BrokenRecords | Self::WalLevelMinimal)
    }
}

/// A stretch of WAL that recovery cannot pass: it is not stored and cannot be had any more, or it is nothing to recover from.
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
    /// What it is called: its timeline and where it begins and ends.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}@{}-{}", self.timeline, self.start, self.end)
    }

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
        self.put_record(&key, gap).await
    }

    /// All recorded gaps, in the order of their timelines and positions. One whose record is damaged is among them: its name says where
    /// it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn gaps(&self) -> Result<Listed<Gap>> {
        let mut found = Listed::default();
        for entry in list_all(self.repository().store.as_ref(), &keys::gaps(self.resource(), self.system_id())).await? {
            match self.gap(&entry).await {
                Ok(gap) => found.records.push(gap),
                Err(Error::Storage(error)) if error.is_not_found() => {}
                Err(error) => {
                    found.damaged.push(Damaged::of(&entry.key, error)?);
                    found.records.extend(named(&entry));
                }
            }
        }
        Ok(found)
    }

    async fn gap(&self, entry: &Entry) -> Result<Gap> {
        let bytes = self.repository().store.get(&entry.key).await?;
        let gap: Gap = record::value(&entry.key, record::open(&entry.key, &bytes)?)?;
        if keys::gap(self.resource(), self.system_id(), gap.timeline, &(gap.start..gap.end)) == entry.key {
            return Ok(gap);
        }
        let detail = format!("it tells of a gap from {} to {} on timeline {}", gap.start, gap.end, gap.timeline);
        Err(Error::Malformed { object: entry.key.to_string(), detail })
    }
}

/// What the name of a damaged record says: `TIMELINE-START-END.json`.
fn named(entry: &Entry) -> Option<Gap> {
    let name = entry.key.file_name().strip_suffix(".json")?;
    let mut parts = name.split('-').map(|digits| u64::from_str_radix(digits, 16).ok());
    let (timeline, start, end) = (parts.next()??, parts.next()??, parts.next()??);
    let timeline = TimelineId(u32::try_from(timeline).ok()?);
    Some(Gap { timeline, start: Lsn(start), end: Lsn(end), cause: GapCause::Unknown, noticed_at: entry.modified })
}
