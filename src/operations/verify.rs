//! Whether the WAL of the recovery windows is what was stored: all there, and each segment following the one before it.
//!
//! Backups are verified with the WAL that they need to be consistent; this is what lies between and behind them. Each object's header is
//! read, and its content where that is asked for. Nothing is repaired.

mod segment;
mod span;
mod walk;

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::status::records;
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::repository::{BackupEntry, BackupId, Damaged, Lineage, ResourceName, WalArchive};
use crate::resources::postgres::restore::gather::histories;
use crate::resources::{Result, Run};
use span::{Known, Span};

/// How much of each object is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// What it says of itself.
    Headers,
    /// All of it.
    Content,
}

/// What looking at the WAL of one timeline has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedWal {
    /// The resource.
    pub resource: ResourceName,
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline.
    pub timeline: TimelineId,
    /// From where on its WAL is of use: the first backup, the place where it was forked off, or what retention has left.
    pub from: Lsn,
    /// Up to where it is stored.
    pub to: Lsn,
    /// What was read of each object.
    pub read: Reading,
    /// How many objects were read.
    pub objects: usize,
    /// How many bytes of WAL were read and compared with their hashes.
    pub wal_bytes: u64,
    /// Whether content was to be read, and no identity at hand opens some of it.
    pub sealed: bool,
    /// Gaps in it of which somebody has taken note.
    pub acknowledged_gaps: Vec<String>,
    /// What is wrong; empty if it is sound.
    pub damage: Vec<WalDamage>,
}

impl VerifiedWal {
    /// Whether nothing is wrong that nobody has taken note of.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Something that is wrong with stored WAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalDamage {
    /// The object's key; the folder, where an object is missing.
    pub object: String,
    /// What is wrong with it.
    pub detail: String,
    /// What cannot be restored for that.
    pub lost: Lost,
}

/// The moments of a timeline that cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Nothing after this position.
    pub from: Lsn,
    /// Up to this one, where a later backup is consistent; to the end where there is none.
    pub to: Option<Lsn>,
    /// That backup.
    pub backup: Option<BackupId>,
}

impl Lost {
    /// What damage from `from` to `end` makes unreachable.
    fn between(backups: &[BackupEntry], from: Lsn, end: Lsn) -> Self {
        let behind = backups.iter().filter(|backup| backup.postgres().start_lsn >= end);
        let next = behind.min_by_key(|backup| backup.postgres().stop_lsn);
        Self { from, to: next.map(|backup| backup.postgres().stop_lsn), backup: next.map(|backup| backup.id.clone()) }
    }
}

/// What was found of a cluster's WAL.
#[derive(Debug, Default)]
pub struct Found {
    /// Each timeline that a backup leads to.
    pub wal: Vec<VerifiedWal>,
    /// Records that cannot be read.
    pub damaged: Vec<Damaged>,
}

/// Looks at the WAL of every cluster known under a resource name.
///
/// # Errors
/// When the store fails in such a way that nothing is known, or the run is cancelled.
pub async fn verify_wal(run: &Run, resource: &ResourceName, reading: Reading) -> Result<Found> {
    let lineages = run.repository.lineages(resource).await?;
    let mut found = Found { damaged: lineages.damaged, ..Found::default() };
    let newest = lineages.records.last().map(|lineage| lineage.system_id);
    for lineage in lineages.records {
        let is_newest = newest == Some(lineage.system_id);
        verify_lineage(run, resource, (&lineage, is_newest), reading, &mut found).await?;
    }
    Ok(found)
}

async fn verify_lineage(
    run: &Run,
    resource: &ResourceName,
    (lineage, is_newest): (&Lineage, bool),
    reading: Reading,
    found: &mut Found,
) -> Result<()> {
    let archive = run.repository.wal(resource, lineage);
    let listed = run.repository.backups(resource).list().await?.records;
    let (noted, histories) = (records(&archive).await?, histories(&archive).await?);
    found.damaged.extend(noted.damaged.into_iter().chain(histories.damaged));
    let known = Known {
        backups: listed.into_iter().filter(|backup| backup.postgres().system_id == lineage.system_id).collect(),
        gaps: noted.gaps,
        histories: histories.records,
        horizons: archive.horizons().await?,
        newest: if is_newest { newest_timeline(&archive).await? } else { None },
        archive,
    };
    let spans = known.spans().await?;
    run.progress.expect(spans.iter().map(Span::bytes).sum());
    for span in spans {
        found.wal.push(walk::verify(run, &known, &span, reading).await?);
    }
    Ok(())
}

/// The newest timeline that WAL is stored of, not its history alone.
async fn newest_timeline(archive: &WalArchive) -> Result<Option<TimelineId>> {
    for timeline in archive.timelines().await?.into_iter().rev() {
        if !archive.list_last_group(timeline).await?.is_empty() {
            return Ok(Some(timeline));
        }
    }
    Ok(None)
}
