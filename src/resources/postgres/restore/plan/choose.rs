//! The choices in a plan: the timeline, the backup, the place to stop.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::Timestamp;

use super::refusal::{Reason, Refusal};
use super::{Facts, Located, Stop, Window};
use crate::pg::history::TimelineHistory;
use crate::pg::records::Commit;
use crate::pg::recovery::{RecoveryTarget, TargetTimeline};
use crate::pg::{Lsn, TimelineId};
use crate::repository::{BackupEntry, BackupId, Gap, GapCause};
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
    /// The recorded gaps on it, the last one first.
    lost: Vec<Gap>,
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
    let newest = candidates.last().ok_or_else(none)?;
    let timeline = match wanted.timeline {
        TargetTimeline::Id(timeline) => timeline,
        TargetTimeline::Current => newest.postgres().timeline,
        TargetTimeline::Latest => latest(facts, &candidates),
    };
    if wanted.timeline == TargetTimeline::Latest {
        nothing_newer_is_unknown(facts, timeline)?;
    }
    if let (false, Some((parent, fork))) = (has_wal(facts, timeline), forked(facts, timeline)) {
        return Err(Reason::NothingOfTimeline { timeline, parent, fork });
    }
    let path = path_to(timeline, &facts.histories);
    let mut backups: Vec<BackupEntry> = candidates.into_iter().filter(|backup| lies_on(backup, &path)).cloned().collect();
    backups.sort_by_key(|backup| backup.postgres().stop_lsn);
    if backups.is_empty() {
        return Err(Reason::NoBackupOnTimeline { timeline, known: known_timelines(facts).into_iter().collect() });
    }
    let mut lost: Vec<Gap> = facts.gaps.iter().filter(|gap| concerns(gap, &path)).cloned().collect();
    lost.sort_by_key(|gap| std::cmp::Reverse(gap.end));
    Ok(Route { wanted: wanted.clone(), stretches: stretches(&path, &facts.stored, facts.segment_size), path, backups, lost })
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

/// Whether a gap lies on the way to a timeline.
fn concerns(gap: &Gap, path: &TimelineHistory) -> bool {
    path.spans().iter().any(|span| span.timeline == gap.timeline && span.end.is_none_or(|end| gap.start < end))
}

/// Nobody knows where a timeline without a history belongs: to what was asked for, or not.
fn nothing_newer_is_unknown(facts: &Facts, chosen: TimelineId) -> Result<(), Reason> {
    let unknown = |timeline: &TimelineId| *timeline > chosen && !facts.histories.contains_key(timeline);
    match known_timelines(facts).into_iter().rev().find(unknown) {
        Some(timeline) => Err(Reason::MissingHistory { timeline, instead: Some(chosen) }),
        None => Ok(()),
    }
}

/// A server that recovers reads the history of every timeline from its backup's to its target's (`readTimeLineHistory`,
/// `restoreTimeLineHistoryFiles` in `access/transam/timeline.c`), and must not take a missing one for one that never was.
pub(super) fn histories_are_stored(facts: &Facts, route: &Route, backup: &BackupEntry) -> Result<(), Reason> {
    let first = backup.postgres().timeline.0.max(TimelineId::FIRST.0 + 1);
    let mut needed = (first..=route.path.timeline().0).map(TimelineId);
    match needed.find(|timeline| !facts.histories.contains_key(timeline)) {
        Some(timeline) => Err(Reason::MissingHistory { timeline, instead: None }),
        None => Ok(()),
    }
}

/// The first timeline behind the chosen one whose history is missing although something of a later one is stored, and the last of these: a server that
/// is promoted asks for one after the other until there is none (`findNewestTimeLine` in `access/transam/timeline.c`).
pub(super) fn missing_behind(facts: &Facts, chosen: TimelineId) -> Option<(TimelineId, TimelineId)> {
    let newest = *facts.histories.keys().chain(facts.stored.keys()).max()?;
    let mut behind = (chosen.0.saturating_add(1)..=newest.0).map(TimelineId);
    let missing = behind.find(|timeline| !facts.histories.contains_key(timeline))?;
    Some((missing, newest))
}

fn known_timelines(facts: &Facts) -> BTreeSet<TimelineId> {
    let of_backups = facts.backups.iter().map(|backup| backup.postgres().timeline);
    facts.histories.keys().chain(facts.stored.keys()).copied().chain(of_backups).collect()
}

