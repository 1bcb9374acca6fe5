//! One base backup, from the first question to the server to the catalog entry.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::check::check;
use super::error::{Error, Failed, Leftover, Result};
use super::limits::Limits;
use super::objects::Objects;
use super::progress::Reporter;
use super::receive::{Events, Received, Receiver};
use super::source::Source;
use super::tally::Comparison;
use super::uploader::{Uploaded, Uploader};
use super::wal;
use crate::pgwire::{BackupOptions, Checkpoint, ReplicationConnection, Tablespace};
use crate::repository::{
    self, BackupEntry, BackupId, Backups, Detail, EntryKind, PackArchive, PackName, PostgresBackup, Repository, ResourceName,
};
use crate::sys::clock;

/// What kind of backup is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// The label for the server's `backup_label`.
    pub label: String,
    /// How the checkpoint before it is made.
    pub checkpoint: Checkpoint,
    /// The most that the server sends, in kilobytes per second.
    pub max_rate_kb: Option<u32>,
    /// How long to wait at the end while no WAL arrives.
    pub wal_patience: Duration,
    /// How much goes into a pack and how much is held in memory.
    pub limits: Limits,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            label: "holdfast".into(),
            checkpoint: Checkpoint::Fast,
            max_rate_kb: None,
            wal_patience: Duration::from_mins(2),
            limits: Limits::default(),
        }
    }
}

/// A backup that is listed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its catalog entry.
    pub entry: BackupEntry,
    /// What the server remarked.
    pub notices: Vec<String>,
}

/// A backup that has begun.
struct Backup<'a> {
    id: BackupId,
    started_at: Timestamp,
    backups: Backups,
    repository: &'a Repository,
    resource: &'a ResourceName,
    request: &'a Request,
    source: Source,
    progress: Reporter,
}

/// Takes a base backup of the server behind `connection` and lists it.
///
/// A cluster that the repository does not know under this name is refused before a byte is written.
///
/// # Errors
/// Why the backup is not listed, and what could not be removed of it. Cancelling `cancelled` ends it in the same way.
pub async fn take(
    repository: &Repository,
    resource: &ResourceName,
    mut connection: ReplicationConnection,
    request: &Request,
    progress: Reporter,
    cancelled: &CancellationToken,
) -> std::result::Result<Report, Failed> {
    let source = Source::ask(repository, resource, &mut connection).await?;
    let started_at = clock::now();
    let id = BackupId::new(started_at, mark());
    let backups = repository.backups(resource);
    let backup = Backup { id, started_at, backups, repository, resource, request, source, progress };
    let mut notices = Vec::new();
    let begun = tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(Error::Cancelled),
        started = connection.base_backup(request.options()) => started.map_err(Error::from),
    };
    let made = match begun {
        Ok(mut stream) => backup.make(&mut stream, &mut notices, cancelled).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(entry) => backup.list(entry, notices).await,
        Err(error) => Err(backup.give_up(error, notices).await),
    }
}

/// Sets this backup apart from others that begin in the same second: 40 bits from the operating system.
fn mark() -> u64 {
    RandomState::new().build_hasher().finish() & 0xFF_FFFF_FFFF
}

impl Request {
    fn options(&self) -> BackupOptions {
        BackupOptions {
            label: self.label.clone(),
            checkpoint: self.checkpoint,
            max_rate_kb: self.max_rate_kb,
            ..BackupOptions::default()
        }
    }
}

