//! Which WAL has to be there, from what is listed alone.

use std::borrow::Cow;
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
    /// The newest timeline that WAL is stored of, where this is the cluster that is written.
    pub newest: Option<TimelineId>,
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

    /// From where on a timeline's WAL is of use; `None` where no backup leads to it or along it. What was written before the first backup, or
    /// on timelines that were left before it, may never have been stored here: nothing needs it.
    pub(super) fn begins(&self, timeline: TimelineId) -> Option<Lsn> {
        let ways = self.backups.iter().flat_map(|backup| self.ways(backup).map(move |way| (way, backup)));
        let first = ways.filter_map(|(way, backup)| needed_from(timeline, &way, backup.postgres())).min()?;
        // What lies below a horizon was removed by retention, but for what single backups need: they are verified with it.
        let left = self.horizons.get(&timeline).map_or(first, |below| first.max(*below));
        let living = self.living().and_then(|(way, backup)| needed_from(timeline, &way, backup.postgres()));
        Some(living.map_or(left, |living| living.min(left)))
    }

    /// The timelines that a backup leads to, with their ancestors.
    fn ways<'a>(&'a self, backup: &'a BackupEntry) -> impl Iterator<Item = Cow<'a, TimelineHistory>> {
        let detail = backup.postgres();
        let own = self.histories.iter().all(|history| history.timeline() != detail.timeline);
        let own = own.then(|| Cow::Owned(TimelineHistory::without_ancestors(detail.timeline)));
        let ways = self.histories.iter().map(Cow::Borrowed).chain(own);
        ways.filter(|way| way.reaches(detail.timeline, detail.stop_lsn))
    }

    /// The newest timeline, and the last backup that leads to it: retention keeps both, and all between them, whatever a horizon says.
    fn living(&self) -> Option<(Cow<'_, TimelineHistory>, &BackupEntry)> {
        let newest = self.newest?;
        let way_of = |backup| self.ways(backup).find(|way| way.timeline() == newest).map(|way| (way, backup));
        self.backups.iter().filter_map(way_of).max_by_key(|(_, backup)| backup.postgres().stop_lsn)
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

/// From where on a backup needs the WAL of one timeline, to be recovered to the end of another one that it leads to.
fn needed_from(timeline: TimelineId, way: &TimelineHistory, backup: &PostgresBackup) -> Option<Lsn> {
    let span = way.spans().into_iter().find(|span| span.timeline == timeline)?;
    span.end.is_none_or(|end| end > backup.start_lsn).then(|| span.start.max(backup.start_lsn))
}