/// Whether more is stored of a timeline than its history, and the copy of its parent's WAL with which it begins: an agent that was killed early has
/// stored no more, and what the parent wrote behind that would be left out. Where it is not, a server that is to follow it takes the WAL of the timeline before
/// (`XLogFileReadAnyTLI` in `access/transam/xlogrecovery.c` tries that next), beyond the place where it was left.
fn has_wal(facts: &Facts, timeline: TimelineId) -> bool {
    let end = |timeline| facts.stored.get(&timeline).and_then(|stretches| stretches.last()).map(|stretch| stretch.end);
    let is_copy =
        |stored: Lsn| forked(facts, timeline).is_some_and(|(parent, fork)| stored <= fork && end(parent) >= Some(stored));
    end(timeline).is_some_and(|stored| !is_copy(stored))
        || facts.backups.iter().any(|backup| backup.postgres().timeline == timeline)
}

/// Which timeline a timeline was forked off, and where.
fn forked(facts: &Facts, timeline: TimelineId) -> Option<(TimelineId, Lsn)> {
    let parent = facts.histories.get(&timeline)?.parent()?;
    Some((parent.timeline, parent.end))
}

/// The timelines that were forked off the chosen one or later, and of which only the history is stored.
pub(super) fn without_wal(facts: &Facts, chosen: TimelineId) -> impl Iterator<Item = (TimelineId, TimelineId, Lsn)> {
    let later = facts.histories.keys().filter(move |timeline| **timeline > chosen && !has_wal(facts, **timeline));
    later.filter_map(|timeline| forked(facts, *timeline).map(|(parent, at)| (*timeline, parent, at)))
}

/// The newest timeline with WAL, where that is newer than the chosen one: it does not lead through the backup that was asked for.
pub(super) fn newer_elsewhere(facts: &Facts, chosen: TimelineId) -> Option<TimelineId> {
    known_timelines(facts).into_iter().rev().find(|timeline| has_wal(facts, *timeline)).filter(|timeline| *timeline > chosen)
}

/// The highest timeline with WAL that descends from one of the backups.
fn latest(facts: &Facts, candidates: &[&BackupEntry]) -> TimelineId {
    let descends = |timeline: &TimelineId| {
        let path = path_to(*timeline, &facts.histories);
        candidates.iter().any(|backup| lies_on(backup, &path))
    };
    let mut with_wal = known_timelines(facts).into_iter().rev().filter(|timeline| has_wal(facts, *timeline));
    with_wal.find(descends).unwrap_or(TimelineId::FIRST)
}

impl Route {
    /// The backups that have all the WAL that they need, the newest first, each with the stretch in which it can be replayed.
    pub fn bases(&self) -> impl Iterator<Item = (&BackupEntry, &Range<Lsn>)> {
        self.backups.iter().rev().filter_map(|backup| Some((backup, self.stretch_of(backup)?)))
    }

    /// The stretch in which a position lies, or which ends there.
    #[must_use]
    pub fn stretch_at(&self, lsn: Lsn) -> Option<&Range<Lsn>> {
        self.stretches.iter().find(|stretch| stretch.start <= lsn && lsn <= stretch.end)
    }

    /// The hole behind a stretch: WAL begins again behind it, or is recorded to be lost.
    #[must_use]
    pub fn hole_behind(&self, stretch: &Range<Lsn>) -> Option<Range<Lsn>> {
        let next = self.stretches.iter().map(|other| other.start).find(|start| *start > stretch.end);
        let lost = self.lost.iter().map(|gap| gap.end).find(|end| *end > stretch.end);
        next.or(lost).map(|end| stretch.end..end)
    }

    /// Whether a server that recovers from a backup meets no hole, however far it reads.
    pub(super) fn may_read_ahead(&self, backup: &BackupEntry) -> bool {
        self.stretch_of(backup).is_some_and(|stretch| self.hole_behind(stretch).is_none())
    }

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

    /// What was found, without a last commit that lies in front of a hole before the backup: the backup holds it, and perhaps later ones that
    /// were lost.
    pub(super) fn without_what_a_hole_cuts_off(&self, backup: &BackupEntry, located: Located) -> Located {
        let stretch = self.stretch_of(backup);
        let before = located.before.filter(|commit| stretch.is_some_and(|stretch| stretch.contains(&commit.lsn)));
        Located { before, ..located }
    }

