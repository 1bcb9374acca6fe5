//! How much of the stored WAL a plan lets go: a listing, page by page.

use jiff::{SignedDuration, Timestamp};

use super::gather::archive_of;
use super::plan::{ExpirePlan, WalDecision};
use super::wal::WalNeeds;
use crate::pg::{Lsn, SegmentName, SegmentNumber, TimelineId, WalFileName};
use crate::repository::{Repository, ResourceName, Result, StoredWal, WalArchive, WalObject};

/// How many keys one listing asks for.
const PAGE_ENTRIES: usize = 1000;
/// A segment's slices go when it has been stored as a whole for so long: until then its uploader is about to remove them itself.
const SUPERSEDED_H: i64 = 1;

/// The objects of a timeline that go, page by page, in ascending order.
pub(super) struct Doomed<'a> {
    archive: &'a WalArchive,
    needs: &'a WalNeeds,
    now: Timestamp,
    page: Option<Vec<StoredWal>>,
    /// The last segment that was listed as a whole, and when it was stored.
    whole: Option<(SegmentName, Timestamp)>,
}

/// An object that goes.
pub(super) struct Goes {
    /// What it is.
    pub stored: StoredWal,
    /// The end of its segment, where retention removes it; none where something else holds its content.
    pub end: Option<Lsn>,
}

impl<'a> Doomed<'a> {
    pub(super) fn new(archive: &'a WalArchive, needs: &'a WalNeeds, now: Timestamp) -> Self {
        Self { archive, needs, now, page: None, whole: None }
    }

    /// What goes of the next page; none behind the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Goes>>> {
        let page = match &self.page {
            None => self.archive.list_from(self.first(self.needs.timeline), PAGE_ENTRIES).await?,
            Some(page) => match page.last() {
                Some(last) if page.len() >= PAGE_ENTRIES => self.archive.list_after(&last.object, PAGE_ENTRIES).await?,
                _ => return Ok(None),
            },
        };
        let goes = page.iter().filter_map(|stored| self.judge(stored)).collect();
        self.page = Some(page);
        Ok(Some(goes))
    }

    fn first(&self, timeline: TimelineId) -> SegmentName {
        SegmentName::new(timeline, SegmentNumber(0), self.archive.segment_size())
    }

    fn judge(&mut self, stored: &StoredWal) -> Option<Goes> {
        let segment = stored.object.segment()?;
        let number = segment.number(self.archive.segment_size())?;
        if let WalObject::File(WalFileName::Segment(name)) = stored.object {
            self.whole = Some((name, stored.stored_at));
        }
        let end = self.needs.removes(number, stored.stored_at).then(|| number.end(self.archive.segment_size()));
        let superseded = matches!(stored.object, WalObject::Slice(_))
            && self.whole.is_some_and(|(name, since)| name == segment && self.is_old(since));
        (end.is_some() || superseded).then(|| Goes { stored: stored.clone(), end })
    }

    fn is_old(&self, since: Timestamp) -> bool {
        self.now.duration_since(since) > SignedDuration::from_hours(SUPERSEDED_H)
    }
}

/// Adds to a plan how much of the WAL goes.
pub(super) async fn measure(repository: &Repository, resource: &ResourceName, plan: &mut ExpirePlan) -> Result<()> {
    for decision in &mut plan.wal {
        if let Some(archive) = archive_of(repository, resource, decision.system_id).await? {
            measure_one(&archive, decision, plan.at).await?;
            plan.freed_bytes += decision.bytes;
        }
    }
    Ok(())
}

pub(super) async fn measure_one(archive: &WalArchive, decision: &mut WalDecision, now: Timestamp) -> Result<()> {
    let needs = decision.needs.clone();
    let mut doomed = Doomed::new(archive, &needs, now);
    while let Some(page) = doomed.next().await? {
        for goes in page {
            decision.objects += 1;
            decision.bytes += goes.stored.stored_bytes;
            decision.removed_below = decision.removed_below.max(goes.end);
        }
    }
    Ok(())
}
