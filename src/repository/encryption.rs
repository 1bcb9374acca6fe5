//! Who can read what is stored: whom new objects are encrypted to, what opens encrypted ones, and what an object needs.

use super::{Error, Repository, ResourceName, Result};
use crate::codec::{Encrypting, FORMAT, Identities, PREFACE_BYTES, Preface, Recipients, Unlocked, is_encrypted};
use crate::storage::ObjectKey;

/// How many backups are looked into, of the newest, of the oldest, and of those whose content they need.
const BACKUPS_SAMPLED: usize = 20;

/// Whom new objects are encrypted to, and what opens encrypted ones. By default nobody and nothing.
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    /// Whom new objects are encrypted to; none: they are stored in the clear.
    pub recipients: Recipients,
    /// What opens encrypted objects, which are read whether new ones are encrypted or not.
    pub identities: Identities,
}

impl Encryption {
    /// Whether encrypted objects are to be expected.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.recipients.is_empty() || self.identities.are_configured()
    }
}

/// Whom an object is encrypted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The object.
    pub object: ObjectKey,
    /// The recipients; none: it lies in the clear.
    pub recipients: Vec<String>,
}

impl Repository {
    /// Some objects of a resource, the newest first, and whom they are encrypted to: one of each of the newest and the oldest backups, with the
    /// content that they need of others, and the ends of each timeline's WAL.
    ///
    /// # Errors
    /// When the store fails, or an object is damaged.
    pub async fn samples(&self, resource: &ResourceName) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for key in self.backups(resource).sampled_objects(BACKUPS_SAMPLED).await? {
            samples.extend(self.sample(key).await?);
        }
        for lineage in self.lineages(resource).await?.records.iter().rev() {
            for key in self.wal(resource, lineage).sampled_objects().await? {
                samples.extend(self.sample(key).await?);
            }
        }
        Ok(samples)
    }

    /// Whom an object is encrypted to; needs no identity. `None` where there is no such object.
    pub(super) async fn sample(&self, object: ObjectKey) -> Result<Option<Sample>> {
        let beginning = match self.store.get_range(&object, 0..PREFACE_BYTES as u64).await {
            Ok(beginning) => beginning,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !is_encrypted(&beginning) {
            return Ok(Some(Sample { object, recipients: Vec::new() }));
        }
        let preface = Preface::read(&beginning).map_err(|source| Error::Codec { object: object.to_string(), source })?;
        Ok(Some(Sample { object, recipients: preface.recipients }))
    }

    /// What parts of an object are read with; `None` where it lies in the clear.
    pub(super) async fn unlock(&self, key: &ObjectKey) -> Result<Option<Unlocked>> {
        let beginning = self.store.get_range(key, 0..Unlocked::BEGINNING_BYTES).await?;
        if !is_encrypted(&beginning) {
            return Ok(None);
        }
        let identities = self.encryption.identities.clone();
        let unlocked = tokio::task::spawn_blocking(move || Unlocked::new(&beginning, &identities)).await;
        let unlocked = unlocked.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
        unlocked.map(|(_, unlocked)| Some(unlocked)).map_err(|source| Error::Codec { object: key.to_string(), source })
    }

    /// Begins an encrypted object whose content comes piece by piece; `None` where new objects are stored in the clear.
    pub(super) fn begin_encrypting(&self, key: &ObjectKey, kind: &str) -> Result<Option<Encrypting>> {
        let recipients = &self.encryption.recipients;
        if recipients.is_empty() {
            return Ok(None);
        }
        let (kind, name) = (kind.to_owned(), key.file_name().to_owned());
        let preface = Preface { format: FORMAT, kind, name, recipients: recipients.names(), revealed: None };
        let begun = Encrypting::begin(&preface, recipients);
        begun.map(Some).map_err(|source| Error::Codec { object: key.to_string(), source })
    }
}

#[cfg(test)]
mod tests;