    /// The newest backup that is consistent before a hole: recovery from it would have to cross that.
    fn before_hole(&self, hole: &Range<Lsn>) -> Option<&BackupEntry> {
        self.consistent_by(Some(hole.start)).next()
    }

    fn end(&self) -> Lsn {
        self.stretches.last().map_or(Lsn::INVALID, |stretch| stretch.end)
    }

    /// To stop behind a record, whatever was asked for.
    fn told_to_stop_behind(&self, record: &Range<Lsn>) -> Stop {
        Stop { inclusive: true, ..self.told(RecoveryTarget::Lsn(record.start)) }
    }

    /// Up to where a record is stored: the end of one that switches to the next segment can lie behind that.
    fn stored_end(&self, record: &Range<Lsn>) -> Lsn {
        self.stretch_at(record.start).map_or(record.end, |stretch| record.end.min(stretch.end))
    }

    /// When a hole was noticed, where it was.
    fn noticed(&self, hole: &Range<Lsn>) -> Option<Timestamp> {
        self.lost.iter().find(|gap| gap.start < hole.end && gap.end > hole.start).map(|gap| gap.noticed_at)
    }

    /// A reason as it shows: what cannot be passed may be stored all the same.
    pub(super) fn explained(&self, reason: Reason) -> Reason {
        match reason {
            Reason::Gap { start, end, noticed, backup } => {
                let minimal = |gap: &&Gap| gap.cause == GapCause::WalLevelMinimal && gap.start < end && gap.end > start;
                match self.lost.iter().find(minimal) {
                    Some(gap) => Reason::WalLevelMinimal { start, at: gap.start, noticed: gap.noticed_at, backup },
                    None => Reason::Gap { start, end, noticed, backup },
                }
            }
            other => other,
        }
    }

