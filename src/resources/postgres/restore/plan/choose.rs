//! The choices in a plan: the timeline, the backup, the place to stop.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::Timestamp;

use super::refusal::{Reason, Refusal};
use super::{Facts, Located, Stop, Window};
use crate::pg::history::TimelineHistory;
use crate::pg::records::Commit;
use crate::pg::recovery::{RecoveryTarget, TargetAction, TargetTimeline};
use crate::pg::{Lsn, TimelineId};
use crate::repository::{BackupEntry, BackupId};
use crate::resources::postgres::restore::path::{path_to, stretches};
use crate::resources::postgres::restore::target::Wanted;

/// The way that recovery will take, before it is known where the target lies on it.
#[derive(Debug, Clone)]
pub struct Route {
    /// What was asked for.
    pub wanted: Wanted,
    /// The timelines.
    pub path: TimelineHistory,
    /// What is stored along them.
    pub stretches: Vec<Range<Lsn>>,
    /// The backups on it, by the position where they are consistent.
    backups: Vec<BackupEntry>,
}

/// How far recovery has to get.
pub(super) struct Reached {
    /// The backup must be consistent at or before this; any will do where there is none.
    pub(super) stop: Option<Lsn>,
    /// WAL must be stored up to this.
    pub(super) needed: Lsn,
}

/// Chooses the timelines to follow.
///
/// # Errors
/// A refusal where there is no backup, or none on the timeline that was asked for.
pub fn choose_route(facts: &Facts, wanted: &Wanted) -> Result<Route, Refusal> {
    route(facts, wanted).map_err(|reason| Refusal { damaged: facts.damaged.clone(), ..Refusal::from(reason) })
}

fn route(facts: &Facts, wanted: &Wanted) -> Result<Route, Reason> {
    let asked = |backup: &&BackupEntry| wanted.backup.as_ref().is_none_or(|id| backup.id == *id);
    let candidates: Vec<&BackupEntry> = facts.backups.iter().filter(asked).collect();
    let none = || wanted.backup.as_ref().map_or(Reason::NoBackup, |id| not_listed(facts, id));
    let newest = candidates.iter().max_by_key(|backup| backup.finished_at).ok_or_else(none)?;
    let timeline = match wanted.timeline {
        TargetTimeline::Id(timeline) => timeline,
        TargetTimeline::Current => newest.postgres().timeline,
        TargetTimeline::Latest => latest(facts, &candidates),
    };
    let path = path_to(timeline, &facts.histories);
    let mut backups: Vec<BackupEntry> = candidates.into_iter().filter(|backup| lies_on(backup, &path)).cloned().collect();
    backups.sort_by_key(|backup| backup.postgres().stop_lsn);
    if backups.is_empty() {
        return Err(Reason::NoBackupOnTimeline { timeline, known: known_timelines(facts).into_iter().collect() });
    }
    Ok(Route { wanted: wanted.clone(), stretches: stretches(&path, &facts.stored), path, backups })
}

fn not_listed(facts: &Facts, id: &BackupId) -> Reason {
    let entry = format!("/{id}.json");
    let damaged = facts.damaged.iter().find(|record| record.object.ends_with(&entry));
    damaged.map_or_else(
        || Reason::UnknownBackup(id.clone()),
        |record| Reason::DamagedBackup { id: id.clone(), detail: record.detail.clone() },
    )
}

fn lies_on(backup: &BackupEntry, path: &TimelineHistory) -> bool {
    path.reaches(backup.postgres().timeline, backup.postgres().stop_lsn)
}

fn known_timelines(facts: &Facts) -> BTreeSet<TimelineId> {
    let of_backups = facts.backups.iter().map(|backup| backup.postgres().timeline);
    facts.histories.keys().chain(facts.stored.keys()).copied().chain(of_backups).collect()
}

