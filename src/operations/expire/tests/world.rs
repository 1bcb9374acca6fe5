//! A model of a cluster's life: WAL, backups, promotions, upgrades, clocks that jump; and what is restorable in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::operations::expire::{BaseBackup, Candidate, ExpirePlan, Facts, LineageFacts};
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineId};
use crate::repository::{BackupId, Holder, LeaseName, LeaseRecord, LeaseState, Protects, Standing};

pub(super) const MIB: u64 = 1 << 20;

/// A segment of some timeline of some cluster.
pub(super) type Place = (SystemId, TimelineId, SegmentNumber);

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// So many segments are written, over so many hours.
    Write(u64, i64),
    /// A backup is taken, by a clock that is wrong by so many hours.
    Backup(i64),
    /// The cluster goes back to an earlier place, chosen by this number, and a new timeline begins there.
    Fork(u64),
    /// `pg_upgrade`: another cluster under the same name.
    Upgrade,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub now: Timestamp,
    pub system_id: SystemId,
    pub timeline: TimelineId,
    pub end: u64,
    pub backups: Vec<Candidate>,
    pub holds: Vec<BackupId>,
    pub leases: Vec<Standing>,
    /// What is stored, and since when.
    pub wal: BTreeMap<Place, Timestamp>,
    pub histories: BTreeMap<SystemId, BTreeMap<TimelineId, String>>,
    pub horizons: BTreeMap<(SystemId, TimelineId), Lsn>,
    /// Every end of WAL that there ever was, and when: what somebody may want to go back to.
    pub moments: Vec<(SystemId, TimelineId, Lsn, Timestamp)>,
    taken: u64,
}

