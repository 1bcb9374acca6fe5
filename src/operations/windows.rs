//! To which moments a cluster can be restored: a pure function of what is stored.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use crate::pg::history::{Ancestor, TimelineHistory};
use crate::pg::{Lsn, TimelineId};
use crate::repository::{BackupEntry, BackupId};

/// What matters of a backup here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// The timeline that it was taken on.
    pub timeline: TimelineId,
    /// The WAL without which it is not consistent.
    pub needs: Range<Lsn>,
}

impl From<&BackupEntry> for BackupFacts {
    fn from(entry: &BackupEntry) -> Self {
        let detail = entry.postgres();
        let (id, needs) = (entry.id.clone(), detail.start_lsn..detail.stop_lsn);
        Self { id, finished_at: entry.finished_at, timeline: detail.timeline, needs }
    }
}

/// What is stored of one timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimelineFacts {
    /// The timeline that it forked from, and where; none for the first, or where its history file is not stored.
    pub parent: Option<(TimelineId, Lsn)>,
    /// The stretches of its WAL that are stored without a hole, in ascending order.
    pub stretches: Vec<Range<Lsn>>,
}

/// A span of positions to which a cluster can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The backups that it can be restored from, the oldest first.
    pub backups: Vec<BackupId>,
    /// The first consistent position.
    pub from: Lsn,
    /// When that was.
    pub from_time: Timestamp,
    /// The timeline on which it ends.
    pub timeline: TimelineId,
    /// The last stored position.
    pub to: Lsn,
    /// Whether stored WAL goes on behind a hole at `to`.
    pub cut: bool,
}

/// The windows of all backups, in the order of their ends: the last one ends on the newest timeline that any backup leads to, whichever backup
/// is the newest. Backups from which the same end is reached share one.
#[must_use]
pub fn windows(backups: &[BackupFacts], timelines: &BTreeMap<TimelineId, TimelineFacts>) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for backup in backups {
        let Some(reach) = reach(backup.timeline, &backup.needs, timelines) else { continue };
        let same = |window: &&mut Window| (window.timeline, window.to) == (reach.timeline, reach.to);
        if let Some(window) = windows.iter_mut().find(same) {
            window.backups.push(backup.id.clone());
            continue;
        }
        windows.push(Window {
            backups: vec![backup.id.clone()],
            from: backup.needs.end,
            from_time: backup.finished_at,
            timeline: reach.timeline,
            to: reach.to,
            cut: reach.cut,
        });
    }
    windows.sort_by_key(|window| (window.timeline, window.to));
    windows
}

struct Reach {
    timeline: TimelineId,
    to: Lsn,
    cut: bool,
}

/// How far recovery gets that begins with `needed` on `timeline`, along the newest timelines that it leads to; `None` where not
/// even that much is stored.
fn reach(timeline: TimelineId, needed: &Range<Lsn>, timelines: &BTreeMap<TimelineId, TimelineFacts>) -> Option<Reach> {
    let facts = timelines.get(&timeline)?;
    let stretch = facts.stretches.iter().find(|stretch| stretch.start <= needed.start && needed.end <= stretch.end)?;
    let children = timelines.iter().filter_map(|(child, facts)| match facts.parent {
        Some((parent, fork)) if parent == timeline && needed.end <= fork && joins(stretch, fork, facts) => Some((*child, fork)),
        _ => None,
    });
    // PostgreSQL follows the newest timeline, and the way to that need not lead through the newest child.
    let reached = children.filter_map(|(child, fork)| reach(child, &(fork..fork), timelines)).max_by_key(|reach| reach.timeline);
    if reached.is_some() {
        return reached;
    }
    let cut = facts.stretches.last().is_some_and(|last| last.start > stretch.end);
    Some(Reach { timeline, to: stretch.end, cut })
}

/// Whether what is stored of a child goes on where a stretch of its parent ends: its first segment holds a copy of what the parent wrote
/// to it before the fork.
fn joins(stretch: &Range<Lsn>, fork: Lsn, child: &TimelineFacts) -> bool {
    let copied = |copy: &Range<Lsn>| copy.start <= stretch.end && copy.start <= fork && fork <= copy.end;
    fork <= stretch.end || child.stretches.iter().any(copied)
}

/// The newest timeline of which WAL is stored: the one that the cluster lives on, as far as the repository knows.
#[must_use]
pub fn newest_stored(timelines: &BTreeMap<TimelineId, TimelineFacts>) -> Option<TimelineId> {
    timelines.iter().rev().find(|(_, facts)| !facts.stretches.is_empty()).map(|(timeline, _)| *timeline)
}

/// Stored WAL of an earlier timeline from behind the place where the newest one's history left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it was left.
    pub left_at: Lsn,
    /// Up to where it is stored.
    pub stored_to: Lsn,
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeline, left_at, stored_to } = self;
        write!(
            f,
            "timeline {timeline} was left at {left_at}, but WAL of it is stored up to {stored_to}: that part is kept and belongs to no history of the \
             newest timeline. After a restore to an earlier moment or a failover this is as it should be"
        )
    }
}

