//! The plan of a restore: which backup, which WAL, along which timelines, to where. Pure: from facts to a plan or a refusal.
//!
//! Invariants: a plan is only made where everything it needs is stored: the backup, and all WAL from its start to the target without a
//! hole. What carries a plan out decides nothing. A refusal names the recovery windows, so that the next try can succeed.

mod choose;
mod refusal;
mod text;

use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use super::path::{Histories, StoredWal};
use crate::pg::history::Span;
use crate::pg::records::Commit;
use crate::pg::recovery::{RecoveryTarget, TargetAction, TargetTimeline};
use crate::pg::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineId};
use crate::repository::{BackupEntry, Conflict, Damaged, Gap};

pub use choose::{Route, choose_route};
pub use refusal::{Elsewhere, Reason, Refusal};
pub use text::bytes as size_text;

/// What is stored of a cluster.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The cluster.
    pub system_id: SystemId,
    /// Its segment size.
    pub segment_size: SegmentSize,
    /// Its backups.
    pub backups: Vec<BackupEntry>,
    /// The stored history files.
    pub histories: Histories,
    /// The stored WAL.
    pub stored: StoredWal,
    /// The recorded gaps.
    pub gaps: Vec<Gap>,
    /// Where two servers wrote different WAL, and nobody has taken note of it.
    pub conflicts: Vec<Conflict>,
    /// Records that cannot be read.
    pub damaged: Vec<Damaged>,
    /// When this was found out.
    pub now: Timestamp,
}

/// A stretch of time and WAL that a cluster can be restored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The timeline that it leads to.
    pub timeline: TimelineId,
    /// The first consistent position.
    pub start: Lsn,
    /// Up to where WAL is stored behind it without a hole.
    pub end: Lsn,
    /// When the first backup in it was complete.
    pub since: Timestamp,
    /// The time of the last commit in it, where that was looked up.
    pub until: Option<Timestamp>,
}

/// Where a target lies, found by looking into the stored WAL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The last commit that recovery replays.
    pub before: Option<Commit>,
    /// The first commit that it leaves out.
    pub after: Option<Commit>,
    /// Where the record begins at which recovery stops, and the position after it.
    #[serde(skip)]
    pub stop: Option<Range<Lsn>>,
    /// The last commit that is stored on the route.
    #[serde(skip)]
    pub last: Option<Commit>,
    /// The time in that record.
    #[serde(skip)]
    pub stop_time: Option<Timestamp>,
    /// Where no record is one to stop at: the last complete record before the end of the WAL, or before a hole.
    #[serde(skip)]
    pub last_record: Option<Range<Lsn>>,
    /// The hole in which the moment can lie.
    #[serde(skip)]
    pub hole: Option<Range<Lsn>>,
    /// Something at the end of the route is damaged: the server must not read past the target.
    #[serde(skip)]
    pub damaged: bool,
    /// A step back of the server's clock, because of which the time names more than one moment.
    pub clock: Option<ClockStep>,
    /// Where restore points of the wanted name are.
    #[serde(skip)]
    pub named: Vec<Lsn>,
    /// The search ended before the end of the WAL: that nothing was found proves nothing.
    pub search_cut_short: bool,
}

/// A step back of the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// A commit after it.
    pub at: Lsn,
    /// The latest time of a commit before it.
    pub before: Timestamp,
    /// The time of the commit after it.
    pub after: Timestamp,
}

/// Where the server is told to stop: the `recovery_target_*` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// The target as the server gets it. It can differ from the one asked for: a target at the very end of the archive, which no
    /// record passes, is one that the server would wait for in vain.
    pub target: RecoveryTarget,
    /// `recovery_target_inclusive`.
    pub inclusive: bool,
    /// `recovery_target_timeline`; none for that of the backup, whose history is not stored or does not exist.
    pub timeline: Option<TimelineId>,
    /// `recovery_target_action`.
    pub action: TargetAction,
    /// Whether the server may read ahead (`recovery_prefetch`): it would run into a hole that lies close behind the target.
    pub read_ahead: bool,
}

/// One timeline's part of the WAL that is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WalPart {
    /// The timeline.
    pub timeline: TimelineId,
    /// From where on.
    pub start: Lsn,
    /// Up to where.
    pub end: Lsn,
}

