//! Which WAL is needed, timeline by timeline. Pure.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp};

use super::backups::Verdict;
use super::facts::{BaseBackup, Facts, LineageFacts};
use crate::pg::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineId};
use crate::repository::{BackupId, Protects};

/// WAL that no backup leads to is kept so long after it was stored: a first backup may be on its way, or somebody may have one elsewhere.
const ORPHANED_H: i64 = 7 * 24;

/// A recovery that stops at the end of a backup asks for segments behind it all the same, because the server reads ahead of what it replays
/// (`XLogPrefetcherReadAhead` in `access/transam/xlogprefetcher.c`, as far as `wal_decode_buffer_size` reaches); a hole there would stop it.
const READ_AHEAD: u64 = 2;

/// What is needed of one timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// All of it.
    All(String),
    /// All from a position on.
    From(Lsn),
    /// Nothing any more, but what was stored after this moment is left for a while.
    StoredAfter(Timestamp),
}

/// What is needed of one timeline: `need`, and besides the WAL of single backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalNeeds {
    /// The cluster.
    pub system_id: SystemId,
    /// Its segment size.
    pub segment_size: SegmentSize,
    /// The timeline.
    pub timeline: TimelineId,
    /// What is needed of it.
    pub need: Need,
    /// What single backups need, which are kept without what follows them.
    pub islands: Vec<Range<Lsn>>,
}

impl WalNeeds {
    /// Whether a segment, stored at that time, may go.
    #[must_use]
    pub fn removes(&self, segment: SegmentNumber, stored_at: Timestamp) -> bool {
        let useless = match &self.need {
            Need::All(_) => false,
            Need::From(from) => segment < SegmentNumber::containing(*from, self.segment_size),
            Need::StoredAfter(moment) => stored_at < *moment,
        };
        useless && !self.islands.iter().any(|island| self.touches(segment, island))
    }

    fn touches(&self, segment: SegmentNumber, island: &Range<Lsn>) -> bool {
        let first = SegmentNumber::containing(island.start, self.segment_size);
        let last = SegmentNumber::containing(island.end, self.segment_size);
        (first..=SegmentNumber(last.0 + READ_AHEAD)).contains(&segment)
    }
}

/// What is needed of every timeline that WAL is stored of.
pub(super) fn needs(facts: &Facts, verdicts: &[Verdict]) -> Vec<WalNeeds> {
    facts.lineages.iter().flat_map(|lineage| Lineage::new(facts, lineage, verdicts).needs(facts.now)).collect()
}

/// One cluster and what is kept of it.
struct Lineage<'a> {
    lineage: &'a LineageFacts,
    /// Every listed backup.
    listed: Vec<&'a BaseBackup>,
    /// Those from which recovery must stay possible.
    sources: Vec<&'a BaseBackup>,
    /// Those of which the backup alone is kept.
    alone: Vec<&'a BaseBackup>,
    /// The lowest position that a running recovery is at.
    recovering: Option<Lsn>,
    /// Whether a backup is being taken of which it is not known where it begins.
    backing_up: bool,
}

impl<'a> Lineage<'a> {
    fn new(facts: &'a Facts, lineage: &'a LineageFacts, verdicts: &[Verdict]) -> Self {
        let judged = facts.backups.iter().zip(verdicts).filter_map(|(backup, verdict)| Some((backup.base.as_ref()?, verdict)));
        let of_it: Vec<(&BaseBackup, &Verdict)> = judged.filter(|(base, _)| base.system_id == lineage.system_id).collect();
        let kept = of_it.iter().filter(|(_, verdict)| verdict.is_kept());
        let (sources, alone): (Vec<_>, Vec<_>) = kept.partition(|(_, verdict)| verdict.window);
        let bases = |pairs: Vec<&(&'a BaseBackup, &Verdict)>| pairs.into_iter().map(|(base, _)| *base).collect();
        let recovering = facts.leases.iter().filter_map(|lease| match lease.record.protects {
            Protects::Wal { system_id, from } if system_id == lineage.system_id => Some(from),
            _ => None,
        });
        let is_listed = |id: &BackupId| facts.backups.iter().any(|backup| backup.id == *id);
        let backing_up = facts.leases.iter().any(|lease| match &lease.record.protects {
            Protects::Backup(id) => !is_listed(id),
            _ => false,
        });
        Self {
            lineage,
            listed: of_it.iter().map(|(base, _)| *base).collect(),
            sources: bases(sources),
            alone: bases(alone),
            recovering: recovering.min(),
            backing_up,
        }
    }

    fn needs(&self, now: Timestamp) -> Vec<WalNeeds> {
        let LineageFacts { system_id, segment_size, timelines, .. } = self.lineage;
        let of = |timeline: &TimelineId| WalNeeds {
            system_id: *system_id,
            segment_size: *segment_size,
            timeline: *timeline,
            need: self.need(*timeline, now),
            islands: self.islands(*timeline),
        };
        timelines.keys().map(of).collect()
    }

    fn need(&self, timeline: TimelineId, now: Timestamp) -> Need {
        if let Some(why) = self.untouched() {
            return Need::All(why.to_owned());
        }
        match self.from(timeline) {
            Some(from) => Need::From(from),
            None if !self.lineage.is_known(timeline) => Need::All("its history is not stored".to_owned()),
            None => {
                let moment = now.checked_sub(SignedDuration::from_hours(ORPHANED_H)).unwrap_or(Timestamp::MIN);
                Need::StoredAfter(self.recovering.map_or(moment, |_| Timestamp::MIN))
            }
        }
    }

    /// Why no WAL of this cluster may go at all.
    fn untouched(&self) -> Option<&'static str> {
        if self.backing_up {
            return Some("a backup is being taken");
        }
        // Somebody who has just begun may still rely on backups that were taken by other means, until one of ours has been replaced.
        let inside = |base: &BaseBackup| self.from(base.timeline).is_some_and(|from| from <= base.needs.start);
        let replaced = self.listed.iter().any(|base| !inside(base));
        if !replaced && self.lineage.horizons.is_empty() {
            return Some(match self.listed.is_empty() {
                true => "no backup of this cluster is listed yet",
                false => "its first backup is still needed",
            });
        }
        None
    }

    /// From where on all of a timeline is needed.
    fn from(&self, timeline: TimelineId) -> Option<Lsn> {
        let sources = self.sources.iter();
        let needed = sources.filter_map(|base| self.lineage.needed_from(timeline, base.timeline, base.needs.start));
        needed.min().map(|from| self.recovering.map_or(from, |recovering| from.min(recovering)))
    }

    fn islands(&self, timeline: TimelineId) -> Vec<Range<Lsn>> {
        let needed = |base: &&&BaseBackup| self.lineage.needed_from(timeline, base.timeline, base.needs.start);
        let mut islands: Vec<Range<Lsn>> = self
            .alone
            .iter()
            .filter(|base| base.timeline == timeline || needed(base).is_some_and(Lsn::is_valid))
            .map(|base| base.needs.clone())
            .collect();
        islands.sort_by_key(|island| island.start);
        islands
    }
}
