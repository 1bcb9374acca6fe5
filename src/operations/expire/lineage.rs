//! How backups and timelines of one cluster hang together. Pure.

use jiff::Timestamp;

use super::facts::{BaseBackup, Candidate, Facts, LineageFacts};
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId};

impl LineageFacts {
    /// A timeline with its ancestors, as far as they are known.
    pub(super) fn history(&self, timeline: TimelineId) -> TimelineHistory {
        let stored = self.histories.get(&timeline).cloned();
        stored.unwrap_or_else(|| TimelineHistory::without_ancestors(timeline))
    }

    /// Whether it is known where a timeline comes from.
    pub(super) fn is_known(&self, timeline: TimelineId) -> bool {
        timeline == TimelineId::FIRST || self.histories.contains_key(&timeline)
    }

    /// Whether a backup can be recovered to the end of a timeline.
    pub(super) fn leads_to(&self, backup: &BaseBackup, timeline: TimelineId) -> bool {
        backup.system_id == self.system_id && self.history(timeline).reaches(backup.timeline, backup.needs.end)
    }

    /// From where on everything of `timeline` is needed to recover from `start` on `from` to any later moment of any timeline that
    /// recovery can get to; `None` where nothing of it is.
    pub(super) fn needed_from(&self, timeline: TimelineId, from: TimelineId, start: Lsn) -> Option<Lsn> {
        if timeline == from {
            return Some(start);
        }
        // A timeline that left `from` behind `start`: all of it.
        if self.history(timeline).switch_from(from).is_some_and(|switch| switch >= start) {
            return Some(Lsn::INVALID);
        }
        // One that `from` left behind `start`, because the checkpoint lies before the switch.
        self.history(from).switch_from(timeline).filter(|switch| *switch > start).map(|_| start)
    }
}

/// When a backup was taken, as far as that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// By the clock of the host that took it, or the store's where that was behind, but no later than it was listed by the store's clock: the day
    /// that it counts for.
    pub taken: Timestamp,
    /// When it was listed, by the store's clock: it is certainly not younger.
    pub listed: Timestamp,
}

/// The times of all backups. None was listed before one that lies before it in the WAL: so a clock that was wrong for a while, or a copy of
/// the repository with new times, does not make a backup look older than it can be.
pub(super) fn times(facts: &Facts) -> Vec<Times> {
    let mut order: Vec<usize> = (0..facts.backups.len()).collect();
    order.sort_by_key(|index| facts.backups[*index].base.as_ref().map(|base| base.needs.start));
    let plain = |backup: &Candidate| Times { taken: backup.finished_at.min(backup.stored_at), listed: backup.stored_at };
    let mut times: Vec<Times> = facts.backups.iter().map(plain).collect();
    for (place, index) in order.iter().enumerate() {
        for earlier in order[..place].iter().filter(|earlier| precedes(facts, **earlier, *index)) {
            times[*index].listed = times[*index].listed.max(times[*earlier].listed);
        }
    }
    times
}

/// Whether one backup lies before another on its way through the WAL.
fn precedes(facts: &Facts, earlier: usize, later: usize) -> bool {
    let (Some(earlier), Some(later)) = (&facts.backups[earlier].base, &facts.backups[later].base) else { return false };
    let lineage = facts.lineages.iter().find(|lineage| lineage.system_id == later.system_id);
    earlier.needs.start < later.needs.start && lineage.is_some_and(|lineage| lineage.leads_to(earlier, later.timeline))
}

/// The backups, the newest last: base backups by the store's clock and their position, what has no position by the time it counts for.
pub(super) fn oldest_first(backups: &[Candidate], times: &[Times]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..backups.len()).collect();
    order.sort_by_key(|index| match &backups[*index].base {
        Some(base) => (times[*index].listed, base.needs.start, &backups[*index].id),
        None => (times[*index].taken, Lsn::INVALID, &backups[*index].id),
    });
    order
}
