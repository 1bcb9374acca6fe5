//! Whether recovery ended where the plan says: the server's own words, and the history of the timeline that it began. Pure.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;

use crate::pg::history::TimelineHistory;
use crate::pg::recovery::RecoveryTarget;
use crate::pg::{Lsn, TimelineId};
use crate::resources::postgres::restore::plan::{Located, RestorePlan};
use crate::resources::postgres::restore::target::parse_time;

/// The length of the longest page header, which can lie between the end of a record and the beginning of the next.
const PAGE_HEADER_BYTES: u64 = 40;

/// Where the server says that it stopped (`recoveryStopsBefore` and `recoveryStopsAfter` in `access/transam/xlogrecovery.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// As soon as it was consistent.
    Consistent,
    /// Before, or behind, a record.
    Record { before: bool, lsn: Lsn },
    /// Before, or behind, the end of a transaction.
    Transaction { before: bool, commit: bool, xid: u32, time: Option<Timestamp> },
    /// At a restore point.
    RestorePoint { name: String, time: Option<Timestamp> },
}

impl Stopped {
    /// Reads what comes after `recovery stopping `.
    pub(super) fn parse(message: &str) -> Option<Self> {
        if message.starts_with("after reaching consistency") {
            return Some(Self::Consistent);
        }
        if let Some(rest) = message.strip_prefix("at restore point \"") {
            let (name, time) = rest.rsplit_once("\", time ")?;
            return Some(Self::RestorePoint { name: name.to_owned(), time: parse_time(time).ok() });
        }
        let (side, what) = message.split_once(' ')?;
        let before = side == "before";
        if let Some(lsn) = what.strip_prefix("WAL location (LSN) \"") {
            return Some(Self::Record { before, lsn: lsn.trim_end().trim_end_matches('"').parse().ok()? });
        }
        let (kind, rest) = what.split_once(" of transaction ")?;
        let (xid, time) = rest.split_once(", time ")?;
        Some(Self::Transaction { before, commit: kind == "commit", xid: xid.parse().ok()?, time: parse_time(time).ok() })
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |before: &bool| if *before { "before" } else { "behind" };
        let at = |time: &Option<Timestamp>| time.map_or_else(String::new, |time| format!(" of {time}"));
        match self {
            Self::Consistent => f.write_str("at the first consistent point"),
            Self::Record { before, lsn } => write!(f, "{} the record at {lsn}", side(before)),
            Self::Transaction { before, commit, xid, time } => {
                let end = if *commit { "commit" } else { "rollback" };
                write!(f, "{} the {end} of transaction {xid}{}", side(before), at(time))
            }
            Self::RestorePoint { name, time } => write!(f, "at the restore point '{name}'{}", at(time)),
        }
    }
}

/// Where recovery ended, as far as the server says.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    /// Why it stopped; none at the end of the WAL.
    pub(super) stopped: Option<Stopped>,
    /// Where the last record begins that it read (`redo done at`).
    pub(super) last_read: Option<Lsn>,
    /// Up to where was replayed when it was consistent.
    pub(super) consistent: Option<Lsn>,
    /// The history of the timeline that it began, if it did.
    pub(super) history: Option<TimelineHistory>,
}

/// What is not as planned; empty where recovery ended exactly where it should.
pub(super) fn differences(plan: &RestorePlan, ended: &Ended) -> Vec<String> {
    let mut found = Vec::new();
    let expected = stopped(plan);
    if !agrees(expected.as_ref(), ended.stopped.as_ref()) {
        let text = |stopped: Option<&Stopped>| stopped.map_or_else(|| "at the end of the WAL".to_owned(), ToString::to_string);
        found.push(format!("recovery was to stop {}, and stopped {}", text(expected.as_ref()), text(ended.stopped.as_ref())));
    }
    found.extend(position(plan, ended));
    found.extend(ended.history.as_ref().and_then(|history| timeline(plan, history)));
    found
}

