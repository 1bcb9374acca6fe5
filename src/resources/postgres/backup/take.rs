//! One base backup, from the first question to the server to the catalog entry.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::check::check;
use super::error::{Error, Failed, Result};
use super::limits::Limits;
use super::objects::{Objects, Uploaded};
use super::progress::Reporter;
use super::receive::{Events, Received, Receiver};
use super::source::Source;
use super::tally::Comparison;
use super::wal;
use crate::pgwire::{BackupOptions, BackupStream, Checkpoint, ReplicationConnection, Tablespace};
use crate::repository::{
    self, BackupEntry, Detail, Draft, EntryKind, PackArchive, PackName, PostgresBackup, Repository, ResourceName,
};
use crate::resources::postgres::archive::{Origin, origin_of};

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
    draft: Draft,
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
    let stored = progress.clone();
    let on_stored = Arc::new(move |bytes| stored.stored(bytes));
    let draft = Draft::begin(repository, resource, request.limits.writing, on_stored).await.map_err(Error::from)?;
    let backup = Backup { draft, repository, resource, request, source, progress };
    let mut notices = Vec::new();
    let begun = tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(Error::Cancelled),
        started = connection.base_backup(request.options()) => started.map_err(Error::from),
    };
    let made = async {
        let mut stream = begun?;
        let entry = backup.make(&mut stream, &mut notices, cancelled).await?;
        backup.belongs_to_its_wal(entry, stream, &mut notices, cancelled).await
    };
    match made.await {
        Ok(entry) => backup.list(entry, notices).await,
        Err(error) => Err(backup.give_up(error, notices).await),
    }
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
        let mut received = self.transfer(events, notices, cancelled).await?;
        check(&received, self.source.lineage.system_id)?;
        let files = std::mem::take(&mut received.files);
        let uploaded = std::mem::take(&mut received.uploaded);
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

    /// Sees whether the stored WAL, up to the end of the backup, is that of the server that it was taken of.
    async fn belongs_to_its_wal(
        &self,
        entry: BackupEntry,
        stream: BackupStream,
        notices: &mut Vec<String>,
        cancelled: &CancellationToken,
    ) -> Result<BackupEntry> {
        let Detail::Postgres(detail) = &entry.detail else { return Ok(entry) };
        let archive = self.repository.wal(self.resource, &self.source.lineage);
        let connection = stream.into_connection()?;
        let origin = tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(Error::Cancelled),
            origin = origin_of(&archive, connection, detail.timeline, detail.stop_lsn) => origin?,
        };
        match origin {
            Origin::Same => {}
            Origin::Other(found) => return Err(Error::OtherServer(found)),
            Origin::Unknown(why) => notices.push(format!("the stored WAL could not be compared with the server's: {why}")),
        }
        Ok(entry)
    }

    /// Receives and stores everything.
    async fn transfer(
        &self,
        events: &mut impl Events,
        notices: &mut Vec<String>,
        cancelled: &CancellationToken,
    ) -> Result<Received> {
        let receiver = Receiver::new(Objects::of(&self.draft), self.request.limits, self.progress.clone());
        tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Error::Cancelled),
            received = receiver.run(events, notices) => received,
        }
    }

    async fn compare(&self, mut files: Comparison, uploaded: &Uploaded) -> Result<()> {
        if files.has_unlisted() {
            for pack in uploaded.objects.iter().filter_map(|object| PackName::of_index(&object.name)) {
                let index = match self.draft.backups().get_index(self.draft.id(), pack).await {
                    Err(error) if error.is_locked() => break,
                    read => read?,
                };
                let sent = index.entries.iter().filter(|entry| entry.kind == EntryKind::File);
                sent.for_each(|entry| files.name(&index.archive.manifest_path(entry.path.as_bytes())));
            }
            files.leave_unnamed();
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
        let plain_bytes = received.sent.bytes.values().sum();
        Ok(self.draft.entry(uploaded.objects, plain_bytes, Detail::Postgres(detail)))
    }

    /// Lists the backup.
    async fn list(self, entry: BackupEntry, notices: Vec<String>) -> std::result::Result<Report, Failed> {
        match self.draft.list(entry).await {
            Ok(entry) => Ok(Report { entry, notices }),
            Err((error, leftover)) => Err(Failed { error: error.into(), notices, leftover: Some(leftover) }),
        }
    }

    /// Removes what was stored of a backup that failed.
    async fn give_up(self, error: Error, notices: Vec<String>) -> Failed {
        Failed { error, notices, leftover: self.draft.discard().await }
    }
}
