//! The clusters whose WAL is kept under one resource name.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::marker::to_json;
use super::super::{Error, Repository, ResourceName, Result, Stored, keys};
use crate::pg::{SegmentSize, SystemId};
use crate::storage::{Put, list_all};

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
    /// The clusters known under a resource name, the newest last.
    ///
    /// # Errors
    /// When the store fails or a record cannot be read.
    pub async fn lineages(&self, resource: &ResourceName) -> Result<Vec<Lineage>> {
        let mut lineages: Vec<Lineage> = Vec::new();
        for entry in list_all(self.store.as_ref(), &keys::lineages(resource)).await? {
            let bytes = self.store.get(&entry.key).await?;
            let malformed =
                |error: serde_json::Error| Error::Malformed { object: entry.key.to_string(), detail: error.to_string() };
            lineages.push(serde_json::from_slice(&bytes).map_err(malformed)?);
        }
        lineages.sort_by_key(|lineage| lineage.created_at);
        Ok(lineages)
    }

    /// The lineage of a running cluster: refused where the name belongs to another cluster.
    ///
    /// # Errors
    /// `Error::OtherCluster`, `Error::UnknownResource`, or a failure of the store.
    pub async fn lineage_of(&self, resource: &ResourceName, system_id: SystemId) -> Result<Lineage> {
        let lineages = self.lineages(resource).await?;
        if let Some(lineage) = lineages.iter().find(|lineage| lineage.system_id == system_id) {
            return Ok(lineage.clone());
        }
        Err(self.other_cluster(resource, &lineages, system_id))
    }

    /// The newest lineage of a resource: the one that is meant where none is named.
    ///
    /// # Errors
    /// `Error::UnknownResource`, or a failure of the store.
    pub async fn newest_lineage(&self, resource: &ResourceName) -> Result<Lineage> {
        let unknown = || Error::UnknownResource { resource: resource.to_string(), store: self.store.url() };
        self.lineages(resource).await?.pop().ok_or_else(unknown)
    }

    /// Makes a cluster known under a resource name. One that is known already is left as it is.
    ///
    /// # Errors
    /// `Error::OtherCluster` where the name belongs to another cluster and `rule` does not allow a second.
    pub async fn add_lineage(&self, resource: &ResourceName, lineage: &Lineage, rule: NewLineage) -> Result<Stored> {
        let known = self.lineages(resource).await?;
        if known.iter().any(|other| other.system_id == lineage.system_id) {
            return Ok(Stored::Identical);
        }
        if rule == NewLineage::OnlyFirst && !known.is_empty() {
            return Err(self.other_cluster(resource, &known, lineage.system_id));
        }
        let key = keys::lineage(resource, lineage.system_id);
        match self.store.put_if_absent(&key, to_json(lineage)).await? {
            Put::Created => Ok(Stored::New),
            Put::AlreadyExists => Ok(Stored::Identical),
        }
    }

    fn other_cluster(&self, resource: &ResourceName, known: &[Lineage], found: SystemId) -> Error {
        let (resource, store) = (resource.to_string(), self.store.url());
        if known.is_empty() {
            return Error::UnknownResource { resource, store };
        }
        let known: Vec<String> = known.iter().map(|lineage| lineage.system_id.to_string()).collect();
        Error::OtherCluster { resource, store, known: known.join(", "), found }
    }
}
