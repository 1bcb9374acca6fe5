//! The content of a backup: packs, which are streamed, and small enveloped objects.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{BackupEntry, BackupId, BackupObject, Backups, Needed, PackIndex, PackName};
use crate::codec::{Encrypting, Hash, Reveal};
use crate::repository::{Envelope, Error, Result, keys};
use crate::storage::{ObjectKey, Upload};

impl Backups {
    /// Begins an object of a backup that is too large for memory.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upload(&self, id: &BackupId, name: &str) -> Result<Box<dyn Upload>> {
        Ok(self.repository.store.upload(&keys::data(&self.resource, id, name)).await?)
    }

    /// What encrypts the content of an object of a backup; `None` where new objects are stored in the clear.
    pub(super) fn begin_encrypting(&self, id: &BackupId, name: &str) -> Result<Option<Encrypting>> {
        self.repository.begin_encrypting(&keys::data(&self.resource, id, name), "backup-content")
    }

    /// Stores a small object of a backup in an envelope, of which, encrypted, nothing is readable but its kind and name; and returns what the catalog entry says of it.
    ///
    /// # Errors
    /// When the store fails, or holds another object of that name.
    pub async fn put_small(&self, id: &BackupId, name: &str, kind: &'static str, plain: Bytes) -> Result<BackupObject> {
        let key = keys::data(&self.resource, id, name);
        let plain_bytes = plain.len() as u64;
        let envelope = Envelope { key: key.clone(), kind, about: serde_json::Value::Null, reveal: Reveal::Nothing };
        let sealed = self.repository.seal_envelope(envelope, plain).await?;
        let (stored_bytes, blake3) = (sealed.object.len() as u64, Hash::of(&sealed.object));
        self.repository.put_sealed(&key, sealed).await?;
        Ok(BackupObject { name: name.to_owned(), plain_bytes, stored_bytes, blake3 })
    }

    /// Stores a pack's index.
    ///
    /// # Errors
    /// As `put_small`.
    pub async fn put_index(&self, id: &BackupId, pack: PackName, index: &PackIndex) -> Result<BackupObject> {
        self.put_small(id, &pack.index(), "pack-index", index.to_json()).await
    }

    /// Reads and checks a pack's index: what it returns can be relied on as `PackIndex` describes it.
    ///
    /// # Errors
    /// As `get_small`, and `Error::Malformed` where it does not describe a pack.
    pub async fn get_index(&self, id: &BackupId, pack: PackName) -> Result<PackIndex> {
        let json = self.get_small(id, &pack.index()).await?;
        PackIndex::read(&json).map_err(|detail| Error::Malformed { object: self.key(id, &pack.index()), detail })
    }

    /// Reads and checks a small object of a backup.
    ///
    /// # Errors
    /// When the store fails, or the object is missing or damaged.
    pub async fn get_small(&self, id: &BackupId, name: &str) -> Result<Bytes> {
        let key = keys::data(&self.resource, id, name);
        let missing =
            || Error::Malformed { object: key.to_string(), detail: "a listed backup names it, and it is not there".into() };
        self.repository.get_envelope(&key).await?.map(|(_, plain)| plain).ok_or_else(missing)
    }

    /// Reads a part of an object as it is stored.
    ///
    /// # Errors
    /// When the store fails or there is no such object.
    pub async fn get_range(&self, id: &BackupId, name: &str, range: Range<u64>) -> Result<Bytes> {
        Ok(self.repository.store.get_range(&keys::data(&self.resource, id, name), range).await?)
    }

    /// The size of an object as it is stored; `None` where there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn size(&self, id: &BackupId, name: &str) -> Result<Option<u64>> {
        Ok(self.repository.store.size(&keys::data(&self.resource, id, name)).await?)
    }

    /// One object of each of the newest and of the oldest backups, at most `limit` of either, the newest first; and behind them one of each of the
    /// oldest backups, listed or not, whose content these need, at most `limit`: there lies what was stored before the recipients were changed.
    pub(in crate::repository) async fn sampled_objects(&self, limit: usize) -> Result<Vec<ObjectKey>> {
        let entries = self.list().await?.records;
        let is_sampled = |place: usize| place < limit || place + limit >= entries.len();
        let sampled: Vec<&BackupEntry> =
            entries.iter().enumerate().rev().filter(|(place, _)| is_sampled(*place)).map(|(_, entry)| entry).collect();
        let mut kept: BTreeMap<&BackupId, &BackupObject> = BTreeMap::new();
        for content in sampled.iter().flat_map(|entry| entry.kept()) {
            kept.extend(content.objects.first().map(|object| (&content.backup, object)));
        }
        let own = sampled.iter().filter_map(|entry| Some((&entry.id, entry.objects.first()?)));
        let all = own.chain(kept.into_iter().take(limit).rev());
        Ok(all.map(|(id, object)| keys::data(&self.resource, id, &object.name)).collect())
    }

    /// The key of an object, for messages.
    #[must_use]
    pub fn key(&self, id: &BackupId, name: &str) -> String {
        keys::data(&self.resource, id, name).to_string()
    }

    /// The backups that there is content of, listed or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn with_content(&self) -> Result<Vec<BackupId>> {
        let folders = self.repository.store.folders(&keys::data_folders(&self.resource)).await?;
        Ok(folders.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// How many objects a backup's content has that nothing in `needed` is, and what they take in the store, in bytes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn measure_content(&self, id: &BackupId, needed: &Needed) -> Result<(u64, u64)> {
        let (store, folder) = (self.repository.store(), keys::data_folder(&self.resource, id));
        let (mut objects, mut bytes, mut after) = (0, 0, None::<String>);
        loop {
            let page = store.list(&folder, after.as_deref(), PAGE).await?;
            let free = page.iter().filter(|entry| !needed.has(id, entry.key.file_name()));
            (objects, bytes) = free.fold((objects, bytes), |(objects, bytes), entry| (objects + 1, bytes + entry.size));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.as_str().to_owned()),
                _ => return Ok((objects, bytes)),
            }
        }
    }

    /// Removes some of the content of a backup that is not listed, what lies behind `after` and is not in `needed`; how many objects
    /// and bytes that were, and behind what to go on. None when nothing is left.
    ///
    /// # Errors
    /// `Error::Malformed` where the catalog lists it; otherwise when the store fails.
    pub async fn delete_some_content(&self, id: &BackupId, needed: &Needed, after: Option<&str>) -> Result<DeletedContent> {
        if self.is_listed(id).await? {
            let detail = "the catalog lists this backup; its content was not removed".into();
            return Err(Error::Malformed { object: keys::backup(&self.resource, id).to_string(), detail });
        }
        let store = self.repository.store();
        let mut page = store.list(&keys::data_folder(&self.resource, id), after, PAGE).await?;
        let next = page.last().map(|entry| entry.key.as_str().to_owned());
        page.retain(|entry| !needed.has(id, entry.key.file_name()));
        // Collected first: a closure held across an await keeps the future from being sent to another thread.
        let deletes: Vec<_> = page.iter().map(|entry| store.delete(&entry.key)).collect();
        stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE).try_collect::<()>().await?;
        Ok(DeletedContent { objects: page.len() as u64, bytes: page.iter().map(|entry| entry.size).sum(), next })
    }

    /// Removes the content of a backup that was never listed: no other backup can need any of it.
    ///
    /// # Errors
    /// As `delete_some_content`.
    pub(super) async fn delete_content(&self, id: &BackupId) -> Result<()> {
        while self.delete_some_content(id, &Needed::default(), None).await?.next.is_some() {}
        Ok(())
    }
}

/// What was removed of a backup's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedContent {
    /// How many objects.
    pub objects: u64,
    /// What they took in the store.
    pub bytes: u64,
    /// Behind what to go on; none when nothing is left.
    pub next: Option<String>,
}

/// How many objects are listed, and then removed, at once.
const PAGE: usize = 500;
const DELETES_AT_ONCE: usize = 8;
