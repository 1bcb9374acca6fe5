//! What is stored of the WAL, found by listing keys.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Slice, WalArchive};
use crate::pg::{SegmentName, SegmentNumber, SystemId, TimelineId, WalFileName};
use crate::repository::{Repository, ResourceName, Result, keys};
use crate::storage::{Entry, ObjectKey, list_all};

/// An object that holds WAL or belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalObject {
    /// A whole file.
    File(WalFileName),
    /// A slice.
    Slice(Slice),
}

impl WalObject {
    /// The segment that it belongs to; none for a history file.
    #[must_use]
    pub const fn segment(&self) -> Option<SegmentName> {
        match self {
            Self::File(WalFileName::Segment(name) | WalFileName::Partial(name) | WalFileName::Backup(name, _)) => Some(*name),
            Self::File(WalFileName::History(_)) => None,
            Self::Slice(slice) => Some(slice.segment),
        }
    }

    /// Reads the last part of a key; `None` for what is no name of ours.
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        if let Ok(name) = file_name.parse() {
            return Some(Self::File(name));
        }
        let (segment, bytes) = file_name.split_once('.')?;
        let (start, end) = bytes.split_once('-')?;
        let offset = |digits: &str| u64::from_str_radix(digits, 16).ok();
        Some(Self::Slice(Slice { segment: segment.parse().ok()?, bytes: offset(start)?..offset(end)? }))
    }
}

/// One line of a listing of stored WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWal {
    /// What it is.
    pub object: WalObject,
    /// Its size as stored, in bytes.
    pub stored_bytes: u64,
    /// When it was stored, by the store's clock.
    pub stored_at: Timestamp,
}

impl StoredWal {
    pub(super) fn from_entry(entry: &Entry) -> Option<Self> {
        let object = WalObject::parse(entry.key.file_name())?;
        Some(Self { object, stored_bytes: entry.size, stored_at: entry.modified })
    }
}

impl Repository {
    /// The newest timeline of a cluster whose history file is stored, and the object.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn newest_history(&self, resource: &ResourceName, system_id: SystemId) -> Result<Option<(TimelineId, String)>> {
        let newest = self.histories(resource, system_id).await?.last().copied();
        Ok(newest.map(|newest| (newest, keys::wal_file(resource, system_id, WalFileName::History(newest)).to_string())))
    }

    async fn histories(&self, resource: &ResourceName, system_id: SystemId) -> Result<Vec<TimelineId>> {
        let entries = list_all(self.store.as_ref(), &keys::histories(resource, system_id)).await?;
        let timeline = |entry: &Entry| match entry.key.file_name().parse() {
            Ok(WalFileName::History(timeline)) => Some(timeline),
            _ => None,
        };
        Ok(entries.iter().filter_map(timeline).collect())
    }
}

