//! The content of a backup: packs, which are streamed, and small enveloped objects.

use std::ops::Range;

use bytes::Bytes;

use super::{BackupId, Backups};
use crate::repository::{Envelope, Error, Result, Stored, keys};
use crate::storage::{Upload, list_all};

impl Backups {
    /// Begins an object of a backup that is too large for memory.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upload(&self, id: &BackupId, name: &str) -> Result<Box<dyn Upload>> {
        Ok(self.repository.store.upload(&keys::data(&self.resource, id, name)).await?)
    }

    /// Stores a small object of a backup in an envelope.
    ///
    /// # Errors
    /// When the store fails, or holds another object of that name.
    pub async fn put_small(&self, id: &BackupId, name: &str, kind: &'static str, plain: Bytes) -> Result<Stored> {
        let key = keys::data(&self.resource, id, name);
        self.repository.put_envelope(Envelope { key, kind, about: serde_json::Value::Null }, plain).await
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

    /// The key of an object, for messages.
    #[must_use]
    pub fn key(&self, id: &BackupId, name: &str) -> String {
        keys::data(&self.resource, id, name).to_string()
    }

    /// Removes the content of a backup that was never listed, or is not any more.
    ///
    /// # Errors
    /// `Error::Malformed` where the catalog lists it; otherwise when the store fails.
    pub async fn delete_content(&self, id: &BackupId) -> Result<()> {
        if self.get(id).await?.is_some() {
            let detail = "the catalog lists this backup; its content was not removed".into();
            return Err(Error::Malformed { object: keys::backup(&self.resource, id).to_string(), detail });
        }
        let store = self.repository.store();
        for entry in list_all(store.as_ref(), &keys::data_folder(&self.resource, id)).await? {
            store.delete(&entry.key).await?;
        }
        Ok(())
    }
}