/// What a restore will do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestorePlan {
    /// The cluster.
    pub system_id: SystemId,
    /// The backup that it begins with.
    pub backup: BackupEntry,
    /// What was asked for.
    pub asked: RecoveryTarget,
    /// What the server is told.
    pub stop: Stop,
    /// The commits around the target.
    pub located: Located,
    /// The WAL that is replayed.
    pub wal: Vec<WalPart>,
    /// The number of segments in it.
    pub segments: u64,
    /// How much it is, in bytes.
    pub wal_bytes: u64,
    /// How much of the backup is fetched, in bytes as stored.
    pub stored_bytes: u64,
    /// How much is written for it, in bytes.
    pub plain_bytes: u64,
    /// About how long everything takes, in seconds.
    pub estimated_seconds: u64,
    /// The windows that the target lies in, or could have.
    pub windows: Vec<Window>,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

/// How fast packs are fetched and written on a modest machine, in bytes of the restored cluster.
const RESTORE_BYTES_PER_SECOND: u64 = 200 << 20;
/// How fast WAL is replayed.
const REPLAY_BYTES_PER_SECOND: u64 = 80 << 20;
/// What stands for the last commit before the target, where none is known that no hole separates from the backup.
const NO_COMMIT: &str = "none found behind the backup's own";

/// Makes the plan for a route and a target that was looked for on it.
///
/// # Errors
/// A refusal, where the target cannot be reached.
pub fn plan(facts: &Facts, route: &Route, located: Located) -> Result<RestorePlan, Refusal> {
    let refused = |reason: Reason| Refusal {
        reason: route.explained(reason),
        windows: route.windows(located.last).into(),
        damaged: facts.damaged.clone(),
        elsewhere: None,
    };
    let (stop, reached) = choose::stop(facts, route, &located).map_err(refused)?;
    let backup = choose::backup(facts, route, &reached).map_err(refused)?.clone();
    choose::time_is_known(route, &located, &backup).map_err(refused)?;
    choose::histories_are_stored(facts, route, &backup).map_err(refused)?;
    let located = route.without_what_a_hole_cuts_off(&backup, located);
    let range = backup.postgres().start_lsn..reached.needed.max(backup.postgres().stop_lsn);
    let first = SegmentNumber::containing(range.start, facts.segment_size);
    let last = SegmentNumber::before(range.end, facts.segment_size);
    let wal_bytes = range.end.bytes_since(range.start);
    let timeline = route.path.timeline();
    Ok(RestorePlan {
        system_id: facts.system_id,
        asked: route.wanted.target.clone(),
        stop: Stop { timeline: Some(timeline), read_ahead: route.may_read_ahead(&backup) && !located.damaged, ..stop },
        wal: parts(route, &range),
        segments: last.0 + 1 - first.0,
        wal_bytes,
        stored_bytes: backup.stored_bytes,
        plain_bytes: backup.plain_bytes,
        estimated_seconds: estimate(backup.plain_bytes, wal_bytes),
        windows: route.windows(located.last),
        warnings: warnings(facts, route, &located),
        backup,
        located,
    })
}

const fn estimate(plain_bytes: u64, wal_bytes: u64) -> u64 {
    plain_bytes / RESTORE_BYTES_PER_SECOND + wal_bytes / REPLAY_BYTES_PER_SECOND + 2
}

fn parts(route: &Route, range: &Range<Lsn>) -> Vec<WalPart> {
    let part = |span: &Span| {
        let (start, end) = (span.start.max(range.start), span.end.map_or(range.end, |end| end.min(range.end)));
        (start < end).then_some(WalPart { timeline: span.timeline, start, end })
    };
    route.path.spans().iter().filter_map(part).collect()
}

fn warnings(facts: &Facts, route: &Route, located: &Located) -> Vec<String> {
    let cut_short = "the transaction was not found where it was looked for: if the server meets no end of it, recovery fails";
    let cut_short = located.search_cut_short.then(|| cut_short.to_owned());
    let damaged = |record: &Damaged| {
        let Damaged { object, detail, missing } = record;
        if *missing {
            return format!("{object} is missing ({detail}); this plan is made from what the backups say of that cluster");
        }
        format!("{object} is damaged, and what it tells of (a backup nearer to the target, a gap) is not in this plan: {detail}")
    };
    let idle = idle(route, located);
    let clock = located.clock.map(|ClockStep { at, before, after }| {
        format!("the server's clock was set back from {before} to {after} at about {at}, so that the time names more than one moment; recovery stops at the first one: choose with --target-lsn if another is meant")
    });
    let chosen = route.path.timeline();
    let not_followed = choose::without_wal(facts, chosen).filter(|_| route.wanted.timeline == TargetTimeline::Latest);
    let not_followed = not_followed.map(|(timeline, parent, fork)| {
        format!("timeline {timeline}, forked off timeline {parent} at {fork}, is not followed: no WAL of it is stored behind that, and timeline {chosen} is restored")
    });
    let asked = route.wanted.backup.as_ref().filter(|_| route.wanted.timeline == TargetTimeline::Latest);
    let elsewhere = asked.zip(choose::newer_elsewhere(facts, chosen)).map(|(backup, newer)| {
        format!(
            "timeline {newer} is newer, and does not lead through backup {backup}: timeline {chosen} is restored; leave --backup out to restore timeline {newer}"
        )
    });
    let left = left_behind(facts, route);
    cut_short
        .into_iter()
        .chain(not_followed)
        .chain(elsewhere)
        .chain(went_on(facts, route, located))
        .chain(left)
        .chain(idle)
        .chain(clock)
        .chain(contested(facts, route))
        .chain(takes_no_writes(facts, chosen))
        .chain(facts.damaged.iter().map(damaged))
        .collect()
}