/// The highest timeline that descends from one of the backups.
fn latest(facts: &Facts, candidates: &[&BackupEntry]) -> TimelineId {
    let descends = |timeline: &TimelineId| {
        let path = path_to(*timeline, &facts.histories);
        candidates.iter().any(|backup| lies_on(backup, &path))
    };
    known_timelines(facts).into_iter().rev().find(descends).unwrap_or(TimelineId::FIRST)
}

impl Route {
    /// The stretch in which a backup can be replayed: it holds everything from its start to its stop.
    fn stretch_of(&self, backup: &BackupEntry) -> Option<&Range<Lsn>> {
        let detail = backup.postgres();
        self.stretches.iter().find(|stretch| stretch.start <= detail.start_lsn && detail.stop_lsn <= stretch.end)
    }

    /// What the cluster can be restored to along this route. `last` is the last commit stored on it.
    #[must_use]
    pub fn windows(&self, last: Option<Commit>) -> Vec<Window> {
        let window = |stretch: &Range<Lsn>| {
            let first = self.backups.iter().find(|backup| self.stretch_of(backup) == Some(stretch))?;
            let until = last.filter(|commit| stretch.contains(&commit.lsn)).map(|commit| commit.time);
            let (start, since) = (first.postgres().stop_lsn, first.finished_at);
            Some(Window { timeline: self.path.timeline(), start, end: stretch.end, since, until })
        };
        self.stretches.iter().filter_map(window).collect()
    }

    /// What can matter of the stored WAL: nothing before the start of the first backup.
    #[must_use]
    pub fn searched(&self) -> Vec<Range<Lsn>> {
        let from = self.backups.iter().map(|backup| backup.postgres().start_lsn).min().unwrap_or_default();
        let stretches = self.stretches.iter().filter(|stretch| stretch.end > from);
        stretches.map(|stretch| stretch.start.max(from)..stretch.end).collect()
    }

    /// The backups that are consistent at or before `lsn`, the newest first; all where none is given.
    fn consistent_by(&self, lsn: Option<Lsn>) -> impl Iterator<Item = &BackupEntry> {
        self.backups.iter().rev().filter(move |backup| lsn.is_none_or(|lsn| backup.postgres().stop_lsn <= lsn))
    }

    fn end(&self) -> Lsn {
        self.stretches.last().map_or(Lsn::INVALID, |stretch| stretch.end)
    }

    fn told(&self, target: RecoveryTarget) -> Stop {
        Stop { target, inclusive: !self.wanted.exclusive, timeline: None, action: self.wanted.action }
    }
}

/// The newest backup from which recovery can get there.
pub(super) fn backup<'a>(facts: &Facts, route: &'a Route, reached: &Reached) -> Result<&'a BackupEntry, Reason> {
    let newest = route.consistent_by(reached.stop).next().ok_or_else(|| before_first(route, reached))?;
    let reaches = |backup: &&BackupEntry| route.stretch_of(backup).is_some_and(|stretch| reached.needed <= stretch.end);
    if let Some(chosen) = route.consistent_by(reached.stop).find(reaches) {
        return Ok(chosen);
    }
    let stretch = route.stretch_of(newest);
    let start = stretch.map_or(newest.postgres().start_lsn, |stretch| stretch.end);
    let resumes = route.stretches.iter().map(|stretch| stretch.start).find(|begins| *begins > start);
    let Some(end) = resumes else { return Err(Reason::AfterEnd { target: route.wanted.target.clone(), end: start }) };
    let recorded = facts.gaps.iter().find(|gap| gap.cuts(gap.timeline, &(start..end)));
    Err(Reason::Gap { start, end, noticed: recorded.map(|gap| gap.noticed_at), backup: newest.id.clone() })
}

fn before_first(route: &Route, reached: &Reached) -> Reason {
    let backup = route.wanted.backup.as_ref().map_or_else(|| "every backup".to_owned(), |id| format!("backup {id}"));
    Reason::BeforeFirstConsistentPoint { target: route.wanted.target.clone(), at: reached.stop.unwrap_or_default(), backup }
}

