//! The clusters whose WAL is kept under one resource name.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{BackupEntry, Damaged, Error, Listed, Repository, ResourceName, Result, Stored, keys, record};
use super::listing::{StoredWal, WalObject};
use crate::pg::{SegmentSize, SystemId, WalFileName};
use crate::storage::{Entry, Put, list_all};

/// One cluster, by its system identifier. `initdb` and `pg_upgrade` begin a new one under the same resource name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The system identifier.
    pub system_id: SystemId,
    /// The cluster's `wal_segment_size`, which changes only with a new `initdb` or `pg_resetwal`.
    pub segment_size: SegmentSize,
    /// The server's major version when it was first seen; 0 where its record is missing and WAL alone tells of it.
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
    /// The clusters known under a resource name, the newest last. One whose record is damaged or missing is among them if the catalog
    /// lists a backup of it, which says the same; one whose record is missing also if a whole segment of its WAL is stored.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lineages(&self, resource: &ResourceName) -> Result<Listed<Lineage>> {
        let mut found = Listed::default();
        // In this order: a record is there before the first WAL of its cluster.
        let clusters = self.store.folders(&keys::wal_of_all(resource)).await?;
        let recorded = list_all(self.store.as_ref(), &keys::lineages(resource)).await?;
        let unrecorded = clusters.iter().filter_map(|folder| folder.parse().ok());
        for system_id in unrecorded.filter(|system_id| recorded.iter().all(|entry| named(entry) != Some(*system_id))) {
            let detail = format!("WAL of the cluster with system identifier {system_id} is stored");
            found.damaged.push(Damaged::missing(&keys::lineage(resource, system_id), detail));
            found.records.extend(self.lineage_without_record(resource, system_id).await?);
        }
        for entry in recorded {
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
        let Some(system_id) = named(record) else { return Ok(None) };
        let lineage = self.lineage_of_first_backup(resource, system_id).await?;
        Ok(lineage.map(|lineage| Lineage { created_at: record.modified, ..lineage }))
    }

    async fn lineage_of_first_backup(&self, resource: &ResourceName, system_id: SystemId) -> Result<Option<Lineage>> {
        let backups = self.backups(resource).list().await?.records;
        let of_it = backups.iter().filter(|backup| backup.postgres().system_id == system_id);
        Ok(of_it.min_by_key(|backup| backup.started_at).map(lineage_of_backup))
    }

    /// What backups or WAL tell of a cluster whose record is missing.
    async fn lineage_without_record(&self, resource: &ResourceName, system_id: SystemId) -> Result<Option<Lineage>> {
        match self.lineage_of_first_backup(resource, system_id).await? {
            Some(lineage) => Ok(Some(lineage)),
            None => self.lineage_of_wal(resource, system_id).await,
        }
    }

    /// What the first whole segment tells by its size.
    async fn lineage_of_wal(&self, resource: &ResourceName, system_id: SystemId) -> Result<Option<Lineage>> {
        for entry in self.store.list(&keys::wal(resource, system_id), None, 1000).await? {
            let is_segment = |stored: &StoredWal| matches!(stored.object, WalObject::File(WalFileName::Segment(_)));
            let Some(stored) = StoredWal::from_entry(&entry).filter(is_segment) else { continue };
            // One that is damaged or says nothing leaves the word to the next.
            let Some((bytes, _)) = self.outline(&entry.key).await.ok().and_then(|outline| outline.content) else { continue };
            if let Ok(segment_size) = SegmentSize::try_from(bytes) {
                return Ok(Some(Lineage { system_id, segment_size, postgres_major: 0, created_at: stored.stored_at }));
            }
        }
        Ok(None)
    }

    /// The lineage of a running cluster: refused where the name belongs to another cluster.
    ///
    /// # Errors
    /// `Error::OtherCluster`, `Error::UnknownResource`, or a failure of the store.
    pub async fn lineage_of(&self, resource: &ResourceName, system_id: SystemId) -> Result<Lineage> {
        self.pick(resource, &self.lineages(resource).await?, system_id)
    }

    fn pick(&self, resource: &ResourceName, lineages: &Listed<Lineage>, system_id: SystemId) -> Result<Lineage> {
        if let Some(lineage) = lineages.records.iter().find(|lineage| lineage.system_id == system_id) {
            return Ok(lineage.clone());
        }
        let own = keys::lineage(resource, system_id).to_string();
        match lineages.damaged.iter().find(|damaged| damaged.object == own) {
            Some(damaged) => Err(Error::from(damaged)),
            None => Err(self.other_cluster(resource, &lineages.records, system_id)),
        }
    }

    /// As `lineage_of`, of a running cluster that says of itself what `found` holds: where its record is missing, it is written anew.
    ///
    /// # Errors
    /// As `lineage_of`.
    pub async fn lineage_of_running(&self, resource: &ResourceName, found: &Lineage) -> Result<Lineage> {
        let mut lineages = self.lineages(resource).await?;
        if self.replace_missing(resource, &lineages, found).await? {
            lineages = self.lineages(resource).await?;
        }
        self.pick(resource, &lineages, found.system_id)
    }

    /// Writes the record of a cluster anew if it is missing, and nothing that is stored contradicts what the cluster says of itself.
    async fn replace_missing(&self, resource: &ResourceName, known: &Listed<Lineage>, found: &Lineage) -> Result<bool> {
        let key = keys::lineage(resource, found.system_id);
        let is_missing = known.damaged.iter().any(|damaged| damaged.missing && damaged.object == key.as_str());
        let stored = known.records.iter().find(|lineage| lineage.system_id == found.system_id);
        if !is_missing || stored.is_some_and(|stored| stored.segment_size != found.segment_size) {
            return Ok(false);
        }
        // The order of clusters under one name is that of these times.
        let created_at = stored.map_or(found.created_at, |stored| stored.created_at);
        self.store.put_if_absent(&key, record::seal(&Lineage { created_at, ..found.clone() })).await?;
        tracing::warn!(object = %key, "the record of this cluster was missing, and is written anew");
        Ok(true)
    }

    /// The newest lineage of a resource: the one that is meant where none is named.
    ///
    /// # Errors
    /// `Error::UnknownResource`, a failure of the store, or `Error::Malformed` where a damaged record could be that of a newer one.
    pub async fn newest_lineage(&self, resource: &ResourceName) -> Result<Lineage> {
        match self.all_lineages(resource).await?.pop() {
            Some(newest) => Ok(newest),
            None => Err(self.unknown(resource).await),
        }
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

    /// The error for a resource of which nothing was ever stored: a name that was mistyped is found by those that there are.
    pub async fn unknown(&self, resource: &ResourceName) -> Error {
        let known = self.resources().await.unwrap_or_default().join(", ");
        Error::UnknownResource { resource: resource.to_string(), store: self.store.url(), known }
    }

    /// The resources of which something is stored, as their names are written.
    async fn resources(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for kind in self.store.folders("").await? {
            for name in self.store.folders(&format!("{kind}/")).await? {
                let resource = format!("{kind}/{name}");
                found.extend(resource.parse::<ResourceName>().is_ok().then_some(resource));
            }
        }
        Ok(found)
    }

    /// Makes a cluster known under a resource name. One that is known already is left as it is; where its record is missing, that is
    /// written anew.
    ///
    /// # Errors
    /// `Error::OtherCluster` where the name belongs to another cluster and `rule` does not allow a second.
    pub async fn add_lineage(&self, resource: &ResourceName, lineage: &Lineage, rule: NewLineage) -> Result<Stored> {
        let lineages = self.lineages(resource).await?;
        if self.replace_missing(resource, &lineages, lineage).await? {
            return Ok(Stored::New);
        }
        let Listed { records: known, damaged } = lineages;
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
            return Error::UnknownResource { resource: resource.to_string(), store: self.store.url(), known: String::new() };
        }
        let (resource, store) = (resource.to_string(), self.store.url());
        let known: Vec<String> = known.iter().map(|lineage| lineage.system_id.to_string()).collect();
        Error::OtherCluster { resource, store, known: known.join(", "), found }
    }
}

fn lineage_of_backup(backup: &BackupEntry) -> Lineage {
    let detail = backup.postgres();
    Lineage {
        system_id: detail.system_id,
        segment_size: detail.wal_segment_bytes,
        postgres_major: detail.server_version / 10_000,
        created_at: backup.started_at,
    }
}

/// The system identifier in a record's name.
fn named(entry: &Entry) -> Option<SystemId> {
    entry.key.file_name().strip_suffix(".json")?.parse().ok()
}
