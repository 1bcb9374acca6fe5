//! The small records of a lineage's WAL: each is written once, under a name that says what it is of.

use serde::{Deserialize, Serialize};

use super::WalArchive;
use crate::repository::{Damaged, Error, Listed, Result, Stored, record};
use crate::storage::{ObjectKey, Put, list_all};

impl WalArchive {
    /// Stores a record unless there is one of that name.
    pub(in crate::repository) async fn put_record(&self, key: &ObjectKey, value: &impl Serialize) -> Result<Stored> {
        match self.repository().store.put_if_absent(key, record::seal(value)).await? {
            Put::Created => Ok(Stored::New),
            Put::AlreadyExists => Ok(Stored::Identical),
        }
    }

    /// All records below a prefix, in the order of their names.
    pub(in crate::repository) async fn records<T: for<'de> Deserialize<'de>>(&self, prefix: &str) -> Result<Listed<T>> {
        let mut found = Listed::default();
        for entry in list_all(self.repository().store.as_ref(), prefix).await? {
            match self.record(&entry.key).await {
                Ok(value) => found.records.push(value),
                // It was removed meanwhile.
                Err(Error::Storage(error)) if error.is_not_found() => {}
                Err(error) => found.damaged.push(Damaged::of(&entry.key, error)?),
            }
        }
        Ok(found)
    }

    async fn record<T: for<'de> Deserialize<'de>>(&self, key: &ObjectKey) -> Result<T> {
        let bytes = self.repository().store.get(key).await?;
        record::value(key, record::open(key, &bytes)?)
    }
}