/// Up to where was replayed, as `pg_last_wal_replay_lsn()` has it: behind the last record, where the server's log says where records begin. Where
/// the server has begun no timeline, and did not end as planned, it is not known.
pub(super) fn replayed(plan: &RestorePlan, ended: &Ended) -> Option<Lsn> {
    if let Some(history) = &ended.history {
        return history.parent().map(|parent| parent.end);
    }
    if ended.stopped == Some(Stopped::Consistent) {
        return ended.consistent;
    }
    let as_planned = ended.stopped.is_some() && differences(plan, ended).is_empty();
    left_at(plan).filter(|_| as_planned).map(|left| left.end)
}

/// Where the server should say that it stopped.
fn stopped(plan: &RestorePlan) -> Option<Stopped> {
    let Located { stop, stop_time: time, after, .. } = &plan.located;
    let (inclusive, time) = (plan.stop.inclusive, *time);
    Some(match &plan.stop.target {
        RecoveryTarget::EndOfWal => return None,
        RecoveryTarget::Immediate => Stopped::Consistent,
        RecoveryTarget::Lsn(told) => {
            Stopped::Record { before: !inclusive, lsn: stop.as_ref().map_or(*told, |record| record.start) }
        }
        RecoveryTarget::Time(_) => {
            let commit = after.filter(|commit| stop.as_ref().is_some_and(|stop| stop.start == commit.lsn));
            Stopped::Transaction { before: true, commit: commit.is_some(), xid: commit.map_or(0, |commit| commit.xid), time }
        }
        RecoveryTarget::Xid(xid) => {
            // Where a rollback begins is not known, only where it ends.
            let commit = stop.as_ref().is_none_or(|stop| stop.start < stop.end);
            Stopped::Transaction { before: !inclusive, commit, xid: *xid, time }
        }
        RecoveryTarget::Name(name) => Stopped::RestorePoint { name: name.clone(), time },
    })
}

/// What is not known, the xid of a rollback or a time that was not found, is no difference.
fn agrees(expected: Option<&Stopped>, found: Option<&Stopped>) -> bool {
    let same = |a: &Option<Timestamp>, b: &Option<Timestamp>| a.is_none() || a == b;
    match (expected, found) {
        (
            Some(Stopped::Transaction { before, commit, xid, time }),
            Some(Stopped::Transaction { before: b, commit: c, xid: x, time: t }),
        ) => before == b && commit == c && (*xid == 0 || xid == x) && same(time, t),
        (Some(Stopped::RestorePoint { name, time }), Some(Stopped::RestorePoint { name: n, time: t })) => {
            name == n && same(time, t)
        }
        (expected, found) => expected == found,
    }
}

/// Whether the last record that was read is the one that was meant.
fn position(plan: &RestorePlan, ended: &Ended) -> Option<String> {
    let last_read = ended.last_read?;
    let Located { stop, last_record, .. } = &plan.located;
    let wrong = |wanted: &str| Some(format!("the last record that the server read begins at {last_read}, and not {wanted}"));
    match (&plan.stop.target, stop, last_record) {
        (RecoveryTarget::EndOfWal, _, Some(last)) if last_read < last.start => wrong(&format!("at or behind {}", last.start)),
        (RecoveryTarget::EndOfWal | RecoveryTarget::Immediate, ..) => None,
        // Where a rollback begins is not known, only where it ends.
        (_, Some(stop), _) if stop.start == stop.end && last_read >= stop.end => wrong(&format!("before {}", stop.end)),
        (_, Some(stop), _) if stop.start < stop.end && last_read != stop.start => wrong(&format!("at {}", stop.start)),
        (_, None, Some(last)) if last_read != last.start => wrong(&format!("at {}", last.start)),
        _ => None,
    }
}

