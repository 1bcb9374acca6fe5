//! The storing half: takes frames in order, writes them to the store, and puts a pack's index when the pack is complete.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::{Error, Result};
use super::objects::{Job, PackEnd};
use super::progress::Reporter;
use crate::codec::{FrameIndex, Hasher};
use crate::repository::{self, BackupId, BackupObject, Backups, FramedObject, PackIndex};
use crate::storage::{Put, Upload};

/// How much is read back at once.
const READ_BYTES: u64 = 8 << 20;

/// What was stored, each object complete and durable.
#[derive(Debug, Default)]
pub struct Uploaded {
    /// All objects.
    pub objects: Vec<BackupObject>,
    /// The manifest, once it is stored.
    pub manifest: Option<FramedObject>,
}

/// Stores the objects of one backup.
pub struct Uploader {
    backups: Backups,
    id: BackupId,
    progress: Reporter,
    uploaded: Uploaded,
    /// The object before, which the store makes durable while the next one comes in.
    completing: Option<JoinHandle<Result<Uploaded>>>,
}

/// An object that is being stored.
struct Writing {
    name: String,
    upload: Box<dyn Upload>,
    frames: FrameIndex,
    hash: Hasher,
}

/// What an object is, now that it is complete.
enum End {
    Pack(PackEnd),
    Manifest,
}

impl Uploader {
    pub fn new(backups: Backups, id: BackupId, progress: Reporter) -> Self {
        Self { backups, id, progress, uploaded: Uploaded::default(), completing: None }
    }

    /// Stores what it is told to, until the other half is dropped. Whatever was begun is over when this returns.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> Result<Uploaded> {
        let mut writing = None;
        let worked = self.work(&mut jobs, &mut writing).await;
        if let Some(Writing { upload, name, .. }) = writing
            && let Err(error) = upload.abort().await
        {
            tracing::warn!("the remains of object {name} of backup {} were not removed: {error}", self.id);
        }
        let completed = self.complete().await;
        worked.and(completed).map(|()| self.uploaded)
    }

    async fn work(&mut self, jobs: &mut mpsc::Receiver<Job>, writing: &mut Option<Writing>) -> Result<()> {
        while let Some(job) = jobs.recv().await {
            match job {
                Job::Begin(name) => *writing = Some(self.begin(name).await?),
                Job::Frame { plain_bytes, compressed } => {
                    let Some(object) = writing.as_mut() else { continue };
                    let compressed = compressed.await.map_err(|error| Error::Interrupted(error.to_string()))?;
                    let compressed = compressed.map_err(|source| Error::Compress { object: object.name.clone(), source })?;
                    let stored = compressed.len() as u64;
                    object.write(plain_bytes, compressed).await?;
                    self.progress.stored(stored);
                }
                Job::EndPack(end) => self.end(writing.take(), End::Pack(end)).await?,
                Job::EndManifest => self.end(writing.take(), End::Manifest).await?,
            }
        }
        Ok(())
    }

    async fn begin(&self, name: String) -> Result<Writing> {
        let upload = self.backups.upload(&self.id, &name).await?;
        Ok(Writing { name, upload, frames: FrameIndex::default(), hash: Hasher::new() })
    }

    /// Completes an object while the next one may begin; the one before must be durable first.
    async fn end(&mut self, writing: Option<Writing>, end: End) -> Result<()> {
        self.complete().await?;
        if let Some(writing) = writing {
            self.completing = Some(tokio::spawn(writing.finish(self.backups.clone(), self.id.clone(), end)));
        }
        Ok(())
    }

    async fn complete(&mut self) -> Result<()> {
        let Some(completing) = self.completing.take() else { return Ok(()) };
        let completed = completing.await.map_err(|error| Error::Interrupted(error.to_string()))??;
        self.uploaded.objects.extend(completed.objects);
        self.uploaded.manifest = completed.manifest.or(self.uploaded.manifest.take());
        Ok(())
    }
}

impl Writing {
    async fn write(&mut self, plain_bytes: u64, compressed: Vec<u8>) -> Result<()> {
        self.frames.push(plain_bytes, &compressed);
        self.hash.update(&compressed);
        self.upload.write(Bytes::from(compressed)).await.map_err(stored)
    }

    async fn finish(self, backups: Backups, id: BackupId, end: End) -> Result<Uploaded> {
        let Self { name, upload, frames, hash } = self;
        let (plain_bytes, stored_bytes) = (frames.plain_size(), frames.stored_size());
        let object = BackupObject { name: name.clone(), plain_bytes, stored_bytes, blake3: hash.finish() };
        match upload.finish().await {
            Ok(Put::Created) => {}
            Ok(Put::AlreadyExists) if is_stored(&backups, &id, &object).await? => {}
            Ok(Put::AlreadyExists) => return Err(Error::Taken { object: backups.key(&id, &name) }),
            // The answer may have been lost, and the object be there.
            Err(error) if error.is_retryable() && is_stored(&backups, &id, &object).await? => {}
            Err(error) => return Err(stored(error)),
        }
        match end {
            End::Manifest => Ok(Uploaded { objects: vec![object], manifest: Some(FramedObject { name, frames }) }),
            End::Pack(PackEnd { name: pack, archive, entries }) => {
                let index = PackIndex { format: PackIndex::FORMAT, archive, frames, entries };
                let index = backups.put_index(&id, pack, &index).await?;
                Ok(Uploaded { objects: vec![object, index], manifest: None })
            }
        }
    }
}

/// Whether the store holds an object byte for byte: it is read back.
async fn is_stored(backups: &Backups, id: &BackupId, object: &BackupObject) -> Result<bool> {
    if backups.size(id, &object.name).await? != Some(object.stored_bytes) {
        return Ok(false);
    }
    let mut hash = Hasher::new();
    let mut read = 0;
    while read < object.stored_bytes {
        let end = object.stored_bytes.min(read + READ_BYTES);
        let piece = backups.get_range(id, &object.name, read..end).await?;
        if piece.is_empty() {
            return Ok(false);
        }
        hash.update(&piece);
        read += piece.len() as u64;
    }
    Ok(hash.finish() == object.blake3)
}

fn stored(error: crate::storage::Error) -> Error {
    Error::Repository(repository::Error::Storage(error))
}