pub(super) fn size() -> SegmentSize {
    SegmentSize::try_from(MIB).expect("a valid size")
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
            system_id: SystemId(1),
            timeline: TimelineId(1),
            end: MIB,
            backups: vec![],
            holds: vec![],
            leases: vec![],
            wal: BTreeMap::new(),
            histories: BTreeMap::new(),
            horizons: BTreeMap::new(),
            moments: vec![],
            taken: 0,
        }
    }

    pub(super) fn happen(&mut self, event: &Event) {
        match event {
            Event::Write(segments, over) => self.write(*segments, *over),
            Event::Backup(wrong) => self.back_up(*wrong),
            Event::Fork(choice) => self.fork(*choice),
            Event::Upgrade => {
                (self.system_id, self.timeline, self.end) = (SystemId(self.system_id.0 + 1), TimelineId(1), MIB);
            }
        }
    }

    fn write(&mut self, segments: u64, over: i64) {
        for _ in 0..segments {
            self.now += hours(over) / i32::try_from(segments).expect("few");
            let number = SegmentNumber::containing(Lsn(self.end), size());
            self.wal.insert((self.system_id, self.timeline, number), self.now);
            self.end = number.end(size()).0;
            self.moments.push((self.system_id, self.timeline, Lsn(self.end), self.now));
        }
    }

    fn back_up(&mut self, wrong: i64) {
        let start = Lsn(self.end + 0x28);
        self.write(1, 1);
        self.taken += 1;
        let finished_at = self.now + hours(wrong);
        self.backups.push(Candidate {
            id: BackupId::new(finished_at, self.taken),
            finished_at,
            stored_at: self.now,
            stored_bytes: 1000,
            base: Some(BaseBackup { system_id: self.system_id, timeline: self.timeline, needs: start..Lsn(start.0 + 0x100) }),
        });
    }

    /// Somebody restores to a place that can be restored, and promotes.
    fn fork(&mut self, choice: u64) {
        let possible: Vec<(TimelineId, Lsn)> = self
            .moments
            .iter()
            .filter(|(system_id, timeline, lsn, _)| {
                *system_id == self.system_id && self.is_restorable(*system_id, *timeline, *lsn, &self.listed())
            })
            .map(|(_, timeline, lsn, _)| (*timeline, *lsn))
            .collect();
        let Some((parent, at)) = possible.get(usize::try_from(choice).expect("small") % possible.len().max(1)) else { return };
        let histories = self.histories.entry(self.system_id).or_default();
        let next = histories.keys().last().map_or(TimelineId(2), |last| TimelineId(last.0 + 1));
        let text =
            histories.get(parent).cloned().unwrap_or_default() + &format!("{}\t{at}\tno recovery target specified\n", parent.0);
        histories.insert(next, text);
        (self.timeline, self.end) = (next, at.0);
        self.write(1, 1);
    }

    pub(super) fn history(&self, system_id: SystemId, timeline: TimelineId) -> TimelineHistory {
        let text = self.histories.get(&system_id).and_then(|histories| histories.get(&timeline));
        let text = text.map(String::as_str).unwrap_or_default();
        TimelineHistory::parse(timeline, text.as_bytes()).expect("a valid history")
    }

    pub(super) fn listed(&self) -> BTreeSet<BackupId> {
        self.backups.iter().map(|backup| backup.id.clone()).collect()
    }

    pub(super) fn base(&self, id: &BackupId) -> &BaseBackup {
        let backup = self.backups.iter().find(|backup| backup.id == *id).expect("a listed backup");
        backup.base.as_ref().expect("a base backup")
    }

    /// The oracle: whether any of these backups can be recovered to that place, file by file as PostgreSQL asks for them.
    pub(super) fn is_restorable(&self, system_id: SystemId, timeline: TimelineId, to: Lsn, from: &BTreeSet<BackupId>) -> bool {
        let history = self.history(system_id, timeline);
        from.iter().map(|id| self.base(id)).any(|base| {
            base.system_id == system_id
                && base.needs.end <= to
                && history.reaches(base.timeline, base.needs.end)
                && self.has(system_id, &history, base.needs.start, to)
        })
    }

    fn has(&self, system_id: SystemId, history: &TimelineHistory, from: Lsn, to: Lsn) -> bool {
        let (first, last) = (SegmentNumber::containing(from, size()), SegmentNumber::before(to, size()));
        (first.0..=last.0).map(SegmentNumber).all(|number| {
            let name = history.segment(number, size());
            self.wal.contains_key(&(system_id, name.timeline(), number))
        })
    }

    /// Whether a backup has the WAL without which it is not consistent.
    pub(super) fn is_sound(&self, id: &BackupId) -> bool {
        let base = self.base(id);
        self.is_restorable(base.system_id, base.timeline, base.needs.end, &BTreeSet::from([id.clone()]))
    }

    pub(super) fn facts(&self) -> Facts {
        let systems: BTreeSet<SystemId> = self.wal.keys().map(|(system_id, ..)| *system_id).collect();
        let holds = self.holds.iter().map(|id| (id.clone(), "held".to_owned())).collect();
        let lineages = systems.into_iter().map(|system_id| self.lineage(system_id)).collect();
        Facts { now: self.now, backups: self.backups.clone(), holds, leases: self.leases.clone(), lineages }
    }

    fn lineage(&self, system_id: SystemId) -> LineageFacts {
        let mut timelines = BTreeMap::new();
        for ((_, timeline, _), stored_at) in self.wal.iter().filter(|((system, ..), _)| *system == system_id) {
            let last = timelines.entry(*timeline).or_insert(*stored_at);
            *last = (*last).max(*stored_at);
        }
        let known = self.histories.get(&system_id).into_iter().flat_map(BTreeMap::keys);
        let histories = known.map(|timeline| (*timeline, self.history(system_id, *timeline))).collect();
        let horizons = self.horizons.iter().filter(|((system, _), _)| *system == system_id);
        let horizons = horizons.map(|((_, timeline), below)| (*timeline, *below)).collect();
        LineageFacts { system_id, segment_size: size(), histories, timelines, horizons }
    }

    /// Does what a plan says; returns the segments that went.
    pub(super) fn apply(&mut self, plan: &ExpirePlan) -> BTreeSet<Place> {
        let stays = |id: &BackupId| plan.backups.iter().any(|decision| decision.id == *id && decision.keep);
        for base in self.backups.iter().filter(|backup| !stays(&backup.id)).filter_map(|backup| backup.base.as_ref()) {
            self.horizons.entry((base.system_id, base.timeline)).or_default();
        }
        self.backups.retain(|backup| stays(&backup.id));
        let mut gone = BTreeSet::new();
        for ((system_id, timeline, number), stored_at) in &self.wal {
            let decided = plan.wal.iter().find(|wal| (wal.system_id, wal.timeline) == (*system_id, *timeline));
            if decided.is_some_and(|wal| wal.needs.removes(*number, *stored_at)) {
                gone.insert((*system_id, *timeline, *number));
            }
        }
        for (system_id, timeline, number) in &gone {
            let horizon = self.horizons.entry((*system_id, *timeline)).or_default();
            *horizon = number.end(size()).max(*horizon);
        }
        self.wal.retain(|place, _| !gone.contains(place));
        gone
    }

    pub(super) fn lease(&mut self, mark: u64, protects: Protects) {
        let holder = Holder { host: "db1".to_owned(), process: 1, mark: String::new() };
        let (purpose, state, made_at) = ("a test".to_owned(), LeaseState::Held, self.now);
        let record = LeaseRecord { holder, purpose, protects, state, lease_s: 120, made_at, left: false };
        self.leases.push(Standing { name: LeaseName::restore(mark), generation: 1, record, stored_at: self.now });
    }
}