    fn told(&self, target: RecoveryTarget) -> Stop {
        Stop { target, inclusive: !self.wanted.exclusive, timeline: None, action: self.wanted.action, read_ahead: true }
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
    let target = route.wanted.target.clone();
    // Where a time lies nobody knows: `reached` is the first commit past it, or the backup itself.
    let at = reached.stop.filter(|_| matches!(target, RecoveryTarget::Xid(_) | RecoveryTarget::Name(_)));
    Reason::BeforeFirstConsistentPoint { target, at, backup }
}

/// Before a backup began, a time may have seen a cluster without some of what the backup holds: unless it is known that nothing was
/// committed in between.
pub(super) fn time_is_known(route: &Route, located: &Located, backup: &BackupEntry) -> Result<(), Reason> {
    let RecoveryTarget::Time(time) = route.wanted.target else { return Ok(()) };
    let stretch = route.stretch_of(backup);
    let joined = located.before.is_some_and(|commit| stretch.is_some_and(|stretch| stretch.contains(&commit.lsn)));
    if joined || time >= backup.started_at {
        return Ok(());
    }
    let earlier = located.before.and_then(|commit| route.stretch_at(commit.lsn));
    let hole = earlier.zip(stretch).map(|(earlier, later)| earlier.end..later.start);
    // The backup behind the hole has nothing to cross.
    match hole.and_then(|hole| Some((route.before_hole(&hole)?, hole))) {
        Some((crossing, hole)) => {
            let noticed = route.noticed(&hole);
            Err(Reason::Gap { start: hole.start, end: hole.end, noticed, backup: crossing.id.clone() })
        }
        None => Err(before_first(route, &Reached { stop: Some(backup.postgres().start_lsn), needed: Lsn::INVALID })),
    }
}

/// What the server is told, and how far it will get.
pub(super) fn stop(facts: &Facts, route: &Route, located: &Located) -> Result<(Stop, Reached), Reason> {
    match &route.wanted.target {
        RecoveryTarget::Immediate => {
            let stop = route.consistent_by(None).next().map_or(Lsn::INVALID, |backup| backup.postgres().stop_lsn);
            Ok((route.told(RecoveryTarget::Immediate), Reached { stop: Some(stop), needed: stop }))
        }
        RecoveryTarget::EndOfWal => at_end(route, located),
        RecoveryTarget::Lsn(lsn) => at_lsn(route, located, *lsn),
        RecoveryTarget::Time(time) => at_time(facts, route, located, *time),
        RecoveryTarget::Xid(xid) => at_xid(route, located, *xid),
        RecoveryTarget::Name(name) => at_name(route, located, name),
    }
}

/// Up to where can be restored before a hole: a record that is not whole cannot be replayed, and the end of one that switches to the next
/// segment lies behind what is stored of it.
fn reachable(last: Option<&Range<Lsn>>, hole: &Range<Lsn>) -> Lsn {
    last.map_or(hole.start, |record| record.end.min(hole.start))
}

/// Without a target the server goes on until a file is proven absent: behind the last one that is stored there must be no hole.
fn at_end(route: &Route, located: &Located) -> Result<(Stop, Reached), Reason> {
    let lost = route.stretches.last().and_then(|stretch| route.hole_behind(stretch));
    match (lost, route.bases().next()) {
        (Some(hole), Some((backup, _))) => {
            let start = reachable(located.last_record.as_ref(), &hole);
            Err(Reason::Gap { start, end: hole.end, noticed: route.noticed(&hole), backup: backup.id.clone() })
        }
        _ => Ok((route.told(RecoveryTarget::EndOfWal), Reached { stop: None, needed: route.end() })),
    }
}

/// The server stops at the first record that begins at or past the target, so one must be stored. Where there is none any more, it is told
/// to stop behind the last one before.
fn at_lsn(route: &Route, located: &Located, lsn: Lsn) -> Result<(Stop, Reached), Reason> {
    if let Some(stop) = &located.stop {
        return Ok((route.told(RecoveryTarget::Lsn(lsn)), Reached { stop: Some(lsn), needed: stop.end }));
    }
    match &located.last_record {
        Some(last) if lsn <= last.end => {
            Ok((route.told_to_stop_behind(last), Reached { stop: Some(lsn), needed: route.stored_end(last) }))
        }
        last => Err(past_the_end(route, lsn, last.as_ref())),
    }
}

/// A position behind the last complete record of a stretch, or in none.
fn past_the_end(route: &Route, lsn: Lsn, last: Option<&Range<Lsn>>) -> Reason {
    let holes = route.stretches.iter().filter_map(|stretch| route.hole_behind(stretch));
    let hole = holes.into_iter().find(|hole| hole.start.min(last.map_or(hole.start, |last| last.end)) <= lsn && lsn <= hole.end);
    let Some(newest) = route.consistent_by(Some(lsn)).next() else {
        return before_first(route, &Reached { stop: Some(lsn), needed: lsn });
    };
    let end = last.map(|last| last.end);
    match hole {
        Some(hole) => {
            let (start, noticed) = (reachable(last, &hole), route.noticed(&hole));
            Reason::Gap { start, end: hole.end, noticed, backup: newest.id.clone() }
        }
        None => Reason::AfterEnd { target: RecoveryTarget::Lsn(lsn), end: end.unwrap_or_else(|| route.end()) },
    }
}

/// The server stops at the first commit past the time, so one must be stored. Where none is, because nothing has happened since, it is told
/// to stop behind the last record instead, and refuses nothing that was asked for.
fn at_time(facts: &Facts, route: &Route, located: &Located, time: Timestamp) -> Result<(Stop, Reached), Reason> {
    if let Some(stop) = &located.stop {
        return Ok((route.told(RecoveryTarget::Time(time)), Reached { stop: Some(stop.start), needed: stop.end }));
    }
    let last = located.before;
    let is_last_commit = last.is_some_and(|commit| commit.time == time);
    let newest = || route.bases().next().map(|(backup, _)| backup);
    let hole = located.hole.as_ref().filter(|_| !is_last_commit);
    if let Some((hole, backup)) = hole.and_then(|hole| Some((hole, route.before_hole(hole).or_else(newest)?))) {
        let (start, noticed) = (reachable(located.last_record.as_ref(), hole), route.noticed(hole));
        return Err(Reason::Gap { start, end: hole.end, noticed, backup: backup.id.clone() });
    }
    match &located.last_record {
        Some(record) if time <= facts.now => {
            let end = route.stored_end(record);
            Ok((route.told_to_stop_behind(record), Reached { stop: Some(end), needed: end }))
        }
        _ => Err(Reason::AfterLastCommit { time, last }),
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