impl Backup<'_> {
    /// Everything but the listing. What it returns is stored and checked.
    async fn make(
        &self,
        events: &mut impl Events,
        notices: &mut Vec<String>,
        cancelled: &CancellationToken,
    ) -> Result<BackupEntry> {
        let (mut received, uploaded) = self.transfer(events, notices, cancelled).await?;
        check(&received, self.source.lineage.system_id)?;
        let files = std::mem::take(&mut received.files);
        self.compare(files, &uploaded).await?;
        let (start, timeline) = received.start;
        let archive = self.repository.wal(self.resource, &self.source.lineage);
        let waited = wal::wait(&archive, timeline, start..received.end.0, self.request.wal_patience, &self.progress);
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(Error::Cancelled),
            waited = waited => waited?,
        }
        self.entry(received, uploaded)
    }

    /// Receives and stores everything. Whatever was begun is over when this returns.
    async fn transfer(
        &self,
        events: &mut impl Events,
        notices: &mut Vec<String>,
        cancelled: &CancellationToken,
    ) -> Result<(Received, Uploaded)> {
        let limits = &self.request.limits;
        let uploader = Uploader::new(self.backups.clone(), self.id.clone(), self.progress.clone());
        let (objects, storing) = Objects::start(uploader, self.repository.compression(), limits);
        let receiver = Receiver::new(objects, *limits, self.progress.clone());
        let received = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Error::Cancelled),
            received = receiver.run(events, notices) => received,
        };
        let uploaded = storing.await.map_err(|error| Error::Interrupted(error.to_string()))?;
        match (received, uploaded) {
            (Ok(received), Ok(uploaded)) => Ok((received, uploaded)),
            // When the store fails, the receiver only notices that nobody takes its frames any more.
            (Ok(_) | Err(Error::Interrupted(_)), Err(error)) | (Err(error), _) => Err(error),
        }
    }

    async fn compare(&self, mut files: Comparison, uploaded: &Uploaded) -> Result<()> {
        if files.has_unlisted() {
            for pack in uploaded.objects.iter().filter_map(|object| PackName::of_index(&object.name)) {
                let index = self.backups.get_index(&self.id, pack).await?;
                let sent = index.entries.iter().filter(|entry| entry.kind == EntryKind::File);
                sent.for_each(|entry| files.name(&index.archive.manifest_path(entry.path.as_bytes())));
            }
        }
        let problems = files.into_problems();
        if problems.is_empty() { Ok(()) } else { Err(Error::Differs(problems)) }
    }

    fn entry(&self, received: Received, uploaded: Uploaded) -> Result<BackupEntry> {
        let manifest = uploaded.manifest.ok_or_else(|| Error::Incomplete("the manifest was not stored".into()))?;
        let bytes = |oid| received.sent.bytes.get(&PackArchive::Tablespace(oid)).copied().unwrap_or(0);
        let tablespace =
            |Tablespace { oid, location, .. }: Tablespace| repository::Tablespace { oid, location, bytes: bytes(oid) };
        let source = &self.source;
        let detail = PostgresBackup {
            system_id: source.lineage.system_id,
            timeline: received.start.1,
            start_lsn: received.start.0,
            stop_lsn: received.end.0,
            server_version: source.server_version,
            wal_segment_bytes: source.segment_size,
            data_directory_mode: source.data_directory_mode.clone(),
            data_checksums: source.data_checksums,
            label: self.request.label.clone(),
            compression: self.repository.compression(),
            manifest,
            tablespaces: received.tablespaces.into_iter().map(tablespace).collect(),
            files: received.files_count,
        };
        Ok(BackupEntry {
            format: BackupEntry::FORMAT,
            id: self.id.clone(),
            resource: self.resource.clone(),
            started_at: self.started_at,
            finished_at: clock::now(),
            made_by: format!("holdfast {}", env!("CARGO_PKG_VERSION")),
            plain_bytes: received.sent.bytes.values().sum(),
            stored_bytes: uploaded.objects.iter().map(|object| object.stored_bytes).sum(),
            objects: uploaded.objects,
            detail: Detail::Postgres(detail),
        })
    }

    /// Lists the backup. When that fails, nobody knows whether it is listed: its content stays.
    async fn list(&self, entry: BackupEntry, notices: Vec<String>) -> std::result::Result<Report, Failed> {
        match self.backups.put(&entry).await {
            Ok(_) => Ok(Report { entry, notices }),
            Err(error) => {
                let reason = "it is not known whether the catalog lists it".to_owned();
                let leftover = Some(Leftover { id: self.id.clone(), reason });
                Err(Failed { error: error.into(), notices, leftover })
            }
        }
    }

    /// Removes what was stored of a backup that failed.
    async fn give_up(&self, error: Error, notices: Vec<String>) -> Failed {
        let removed = self.backups.delete_content(&self.id).await;
        let leftover = removed.err().map(|error| Leftover { id: self.id.clone(), reason: error.to_string() });
        Failed { error, notices, leftover }
    }
}