/// Whether the new timeline left the one that was meant, and where.
fn timeline(plan: &RestorePlan, history: &TimelineHistory) -> Option<String> {
    let parent = history.parent()?;
    let wanted = plan.stop.timeline.unwrap_or(TimelineId::FIRST);
    if parent.timeline != wanted {
        return Some(format!("recovery ended on timeline {}, and not on {wanted}", parent.timeline));
    }
    let left = left_at(plan)?;
    let as_planned = left.start <= parent.end && parent.end <= left.end;
    let limit = if parent.end < left.start { format!("at least before {}", left.start) } else { format!("before {}", left.end) };
    (!as_planned).then(|| format!("everything before {} was replayed, and should be {limit}", parent.end))
}

/// Where the new timeline should begin: from and to, both included.
fn left_at(plan: &RestorePlan) -> Option<Range<Lsn>> {
    let Located { stop, last_record, .. } = &plan.located;
    match (&plan.stop.target, stop, last_record) {
        (RecoveryTarget::EndOfWal, _, Some(last)) => Some(last.end..Lsn(u64::MAX)),
        (RecoveryTarget::EndOfWal | RecoveryTarget::Immediate, ..) => None,
        (RecoveryTarget::Name(_), Some(stop), _) => Some(stop.end..stop.end),
        (RecoveryTarget::Lsn(_) | RecoveryTarget::Xid(_), Some(stop), _) if plan.stop.inclusive => Some(stop.end..stop.end),
        // Right before a record, or before the header of the page that it begins.
        (_, Some(stop), _) if stop.start < stop.end => Some(Lsn(stop.start.0.saturating_sub(PAGE_HEADER_BYTES))..stop.start),
        (_, None, Some(last)) => Some(last.end..last.end),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(message: &str) -> Option<Stopped> {
        Stopped::parse(message)
    }

    #[test]
    fn what_the_server_says_of_where_it_stopped_is_understood() {
        let time: Option<Timestamp> = "2026-11-22T09:59:00.5Z".parse().ok();
        let record = |before, lsn| Some(Stopped::Record { before, lsn: Lsn(lsn) });
        assert_eq!(parsed("after reaching consistency"), Some(Stopped::Consistent));
        assert_eq!(parsed("before WAL location (LSN) \"0/3000060\""), record(true, 0x300_0060));
        assert_eq!(parsed("after WAL location (LSN) \"A/3000060\""), record(false, 0xA_0300_0060));
        assert_eq!(
            parsed("before commit of transaction 741, time 2026-11-22 10:59:00.5+01"),
            Some(Stopped::Transaction { before: true, commit: true, xid: 741, time })
        );
        assert_eq!(
            parsed("after abort of transaction 742, time 2026-11-22 09:59:00.5+00"),
            Some(Stopped::Transaction { before: false, commit: false, xid: 742, time })
        );
        assert_eq!(
            parsed("at restore point \"before, \"it\"\", time 2026-11-22 09:59:00.5+00"),
            Some(Stopped::RestorePoint { name: "before, \"it\"".to_owned(), time })
        );
        assert_eq!(parsed("somewhere else"), None);
    }

    #[test]
    fn another_transaction_time_name_or_side_is_a_difference_and_the_unknown_is_none() {
        let transaction = |before, commit, xid, second: i64| {
            Some(Stopped::Transaction { before, commit, xid, time: Timestamp::from_second(second).ok() })
        };
        let agree = |a: &Option<Stopped>, b: &Option<Stopped>| agrees(a.as_ref(), b.as_ref());
        let expected = transaction(true, true, 7, 100);
        assert!(agree(&expected, &expected) && agree(&transaction(true, false, 0, 100), &transaction(true, false, 9, 100)));
        for other in [transaction(true, true, 8, 100), transaction(true, true, 7, 101), transaction(false, true, 7, 100), None] {
            assert!(!agree(&expected, &other), "{other:?}");
        }
        let point = |name: &str| Some(Stopped::RestorePoint { name: name.to_owned(), time: None });
        assert!(agree(&point("a"), &point("a")) && !agree(&point("a"), &point("b")) && !agree(&None, &point("a")));
    }
}
