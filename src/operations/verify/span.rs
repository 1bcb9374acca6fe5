//! Which WAL has to be there, from what is listed alone.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::operations::status::Noted;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentNumber, TimelineId};
use crate::repository::{BackupEntry, Gap, PostgresBackup, Result, WalArchive};
use crate::resources::postgres::archive::coverage::holes;
use crate::resources::postgres::archive::inventory::stretches;

/// What is known of a cluster before its WAL is looked at.
pub(super) struct Known {
    pub archive: WalArchive,
    pub backups: Vec<BackupEntry>,
    pub gaps: Vec<Noted<Gap>>,
    pub histories: Vec<TimelineHistory>,
    pub horizons: BTreeMap<TimelineId, Lsn>,
}

/// The WAL of one timeline that something leads to.
pub(super) struct Span {
    pub timeline: TimelineId,
    pub from: Lsn,
    pub to: Lsn,
    /// What is not stored of it.
    pub holes: Vec<Range<Lsn>>,
}

impl Span {
    pub(super) fn bytes(&self) -> u64 {
        let missing: u64 = self.holes.iter().map(|hole| hole.end.bytes_since(hole.start)).sum();
        self.to.bytes_since(self.from).saturating_sub(missing)
    }
}

impl Known {
    /// The span of every timeline that is stored and of use.
    pub(super) async fn spans(&self) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for timeline in self.archive.timelines().await? {
            if let Some(from) = self.begins(timeline) {
                spans.push(self.span(timeline, from).await?);
            }
        }
        Ok(spans)
    }

    pub(super) async fn span(&self, timeline: TimelineId, from: Lsn) -> Result<Span> {
        let first = SegmentNumber::containing(from, self.archive.segment_size());
        let stored = stretches(&self.archive, timeline, first).await?;
        let end = stored.last().map_or(from, |last| last.end).max(from);
        let to = self.left_at(timeline).filter(|left| *left > end).unwrap_or(end);
        let pieces: Vec<Range<u64>> = stored.iter().map(|stretch| stretch.start.0..stretch.end.0).collect();
        let missing = holes(&pieces, from.0..to.0);
        Ok(Span { timeline, from, to, holes: missing.into_iter().map(|hole| Lsn(hole.start)..Lsn(hole.end)).collect() })
    }

    /// From where on a timeline's WAL is of use; `None` where no backup leads to it or along it.
    pub(super) fn begins(&self, timeline: TimelineId) -> Option<Lsn> {
        let first = self.backups.iter().filter_map(|backup| self.needed_from(timeline, backup.postgres())).min()?;
        // What lies below a horizon was removed by retention, but for what single backups need: they are verified with it.
        Some(self.horizons.get(&timeline).map_or(first, |below| first.max(*below)))
    }

    /// From where on a backup needs a timeline's WAL, to be recovered to the end of any timeline that it leads to. What was written before
    /// the first backup, or on timelines that were left before it, may never have been stored here: nothing needs it.
    fn needed_from(&self, timeline: TimelineId, backup: &PostgresBackup) -> Option<Lsn> {
        let is_known = self.histories.iter().any(|history| history.timeline() == backup.timeline);
        let own = TimelineHistory::without_ancestors(backup.timeline);
        let ways = self.histories.iter().chain((!is_known).then_some(&own));
        let leading = ways.filter(|way| way.reaches(backup.timeline, backup.stop_lsn));
        let spans = leading.flat_map(TimelineHistory::spans).filter(|span| span.timeline == timeline);
        let needed = spans.filter(|span| span.end.is_none_or(|end| end > backup.start_lsn));
        needed.map(|span| span.start.max(backup.start_lsn)).min()
    }

    fn parent(&self, timeline: TimelineId) -> Option<(TimelineId, Lsn)> {
        let history = self.histories.iter().find(|history| history.timeline() == timeline)?;
        history.parent().map(|parent| (parent.timeline, parent.end))
    }

    /// Up to where recovery reads a timeline that it leaves for another one: to the segment of the switch, which the other one has.
    fn left_at(&self, timeline: TimelineId) -> Option<Lsn> {
        let size = self.archive.segment_size();
        let parents = self.histories.iter().filter_map(|history| self.parent(history.timeline()));
        let left = parents.filter(|(parent, _)| *parent == timeline).map(|(_, fork)| fork).max()?;
        Some(SegmentNumber::containing(left, size).start(size))
    }

    /// Whether the history of a timeline is stored, where it has one.
    pub(super) fn has_history(&self, timeline: TimelineId) -> bool {
        timeline == TimelineId::FIRST || self.histories.iter().any(|history| history.timeline() == timeline)
    }

    /// The recorded gap that a stretch lies in.
    pub(super) fn gap(&self, timeline: TimelineId, range: &Range<Lsn>) -> Option<&Noted<Gap>> {
        self.gaps.iter().find(|gap| gap.record.cuts(timeline, range))
    }
}
