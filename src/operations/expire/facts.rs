//! What the decisions are made from.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{Keep, Period, Upkeep};
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::repository::{BackupId, Standing};

/// What the configuration wants.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which backups are kept; all where it is not given.
    pub keep: Option<Keep>,
    /// How far back any moment can be restored; as far as the kept backups reach where it is not given.
    pub keep_wal: Option<Period>,
    /// The time zone of days and months.
    pub zone: TimeZone,
}

impl Rules {
    /// The rules of a resource.
    #[must_use]
    pub fn of(upkeep: &Upkeep<'_>, zone: TimeZone) -> Self {
        Self { keep: upkeep.keep.copied(), keep_wal: upkeep.keep_wal, zone }
    }

    /// The moment so far before `now`.
    #[must_use]
    pub fn before(&self, now: Timestamp, period: &Period) -> Timestamp {
        period.before(&now.to_zoned(self.zone.clone()))
    }
}

/// Everything that is known of one resource.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The store's time.
    pub now: Timestamp,
    /// The listed backups.
    pub backups: Vec<Candidate>,
    /// What holds say of backups, in words.
    pub holds: Vec<(BackupId, String)>,
    /// The leases that somebody may be at work under.
    pub leases: Vec<Standing>,
    /// The clusters whose WAL is kept.
    pub lineages: Vec<LineageFacts>,
}

/// A listed backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: BackupId,
    /// When it was complete, by the clock of the host that took it, or by the store's where that was behind.
    pub finished_at: Timestamp,
    /// When it was listed, by the store's clock.
    pub stored_at: Timestamp,
    /// What is stored for it, in bytes.
    pub stored_bytes: u64,
    /// For a base backup: where it lies in the WAL.
    pub base: Option<BaseBackup>,
}

/// Where a base backup lies in the WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseBackup {
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline.
    pub timeline: TimelineId,
    /// The WAL without which it is not consistent.
    pub needs: Range<Lsn>,
}

/// What is stored of one cluster's WAL.
#[derive(Clone, Debug)]
pub struct LineageFacts {
    /// The cluster.
    pub system_id: SystemId,
    /// Its segment size.
    pub segment_size: SegmentSize,
    /// The histories that are stored.
    pub histories: BTreeMap<TimelineId, TimelineHistory>,
    /// The timelines that WAL is stored of, and when the last of it was.
    pub timelines: BTreeMap<TimelineId, Timestamp>,
    /// Up to where WAL was removed before.
    pub horizons: BTreeMap<TimelineId, Lsn>,
}