impl WalArchive {
    /// The timelines of which anything is stored, history files included, in ascending order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn timelines(&self) -> Result<Vec<TimelineId>> {
        let groups = self.repository.store.folders(&keys::wal(&self.resource, self.system_id)).await?;
        let number = |group: &String| u32::from_str_radix(group.get(..8)?, 16).ok().map(TimelineId);
        let mut timelines: BTreeSet<TimelineId> = groups.iter().filter(|group| group.len() == 16).filter_map(number).collect();
        timelines.extend(self.histories().await?);
        Ok(timelines.into_iter().collect())
    }

    /// The last and the first object of each timeline, the newest timeline first.
    pub(in crate::repository) async fn sampled_objects(&self) -> Result<Vec<ObjectKey>> {
        let mut sampled = Vec::new();
        for timeline in self.timelines().await?.into_iter().rev() {
            let group = self.list_last_group(timeline).await?;
            let from = SegmentName::new(timeline, SegmentNumber(0), self.segment_size);
            let ends = group.into_iter().next_back().into_iter().chain(self.list_from(from, 1).await?);
            sampled.extend(ends.map(|stored| self.key_of(&stored.object)));
        }
        sampled.dedup();
        Ok(sampled)
    }

    /// The timelines whose history file is stored, in ascending order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn histories(&self) -> Result<Vec<TimelineId>> {
        self.repository.histories(&self.resource, self.system_id).await
    }

    /// The newest of them, and its object.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn newest_history(&self) -> Result<Option<(TimelineId, String)>> {
        self.repository.newest_history(&self.resource, self.system_id).await
    }

    /// The stored slices of a segment, in the order of their first bytes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn slices(&self, segment: SegmentName) -> Result<Vec<Slice>> {
        let entries = list_all(self.repository.store.as_ref(), &keys::slices(&self.resource, self.system_id, segment)).await?;
        let slice = |entry: &Entry| match WalObject::parse(entry.key.file_name()) {
            Some(WalObject::Slice(slice)) => Some(slice),
            _ => None,
        };
        Ok(entries.iter().filter_map(slice).collect())
    }

    /// The first objects stored on a segment's timeline at or past that segment, whole files and slices alike, in ascending order;
    /// at most `limit`. None of them is the proof that nothing at or past that place is stored.
    ///
    /// # Errors
    /// When the store fails: never taken for an empty answer.
    pub async fn list_from(&self, from: SegmentName, limit: usize) -> Result<Vec<StoredWal>> {
        let prefix = keys::timeline(&self.resource, self.system_id, from.timeline());
        let first = self.key(WalFileName::Segment(from));
        self.list_page(&prefix, just_before(first.as_str()), limit).await
    }

    /// The objects stored on the same timeline after `last`, the last one of the page before; as `list_from`.
    ///
    /// # Errors
    /// As `list_from`.
    pub async fn list_after(&self, last: &WalObject, limit: usize) -> Result<Vec<StoredWal>> {
        let key = self.key_of(last);
        let Some(segment) = last.segment() else { return Ok(Vec::new()) };
        let prefix = keys::timeline(&self.resource, self.system_id, segment.timeline());
        self.list_page(&prefix, key.as_str().to_owned(), limit).await
    }

    /// Everything that is stored of a segment: the segment itself, its slices, its `.partial` and `.backup` files. One listing that
    /// begins when this is called, so that it shows every object whose put was over by then, or one that holds its bytes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stored_of(&self, segment: SegmentName) -> Result<Vec<WalObject>> {
        let key = self.key(WalFileName::Segment(segment));
        let entries = list_all(self.repository.store.as_ref(), key.as_str()).await?;
        Ok(entries.iter().filter_map(StoredWal::from_entry).map(|stored| stored.object).collect())
    }

    /// At most `limit` objects of ours. What is not ours is skipped, so that a page that is not full is the last one.
    async fn list_page(&self, prefix: &str, mut after: String, limit: usize) -> Result<Vec<StoredWal>> {
        let mut found = Vec::new();
        loop {
            let asked = limit - found.len();
            let entries = self.repository.store.list(prefix, Some(&after), asked).await?;
            found.extend(entries.iter().filter_map(StoredWal::from_entry));
            match entries.last() {
                Some(last) if entries.len() >= asked && found.len() < limit => last.key.as_str().clone_into(&mut after),
                _ => return Ok(found),
            }
        }
    }

    /// The last object of a segment before `limit` that is stored on its timeline; none where nothing is stored before it.
    ///
    /// # Errors
    /// When the store fails: never taken for an empty answer.
    pub async fn last_before(&self, limit: SegmentName) -> Result<Option<StoredWal>> {
        let wal = keys::wal(&self.resource, self.system_id);
        let (timeline, last) = (format!("{:08X}", limit.timeline().0), limit.group());
        let groups = self.repository.store.folders(&wal).await?;
        let earlier = |group: &&String| group.len() == 16 && group.starts_with(&timeline) && **group <= last;
        for group in groups.iter().filter(earlier).rev() {
            let entries = list_all(self.repository.store.as_ref(), &format!("{wal}{group}/")).await?;
            let before = |stored: &StoredWal| stored.object.segment().is_some_and(|segment| segment < limit);
            if let Some(found) = entries.iter().filter_map(StoredWal::from_entry).rfind(before) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The objects of the last group of segments stored on a timeline, in ascending order; empty where nothing is stored on it.
    /// A group is what shares the first sixteen digits of its names.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_last_group(&self, timeline: TimelineId) -> Result<Vec<StoredWal>> {
        let wal = keys::wal(&self.resource, self.system_id);
        let start = format!("{:08X}", timeline.0);
        let groups = self.repository.store.folders(&wal).await?;
        let Some(last) = groups.iter().rfind(|group| group.len() == 16 && group.starts_with(&start)) else {
            return Ok(Vec::new());
        };
        let entries = list_all(self.repository.store.as_ref(), &format!("{wal}{last}/")).await?;
        Ok(entries.iter().filter_map(StoredWal::from_entry).collect())
    }
}

/// A string that sorts before `key` and after every key of ours that does: keys end in hexadecimal digits here.
fn just_before(key: &str) -> String {
    let (start, last) = key.split_at(key.len() - 1);
    let before = last.bytes().next().map_or('/', |byte| char::from(byte.saturating_sub(1)));
    format!("{start}{before}~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_below_are_skipped_and_the_key_itself_is_not() {
        for (key, lower) in [("a/0A", "a/09"), ("a/10", "a/0F"), ("a/10", "a/0F.slices/0F.0-1"), ("a/B0", "a/AF.partial")] {
            let after = just_before(key);
            assert!(after.as_str() < key && lower < after.as_str(), "{key} {lower} {after}");
        }
    }

    #[test]
    fn slices_are_told_from_files() {
        let slice = WalObject::parse("000000010000000000000003.00001000-00002000");
        assert!(matches!(slice, Some(WalObject::Slice(Slice { bytes, .. })) if bytes == (0x1000..0x2000)));
        assert!(matches!(
            WalObject::parse("000000010000000000000003.00000028.backup"),
            Some(WalObject::File(WalFileName::Backup(..)))
        ));
        assert_eq!(WalObject::parse("notes.txt"), None);
    }
}
