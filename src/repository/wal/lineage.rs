//! The clusters whose WAL is kept under one resource name.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{Damaged, Error, Listed, Repository, ResourceName, Result, Stored, keys, record};
use crate::pg::{SegmentSize, SystemId};
use crate::storage::{Entry, Put, list_all};

/// One cluster, by its system identifier. `initdb` and `pg_upgrade` begin a new one under the same resource name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The system identifier.
    pub system_id: SystemId,
    /// The cluster's `wal_segment_size`, which changes only with a new `initdb` or `pg_resetwal`.
    pub segment_size: SegmentSize,
    /// The server's major version when it was first seen.
    pub postgres_major: u32,
    /// When it was first seen.
    pub created_at: Timestamp,
}

/// Whether a cluster that the resource name does not know may be added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewLineage {
    /// Only where the name has none yet.
    OnlyFirst,
    /// Beside those that are there: the operator said so.
    Allowed,
}

impl Repository {
    /// The clusters known under a resource name, the newest last. One whose record is damaged is among them if the catalog lists a
    /// backup of it, which says the same.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lineages(&self, resource: &ResourceName) -> Result<Listed<Lineage>> {
        let mut found = Listed::default();
        for entry in list_all(self.store.as_ref(), &keys::lineages(resource)).await? {
            match self.read_lineage(&entry).await {
                Ok(lineage) => found.records.push(lineage),
                Err(Error::Storage(error)) if error.is_not_found() => {}
                Err(error) => {
                    found.damaged.push(Damaged::of(&entry.key, error)?);
                    found.records.extend(self.lineage_of_backups(resource, &entry).await?);
                }
            }
        }
        found.records.sort_by_key(|lineage| lineage.created_at);
        Ok(found)
    }

    async fn read_lineage(&self, entry: &Entry) -> Result<Lineage> {
        let bytes = self.store.get(&entry.key).await?;
        let lineage: Lineage = record::value(&entry.key, record::open(&entry.key, &bytes)?)?;
        if named(entry) == Some(lineage.system_id) {
            return Ok(lineage);
        }
        let detail = format!("it is of the cluster with system identifier {}", lineage.system_id);
        Err(Error::Malformed { object: entry.key.to_string(), detail })
    }

    /// What the backups of a cluster say of it.
    async fn lineage_of_backups(&self, resource: &ResourceName, record: &Entry) -> Result<Option<Lineage>> {
        let backups = self.backups(resource).list().await?.records;
        let mut details = backups.iter().map(super::super::BackupEntry::postgres);
        let Some(detail) = details.find(|detail| Some(detail.system_id) == named(record)) else { return Ok(None) };
        Ok(Some(Lineage {
            system_id: detail.system_id,
            segment_size: detail.wal_segment_bytes,
            postgres_major: detail.server_version / 10_000,
            created_at: record.modified,
        }))
    }

    /// The lineage of a running cluster: refused where the name belongs to another cluster.
    ///
    /// # Errors
    /// `Error::OtherCluster`, `Error::UnknownResource`, or a failure of the store.
    pub async fn lineage_of(&self, resource: &ResourceName, system_id: SystemId) -> Result<Lineage> {
        let lineages = self.lineages(resource).await?;
        if let Some(lineage) = lineages.records.iter().find(|lineage| lineage.system_id == system_id) {
            return Ok(lineage.clone());
        }
        let own = keys::lineage(resource, system_id).to_string();
        match lineages.damaged.iter().find(|damaged| damaged.object == own) {
            Some(damaged) => Err(Error::from(damaged)),
            None => Err(self.other_cluster(resource, &lineages.records, system_id)),
        }
    }

    /// The newest lineage of a resource: the one that is meant where none is named.
    ///
    /// # Errors
    /// `Error::UnknownResource`, a failure of the store, or `Error::Malformed` where a damaged record could be that of a newer one.
    pub async fn newest_lineage(&self, resource: &ResourceName) -> Result<Lineage> {
        self.all_lineages(resource).await?.pop().ok_or_else(|| self.unknown(resource))
    }

    /// The lineage of a resource that never had another.
    ///
    /// # Errors
    /// As `newest_lineage`.
    pub async fn only_lineage(&self, resource: &ResourceName) -> Result<Option<Lineage>> {
        let mut lineages = self.all_lineages(resource).await?;
        Ok(lineages.pop().filter(|_| lineages.is_empty()))
    }

    /// The lineages of a resource, if none is hidden by the damage to its record.
    async fn all_lineages(&self, resource: &ResourceName) -> Result<Vec<Lineage>> {
        let Listed { records, damaged } = self.lineages(resource).await?;
        let known = |object: &str| records.iter().any(|it| keys::lineage(resource, it.system_id).as_str() == object);
        match damaged.iter().find(|damaged| !known(&damaged.object)) {
            Some(damaged) => Err(Error::from(damaged)),
            None => Ok(records),
        }
    }

    /// The error for a resource of which nothing was ever stored.
    #[must_use]
    pub fn unknown(&self, resource: &ResourceName) -> Error {
        Error::UnknownResource { resource: resource.to_string(), store: self.store.url() }
    }

    /// Makes a cluster known under a resource name. One that is known already is left as it is.
    ///
    /// # Errors
    /// `Error::OtherCluster` where the name belongs to another cluster and `rule` does not allow a second.
    pub async fn add_lineage(&self, resource: &ResourceName, lineage: &Lineage, rule: NewLineage) -> Result<Stored> {
        let Listed { records: known, damaged } = self.lineages(resource).await?;
        if known.iter().any(|other| other.system_id == lineage.system_id) {
            return Ok(Stored::Identical);
        }
        if rule == NewLineage::OnlyFirst && !known.is_empty() {
            return Err(self.other_cluster(resource, &known, lineage.system_id));
        }
        if let Some(damaged) = damaged.first() {
            return Err(Error::from(damaged));
        }
        let key = keys::lineage(resource, lineage.system_id);
        match self.store.put_if_absent(&key, record::seal(lineage)).await? {
            Put::Created => Ok(Stored::New),
            Put::AlreadyExists => Ok(Stored::Identical),
        }
    }

    fn other_cluster(&self, resource: &ResourceName, known: &[Lineage], found: SystemId) -> Error {
        if known.is_empty() {
            return self.unknown(resource);
        }
        let (resource, store) = (resource.to_string(), self.store.url());
        let known: Vec<String> = known.iter().map(|lineage| lineage.system_id.to_string()).collect();
        Error::OtherCluster { resource, store, known: known.join(", "), found }
    }
}

/// The system identifier in a record's name.
fn named(entry: &Entry) -> Option<SystemId> {
    entry.key.file_name().strip_suffix(".json")?.parse().ok()
}
