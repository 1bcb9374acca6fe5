//! What happened in a stretch of WAL, small enough for the header of the segment's object.

use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pg::Lsn;

/// One committed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Where the commit record begins: what `pg_waldump` shows, and what `recovery_target_lsn` compares.
    pub lsn: Lsn,
    /// The position after it: when everything before this is stored, the commit is.
    pub end: Lsn,
    /// The time in the record, which `recovery_target_time` compares.
    pub time: Timestamp,
    /// The transaction. Of a prepared one, the id that it was prepared under, or 0 if the record was too long to find it.
    pub xid: u32,
}

/// A named restore point, made with `pg_create_restore_point`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// The name. Two may have the same; recovery stops at the first it meets.
    pub name: String,
    /// Where the record begins.
    pub lsn: Lsn,
    /// The position after it, which is what `pg_create_restore_point` returned.
    pub end: Lsn,
    /// When it was made.
    pub time: Timestamp,
}

/// The first record of a stretch, by which it is seen to join what comes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstRecord {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where the record before it begins, as it says itself (`xl_prev`). None where that one was never finished: the server crashed,
    /// and the link then names an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Lsn>,
}

/// What a stretch of WAL did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Activity {
    /// How many transactions were committed.
    pub commits: u64,
    /// How many were rolled back, with a record of it.
    pub aborts: u64,
    /// The first commit, by position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_commit: Option<Commit>,
    /// The last commit, by position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<Commit>,
    /// The transaction of the first rollback, as `Commit::xid`. It is not stored with an object: who wants it reads the WAL.
    #[serde(skip)]
    pub first_rollback: Option<u32>,
    /// The earliest time in a commit, abort or restore point; times need not rise with positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Timestamp>,
    /// The latest time in a commit, abort or restore point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Timestamp>,
    /// The restore points, as many as fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restore_points: Vec<RestorePoint>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub restore_points_omitted: u64,
    /// The first record that begins in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_record: Option<FirstRecord>,
    /// Where the last record begins that begins in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_record: Option<Lsn>,
    /// The position after the last complete record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Lsn>,
    /// Whether a switch ended the segment early (`pg_switch_wal`, `archive_timeout`, the end of a backup).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub switched: bool,
    /// The records by which the server went over to `wal_level = minimal`, from the start of the first to the end of the last: recovery
    /// passes none of them. It is not stored with an object, because it is recorded as a gap.
    #[serde(skip)]
    pub minimal: Option<Range<Lsn>>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde calls
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The names of restore points take at most this many bytes of JSON, so that an activity fits into an object's header.
const NAME_BYTES_MAX: usize = 1024;
/// And there are at most this many.
const RESTORE_POINTS_MAX: usize = 12;

impl Activity {
    pub(super) fn add_commit(&mut self, commit: Commit) {
        self.commits += 1;
        self.first_commit.get_or_insert(commit);
        self.last_commit = Some(commit);
        self.add_time(commit.time);
    }

    pub(super) fn add_abort(&mut self, time: Timestamp, xid: u32) {
        self.aborts += 1;
        self.first_rollback.get_or_insert(xid);
        self.add_time(time);
    }

    pub(super) fn add_restore_point(&mut self, point: RestorePoint) {
        self.add_time(point.time);
        self.keep(point);
    }

    pub(super) fn add_minimal(&mut self, record: Range<Lsn>) {
        let start = self.minimal.as_ref().map_or(record.start, |records| records.start);
        self.minimal = Some(start..record.end);
    }

    fn keep(&mut self, point: RestorePoint) {
        let length = |name: &str| serde_json::to_string(name).map_or(NAME_BYTES_MAX, |json| json.len());
        let kept: usize = self.restore_points.iter().map(|point| length(&point.name)).sum();
        if kept + length(&point.name) <= NAME_BYTES_MAX && self.restore_points.len() < RESTORE_POINTS_MAX {
            self.restore_points.push(point);
        } else {
            self.restore_points_omitted += 1;
        }
    }

    fn add_time(&mut self, time: Timestamp) {
        self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
        self.latest = Some(self.latest.map_or(time, |latest| latest.max(time)));
    }

    /// Leaves out the names of restore points: whoever needs them reads the WAL.
    pub fn omit_names(&mut self) {
        self.restore_points_omitted += self.restore_points.len() as u64;
        self.restore_points.clear();
    }

    /// Adds what happened in the stretch that follows this one. Where it overlaps, restore points do not count twice.
    pub fn extend(&mut self, later: Self) {
        self.commits += later.commits;
        self.aborts += later.aborts;
        self.first_commit = self.first_commit.or(later.first_commit);
        self.last_commit = later.last_commit.or(self.last_commit);
        self.first_rollback = self.first_rollback.or(later.first_rollback);
        later.earliest.into_iter().chain(later.latest).for_each(|time| self.add_time(time));
        self.restore_points_omitted += later.restore_points_omitted;
        let from = self.restore_points.last().map_or(Lsn::INVALID, |point| point.end);
        later.restore_points.into_iter().filter(|point| point.end > from).for_each(|point| self.keep(point));
        self.first_record = self.first_record.or(later.first_record);
        self.last_record = later.last_record.or(self.last_record);
        self.end = later.end.or(self.end);
        self.switched |= later.switched;
        later.minimal.into_iter().for_each(|records| self.add_minimal(records));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(name: String) -> RestorePoint {
        RestorePoint { name, lsn: Lsn(u64::MAX), end: Lsn(u64::MAX), time: Timestamp::MAX }
    }

    fn commit() -> Commit {
        Commit { lsn: Lsn(u64::MAX), end: Lsn(u64::MAX), time: Timestamp::MAX, xid: u32::MAX }
    }

    #[test]
    fn the_longest_activity_fits_into_a_header() {
        for name in ["\u{1}".repeat(63), "x".to_owned(), "x".repeat(63)] {
            let first_record = Some(FirstRecord { lsn: Lsn(u64::MAX), previous: Some(Lsn(u64::MAX)) });
            let (last_record, end) = (Some(Lsn(u64::MAX)), Some(Lsn(u64::MAX)));
            let mut activity = Activity { first_record, last_record, end, switched: true, ..Activity::default() };
            activity.add_commit(commit());
            for _ in 0..1000 {
                activity.add_restore_point(point(name.clone()));
            }
            let kept = activity.restore_points.len() as u64;
            assert!(kept > 1 && kept + activity.restore_points_omitted == 1000);
            let json = serde_json::to_string(&activity).unwrap();
            assert!(json.len() < 3400, "{} bytes", json.len());
            assert_eq!(serde_json::from_str::<Activity>(&json).unwrap(), activity);
        }
    }

    proptest! {
        #[test]
        fn two_stretches_make_what_one_would_have(times in prop::collection::vec(any::<i32>(), 0..20), cut in 0_usize..20) {
            let scan = |times: &[i32]| {
                let mut activity = Activity::default();
                for time in times {
                    let time = crate::pg::time::from_postgres(i64::from(*time));
                    activity.add_commit(Commit { time, ..commit() });
                }
                activity
            };
            let (head, tail) = times.split_at(cut.min(times.len()));
            let mut both = scan(head);
            both.extend(scan(tail));
            prop_assert_eq!(both, scan(&times));
        }
    }
}
