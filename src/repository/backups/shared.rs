//! Content that belongs to several backups: it lies in the folder of the backup that has stored it, and stays as long as any listed one needs it.

use std::collections::{HashMap, HashSet};

use super::{BackupEntry, BackupId, Backups};
use crate::repository::{Result, keys};
use crate::storage::list_all;

/// Which objects backups need of earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    of: HashMap<BackupId, HashSet<Box<str>>>,
}

impl Needed {
    /// Whether an object of a backup is needed; what is needed of an object is its frame index as well.
    #[must_use]
    pub fn has(&self, id: &BackupId, name: &str) -> bool {
        let name = name.strip_suffix(".frames").unwrap_or(name);
        self.of.get(id).is_some_and(|names| names.contains(name))
    }

    /// Adds what a backup needs of earlier ones.
    pub fn add(&mut self, entry: &BackupEntry) {
        for kept in entry.kept() {
            let names = kept.objects.iter().map(|object| object.name.as_str().into());
            self.of.entry(kept.backup.clone()).or_default().extend(names);
        }
    }
}

impl Backups {
    /// What the listed backups that are `meant` need of earlier ones. Holds one entry at a time.
    ///
    /// # Errors
    /// When the store fails, or an entry cannot be read: what that one needs is not known, so nothing can be said to be free.
    pub async fn needed(&self, meant: impl Fn(&BackupId) -> bool) -> Result<Needed> {
        let mut needed = Needed::default();
        for line in list_all(self.repository.store.as_ref(), &keys::backups(&self.resource)).await? {
            match self.read(&line.key).await {
                Ok(entry) if meant(&entry.id) => needed.add(&entry),
                Ok(_) => {}
                Err(crate::repository::Error::Storage(error)) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(needed)
    }

    /// The names and sizes, as stored, of the objects of a backup that there are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stored_objects(&self, id: &BackupId) -> Result<HashMap<String, u64>> {
        let listed = list_all(self.repository.store.as_ref(), &keys::data_folder(&self.resource, id)).await?;
        Ok(listed.into_iter().map(|entry| (entry.key.file_name().to_owned(), entry.size)).collect())
    }
}