/// Where the way leads through WAL beside which another server's was refused: whether the right one is stored only an operator can tell.
fn contested(facts: &Facts, route: &Route) -> Vec<String> {
    let is_on_the_way = |conflict: &&Conflict| {
        let timeline = conflict.segment.timeline();
        route.path.spans().iter().any(|span| span.timeline == timeline && span.end.is_none_or(|end| conflict.at < end))
    };
    let told = |Conflict { segment, at, stored, refused, .. }: &Conflict| {
        format!(
            "two servers wrote WAL for {segment}: this plan leads through what was stored first ({stored}), and what {refused} sent was refused from {at} on. \
             If that is the server to be restored, this plan leads into the WAL of the other one: --target-timeline names an older timeline, and the WAL of the \
             wrong server can be moved out of the store"
        )
    };
    facts.conflicts.iter().filter(is_on_the_way).map(told).collect()
}

/// The server asks for the histories of all later timelines before it begins its own, and must not take the number of one that there was.
fn takes_no_writes(facts: &Facts, chosen: TimelineId) -> Option<String> {
    let (missing, newest) = choose::missing_behind(facts, chosen)?;
    Some(format!(
        "the history of timeline {missing} is missing, though timeline {newest} is stored: the server recovers, and ends where it should begin to \
         take writes; bring it back before ('holdfast wal push PATH/pg_wal/{:08X}.history'), or only look, with a target and --target-action pause",
        missing.0
    ))
}

/// What is stored of the timelines on the way behind the places where they were left.
fn left_behind(facts: &Facts, route: &Route) -> Vec<String> {
    let left = |span: &Span| {
        let (timeline, fork) = (span.timeline, span.end?);
        let end = facts.stored.get(&timeline)?.iter().map(|stretch| stretch.end).max().filter(|end| *end > fork)?;
        Some(format!(
            "timeline {timeline} was left at {fork} and is stored up to {end}: the WAL of it behind {fork} is no part of this plan. After a restore to an \
             earlier moment that is as it should be; after a failover the commits in it, if there are any, are lost on the new primary (a server \
             that is only started and shut down writes a little, too); --target-timeline {timeline} restores it"
        ))
    };
    route.path.spans().iter().filter_map(left).collect()
}

/// An older timeline was asked for by name, and ends before the time: the cluster may have gone on along a newer one.
fn went_on(facts: &Facts, route: &Route, located: &Located) -> Option<String> {
    let (RecoveryTarget::Time(time), None) = (&route.wanted.target, &located.stop) else { return None };
    if route.wanted.timeline == TargetTimeline::Latest {
        return None;
    }
    let chosen = route.path.timeline();
    let newer = choose::newer_elsewhere(facts, chosen)?;
    Some(format!(
        "timeline {newer} is newer, and no commit of timeline {chosen} later than {time} is stored: what was committed on timeline {newer} by then \
         is not in this plan; --target-timeline {newer} restores it"
    ))
}

/// Nothing that is stored is later than the time that was asked for.
fn idle(route: &Route, located: &Located) -> Option<String> {
    let (RecoveryTarget::Time(time), None) = (&route.wanted.target, &located.stop) else { return None };
    let end = located.last_record.as_ref()?.end;
    let last = located.before.map_or_else(|| NO_COMMIT.to_owned(), |commit| commit.time.to_string());
    let (behind, up_to) = match &located.hole {
        Some(_) => (" before it", "everything before the hole"),
        None => ("", "everything stored"),
    };
    Some(format!(
        "no commit later than {time} is stored{behind}, so {up_to} is restored, up to {end} (last commit: {last}); if the cluster was not idle since, WAL is missing"
    ))
}

#[cfg(test)]
mod tests;