/// What is stored of the timelines in a history, and is no part of it, the oldest first.
#[must_use]
pub fn left_behind(history: &TimelineHistory, timelines: &BTreeMap<TimelineId, TimelineFacts>) -> Vec<LeftBehind> {
    let behind = |ancestor: &Ancestor| {
        let (timeline, left_at) = (ancestor.timeline, ancestor.end);
        let stored_to = timelines.get(&timeline)?.stretches.last()?.end;
        (stored_to > left_at).then_some(LeftBehind { timeline, left_at, stored_to })
    };
    history.ancestors().iter().filter_map(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_promotion_left_behind_is_known() {
        let history = TimelineHistory::parse(TimelineId(3), b"1\t0/28\tx\n2\t0/46\tx\n").expect("a history");
        let timelines =
            [(1, facts(None, &[(0, 30), (35, 90)])), (2, facts(Some((1, 40)), &[(32, 70)])), (3, facts(None, &[(64, 95)]))];
        let found = left_behind(&history, &timelines.map(|(id, facts)| (TimelineId(id), facts)).into());
        assert_eq!(found, [LeftBehind { timeline: TimelineId(1), left_at: Lsn(40), stored_to: Lsn(90) }]);
    }

    fn backup(mark: u64, timeline: u32, needs: Range<u64>) -> BackupFacts {
        let finished_at: Timestamp = "2026-11-22T07:15:00Z".parse().expect("a valid time");
        let id = BackupId::new(finished_at, mark);
        BackupFacts { id, finished_at, timeline: TimelineId(timeline), needs: Lsn(needs.start)..Lsn(needs.end) }
    }

    fn facts(parent: Option<(u32, u64)>, stretches: &[(u64, u64)]) -> TimelineFacts {
        let parent = parent.map(|(timeline, fork)| (TimelineId(timeline), Lsn(fork)));
        TimelineFacts { parent, stretches: stretches.iter().map(|s| Lsn(s.0)..Lsn(s.1)).collect() }
    }

    fn ends(backups: &[BackupFacts], timelines: &[(u32, TimelineFacts)]) -> Vec<(usize, u64, u32, u64, bool)> {
        let timelines = timelines.iter().map(|(id, facts)| (TimelineId(*id), facts.clone())).collect();
        let plain = |w: Window| (w.backups.len(), w.from.0, w.timeline.0, w.to.0, w.cut);
        windows(backups, &timelines).into_iter().map(plain).collect()
    }

    #[test]
    fn backups_that_reach_the_same_end_share_a_window() {
        let backups = [backup(1, 1, 10..20), backup(2, 1, 50..60)];
        assert_eq!(ends(&backups, &[(1, facts(None, &[(0, 90)]))]), [(2, 20, 1, 90, false)]);
    }

    #[test]
    fn a_gap_cuts_the_window() {
        let backups = [backup(1, 1, 10..20), backup(2, 1, 50..60)];
        assert_eq!(ends(&backups, &[(1, facts(None, &[(0, 40), (45, 90)]))]), [(1, 20, 1, 40, true), (1, 60, 1, 90, false)]);
    }

    #[test]
    fn a_backup_without_its_wal_opens_no_window() {
        assert_eq!(ends(&[backup(1, 1, 10..20)], &[(1, facts(None, &[(15, 90)]))]), []);
        assert_eq!(ends(&[backup(1, 1, 10..20)], &[]), []);
    }

    #[test]
    fn a_window_follows_the_newest_timeline_that_it_reaches() {
        let timelines = [(1, facts(None, &[(0, 90)])), (2, facts(Some((1, 40)), &[(32, 70)])), (3, facts(Some((1, 95)), &[]))];
        assert_eq!(ends(&[backup(1, 1, 10..20)], &timelines), [(1, 20, 2, 70, false)]);
        assert_eq!(ends(&[backup(1, 1, 50..60)], &timelines), [(1, 60, 1, 90, false)]);
    }

    #[test]
    fn the_way_to_the_newest_timeline_need_not_lead_through_the_newest_child() {
        let dead = facts(Some((1, 60)), &[(48, 66)]);
        let timelines = [(1, facts(None, &[(0, 60)])), (2, facts(Some((1, 40)), &[(32, 80)])), (3, dead)];
        let failed_over = [&timelines[..], &[(4, facts(Some((2, 75)), &[(64, 99)]))]].concat();
        assert_eq!(ends(&[backup(1, 1, 10..20)], &failed_over), [(1, 20, 4, 99, false)]);
        assert_eq!(ends(&[backup(1, 1, 10..20)], &timelines), [(1, 20, 3, 66, false)]);
    }

    #[test]
    fn the_last_window_ends_on_the_newest_timeline_whichever_backup_is_the_newest() {
        let timelines = [(1, facts(None, &[(0, 90)])), (2, facts(Some((1, 40)), &[(32, 70)]))];
        let backups = [backup(1, 1, 10..20), backup(2, 1, 50..60)];
        assert_eq!(ends(&backups, &timelines), [(1, 60, 1, 90, false), (1, 20, 2, 70, false)]);
    }

    #[test]
    fn the_first_segment_of_a_timeline_holds_what_its_parent_wrote_to_it() {
        let timelines = [(1, facts(None, &[(0, 32)])), (2, facts(Some((1, 40)), &[(32, 70)]))];
        assert_eq!(ends(&[backup(1, 1, 10..20)], &timelines), [(1, 20, 2, 70, false)]);
        let timelines = [(1, facts(None, &[(0, 31)])), (2, facts(Some((1, 40)), &[(32, 70)]))];
        assert_eq!(ends(&[backup(1, 1, 10..20)], &timelines), [(1, 20, 1, 31, false)]);
    }

    #[test]
    fn the_newest_timeline_is_one_of_which_wal_is_stored() {
        let newest = |timelines: &[(u32, TimelineFacts)]| {
            newest_stored(&timelines.iter().map(|(id, facts)| (TimelineId(*id), facts.clone())).collect())
        };
        let timelines = [(1, facts(None, &[(0, 90)])), (2, facts(Some((1, 40)), &[(32, 70)])), (3, facts(Some((2, 65)), &[]))];
        assert_eq!((newest(&timelines), newest(&[])), (Some(TimelineId(2)), None));
    }
}