/// A time before the first stored commit, and before the backup began, may have seen a cluster without some of what the backup holds.
pub(super) fn time_is_known(route: &Route, located: &Located, backup: &BackupEntry) -> Result<(), Reason> {
    match route.wanted.target {
        RecoveryTarget::Time(time) if located.before.is_none() && time < backup.started_at => {
            Err(before_first(route, &Reached { stop: Some(backup.postgres().start_lsn), needed: Lsn::INVALID }))
        }
        _ => Ok(()),
    }
}

/// What the server is told, and how far it will get.
pub(super) fn stop(route: &Route, located: &Located) -> Result<(Stop, Reached), Reason> {
    match &route.wanted.target {
        RecoveryTarget::Immediate => {
            let stop = route.consistent_by(None).next().map_or(Lsn::INVALID, |backup| backup.postgres().stop_lsn);
            Ok((route.told(RecoveryTarget::Immediate), Reached { stop: Some(stop), needed: stop }))
        }
        RecoveryTarget::EndOfWal => Ok((route.told(RecoveryTarget::EndOfWal), Reached { stop: None, needed: route.end() })),
        RecoveryTarget::Lsn(lsn) => at_lsn(route, located, *lsn),
        RecoveryTarget::Time(time) => at_time(route, located, *time),
        RecoveryTarget::Xid(xid) => at_xid(route, located, *xid),
        RecoveryTarget::Name(name) => at_name(route, located, name),
    }
}

/// The server stops at the first record that begins at or past the target, so one must be stored; or the target is the very end.
fn at_lsn(route: &Route, located: &Located, lsn: Lsn) -> Result<(Stop, Reached), Reason> {
    let end = located.records_end.unwrap_or_else(|| route.end());
    let reached = Reached { stop: Some(lsn), needed: lsn };
    if lsn < end {
        return Ok((route.told(RecoveryTarget::Lsn(lsn)), reached));
    }
    if lsn == end && route.wanted.action == TargetAction::Promote {
        return Ok((route.told(RecoveryTarget::EndOfWal), reached));
    }
    Err(Reason::AfterEnd { target: RecoveryTarget::Lsn(lsn), end })
}

/// The server stops at the first commit past the time, so one must be stored; or the time is that of the very last commit.
fn at_time(route: &Route, located: &Located, time: Timestamp) -> Result<(Stop, Reached), Reason> {
    if let Some(stop) = &located.stop {
        return Ok((route.told(RecoveryTarget::Time(time)), Reached { stop: Some(stop.start), needed: stop.end }));
    }
    match located.last {
        Some(last) if last.time == time && !route.wanted.exclusive => {
            Ok((route.told(RecoveryTarget::Lsn(last.lsn)), Reached { stop: Some(last.lsn), needed: last.end }))
        }
        last => Err(Reason::AfterLastCommit { time, last }),
    }
}

fn at_xid(route: &Route, located: &Located, xid: u32) -> Result<(Stop, Reached), Reason> {
    let told = route.told(RecoveryTarget::Xid(xid));
    match &located.stop {
        Some(stop) => Ok((told, Reached { stop: Some(stop.start), needed: stop.end })),
        None if located.search_cut_short => Ok((told, Reached { stop: None, needed: route.end() })),
        None => Err(Reason::UnknownXid { xid }),
    }
}

fn at_name(route: &Route, located: &Located, name: &str) -> Result<(Stop, Reached), Reason> {
    if located.named.len() > 1 {
        return Err(Reason::AmbiguousName { name: name.to_owned(), at: located.named.clone() });
    }
    let stop = located.stop.as_ref().ok_or_else(|| Reason::UnknownName { name: name.to_owned() })?;
    Ok((route.told(RecoveryTarget::Name(name.to_owned())), Reached { stop: Some(stop.start), needed: stop.end }))
}
