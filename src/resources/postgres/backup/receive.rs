//! What the server sends, from the first event to the last, on its way into objects.

use super::error::{Error, Result};
use super::limits::Limits;
use super::manifest::ManifestReader;
use super::objects::{Objects, Uploaded};
use super::packs::{Packs, Sent};
use super::progress::Reporter;
use super::tally::Comparison;
use crate::pg::manifest::Manifest;
use crate::pg::{Lsn, TimelineId};
use crate::pgwire::{self, BackupEvent, BackupStream, Tablespace};
use crate::repository::PackArchive;

/// Where the events come from: a server, or a test.
pub trait Events {
    /// The next one.
    fn next(&mut self) -> impl Future<Output = pgwire::Result<BackupEvent>> + Send;
}

impl Events for BackupStream {
    fn next(&mut self) -> impl Future<Output = pgwire::Result<BackupEvent>> + Send {
        Self::next(self)
    }
}

/// What was received, besides what went into objects.
#[derive(Debug)]
pub struct Received {
    pub start: (Lsn, TimelineId),
    pub end: (Lsn, TimelineId),
    pub tablespaces: Vec<Tablespace>,
    pub sent: Sent,
    pub manifest: Manifest,
    pub files: Comparison,
    pub files_count: u64,
    pub uploaded: Uploaded,
}

/// A backup that is being received.
pub struct Receiver {
    objects: Objects,
    progress: Reporter,
    start: Option<(Lsn, TimelineId, Vec<Tablespace>)>,
    end: Option<(Lsn, TimelineId)>,
    part: Part,
}

enum Part {
    Archives(Packs),
    Manifest(ManifestReader, Sent),
    /// Only while one part becomes the next.
    None,
}

impl Receiver {
    pub fn new(objects: Objects, limits: Limits, progress: Reporter) -> Self {
        Self { objects, progress, start: None, end: None, part: Part::Archives(Packs::new(limits)) }
    }

    /// Receives everything, up to the server's word that it is good. What the server remarks is added to `notices`.
    pub async fn run(mut self, events: &mut impl Events, notices: &mut Vec<String>) -> Result<Received> {
        loop {
            match events.next().await? {
                BackupEvent::Start { lsn, timeline, base_size_kb, tablespaces } => {
                    let expected = tablespaces.iter().filter_map(|tablespace| tablespace.size_kb).chain(base_size_kb);
                    self.progress.begin_transfer(expected.sum::<u64>().saturating_mul(1024));
                    self.start = Some((lsn, timeline, tablespaces));
                }
                BackupEvent::Archive { tablespace, .. } => self.begin_archive(tablespace).await?,
                BackupEvent::Data(bytes) => self.data(bytes).await?,
                BackupEvent::ManifestBegin => self.begin_manifest().await?,
                BackupEvent::ManifestData(bytes) => self.manifest(&bytes).await?,
                BackupEvent::Progress(_) => {}
                BackupEvent::Notice(notice) => {
                    tracing::info!("the server remarks: {notice}");
                    notices.push(notice.to_string());
                }
                BackupEvent::End { lsn, timeline } => self.end = Some((lsn, timeline)),
                BackupEvent::Done => return self.finish().await,
            }
        }
    }

    async fn begin_archive(&mut self, tablespace: Option<u32>) -> Result<()> {
        let archive = tablespace.map_or(PackArchive::Base, PackArchive::Tablespace);
        match &mut self.part {
            Part::Archives(packs) => packs.begin(archive, &mut self.objects).await,
            _ => Err(Error::Incomplete("an archive after the manifest".into())),
        }
    }

    async fn data(&mut self, bytes: bytes::Bytes) -> Result<()> {
        self.progress.received(bytes.len() as u64);
        match &mut self.part {
            Part::Archives(packs) => packs.write(bytes, &mut self.objects).await,
            _ => Err(Error::Incomplete("archive data after the manifest".into())),
        }
    }

    async fn begin_manifest(&mut self) -> Result<()> {
        let Part::Archives(packs) = std::mem::replace(&mut self.part, Part::None) else {
            return Err(Error::Incomplete("a second manifest".into()));
        };
        let mut sent = packs.finish(&mut self.objects).await?;
        let files = std::mem::take(&mut sent.files);
        self.part = Part::Manifest(ManifestReader::new(files.compare()), sent);
        self.objects.begin(&format!("backup_manifest.{}", self.objects.compression().extension()));
        Ok(())
    }

    async fn manifest(&mut self, bytes: &[u8]) -> Result<()> {
        let Part::Manifest(reader, _) = &mut self.part else {
            return Err(Error::Incomplete("manifest data before the manifest".into()));
        };
        reader.write(bytes).map_err(|detail| Error::Manifest { detail })?;
        self.objects.write(bytes).await
    }

    async fn finish(self) -> Result<Received> {
        let (Part::Manifest(reader, sent), Some((start, timeline, tablespaces)), Some(end)) = (self.part, self.start, self.end)
        else {
            return Err(Error::Incomplete("the manifest, the start or the end is missing".into()));
        };
        let uploaded = self.objects.end_manifest().await?;
        let (manifest, files) = reader.finish().map_err(|detail| Error::Manifest { detail })?;
        let files_count = files.len() as u64;
        Ok(Received { start: (start, timeline), end, tablespaces, sent, manifest, files, files_count, uploaded })
    }
}

#[cfg(test)]
mod tests;
