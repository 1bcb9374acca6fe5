//! What is stored around a segment: gathered from the repository for `decide`.

use super::error::{Error, Result};
use super::{Evidence, SegmentFacts};
use crate::pg::{Lsn, SegmentName, SegmentNumber, TimelineId, WalFileName};
use crate::repository::{Backups, StoredWal, WalArchive, WalObject};

/// Enough for all slices that a segment usually has.
const PAGE_ENTRIES: usize = 1000;

/// What is stored of a segment's timeline at and past it.
struct Around {
    whole: bool,
    facts: SegmentFacts,
}

/// Gathers what is known about a segment; `None` where it is stored as a whole object after all.
pub(super) async fn gather(archive: &WalArchive, backups: &Backups, name: SegmentName) -> Result<Option<SegmentFacts>> {
    let size = archive.segment_size();
    let no_such = || Error::Content {
        object: archive.key(WalFileName::Segment(name)).to_string(),
        detail: format!("a cluster with segments of {} bytes has no such segment", size.bytes()),
    };
    let number = name.number(size).ok_or_else(no_such)?;
    let facts = SegmentFacts { name, number, size, slices: Vec::new(), partial_end: None, begins: None, later: Vec::new() };
    // Evidence first, and what is stored of the segment last: an upload that goes on in between can only make the answer "deliver".
    let (gaps, backed_up, histories) =
        tokio::try_join!(gaps(archive, name), backed_up(archive, backups, name), histories(archive, name.timeline()))?;
    let mut around = Around { whole: false, facts };
    around.facts.begins = histories.begins;
    around.facts.later.extend(gaps.into_iter().chain(backed_up).chain(histories.children));
    around.look(archive).await?;
    // Retention records what it is about to remove: so this is looked up after the WAL itself was found missing.
    let horizon = archive.horizons().await?.get(&name.timeline()).copied();
    around.facts.later.extend(horizon.map(|below| Evidence::Removed { below }));
    Ok((!around.whole).then_some(around.facts))
}

impl Around {
    async fn look(&mut self, archive: &WalArchive) -> Result<()> {
        let name = self.facts.name;
        let page = archive.list_from(name, PAGE_ENTRIES).await?;
        let full = page.len() >= PAGE_ENTRIES;
        let only_ours = page.iter().all(|stored| stored.object.segment() == Some(name));
        self.take(&page);
        if full && only_ours {
            self.facts.slices = archive.slices(name).await?;
            let next = SegmentName::new(name.timeline(), self.facts.number.next(), self.facts.size);
            self.take(&archive.list_from(next, 1).await?);
        }
        let size = self.facts.size.bytes();
        self.facts.slices.retain(|slice| slice.bytes.end <= size);
        if self.facts.partial_end.is_some() {
            let about = archive.about_file(WalFileName::Partial(name)).await?;
            let start = self.facts.number.start(self.facts.size);
            self.facts.partial_end = about.map(|about| about.end.unwrap_or(start).bytes_since(start));
        }
        Ok(())
    }

    fn take(&mut self, page: &[StoredWal]) {
        for stored in page {
            match &stored.object {
                WalObject::File(WalFileName::Segment(name)) if *name == self.facts.name => self.whole = true,
                WalObject::File(WalFileName::Partial(name)) if *name == self.facts.name => self.facts.partial_end = Some(0),
                WalObject::Slice(slice) if slice.segment == self.facts.name => self.facts.slices.push(slice.clone()),
                // A later segment, or the note of a backup that began in this one.
                other => match other.segment() {
                    Some(name) if self.facts.later.iter().all(|evidence| !matches!(evidence, Evidence::Segment(_))) => {
                        self.facts.later.push(Evidence::Segment(name));
                    }
                    _ => {}
                },
            }
        }
    }
}

async fn gaps(archive: &WalArchive, name: SegmentName) -> Result<Vec<Evidence>> {
    let gaps = archive.gaps().await?.records.into_iter().filter(|gap| gap.timeline == name.timeline());
    Ok(gaps.map(|gap| Evidence::Gap { end: gap.end }).collect())
}

async fn backed_up(archive: &WalArchive, backups: &Backups, name: SegmentName) -> Result<Vec<Evidence>> {
    let of_timeline = |entry: crate::repository::BackupEntry| {
        let detail = entry.postgres();
        let same = detail.system_id == archive.system_id() && detail.timeline == name.timeline();
        same.then(|| Evidence::Backup { id: entry.id.clone(), stop: detail.stop_lsn })
    };
    let listed = backups.list().await?;
    for damaged in listed.damaged {
        tracing::warn!(%damaged, "a backup that is not known cannot show that the WAL went on");
    }
    Ok(listed.records.into_iter().filter_map(of_timeline).collect())
}

/// What the stored history files say about a timeline.
struct Histories {
    /// Where it begins.
    begins: Option<Lsn>,
    /// The timelines that left it, and of which WAL is stored.
    children: Vec<Evidence>,
}

async fn histories(archive: &WalArchive, of: TimelineId) -> Result<Histories> {
    let mut found = Histories { begins: None, children: Vec::new() };
    let later = archive.histories().await?.into_iter().filter(|timeline| *timeline >= of);
    for timeline in later {
        let Some((_, content)) = archive.get_file(WalFileName::History(timeline)).await? else { continue };
        let history = super::history_of(archive, timeline, &content)?;
        if timeline == of {
            found.begins = history.parent().map(|parent| parent.end);
        } else if let Some(switch) = history.switch_from(of)
            && has_wal(archive, timeline).await?
        {
            found.children.push(Evidence::Child { timeline, switch });
        }
    }
    Ok(found)
}

async fn has_wal(archive: &WalArchive, timeline: TimelineId) -> Result<bool> {
    let first = SegmentName::new(timeline, SegmentNumber(0), archive.segment_size());
    Ok(!archive.list_from(first, 1).await?.is_empty())
}
