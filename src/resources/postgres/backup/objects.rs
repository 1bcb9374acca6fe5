//! The objects of a base backup: packs and the manifest, one after the other. A complete one is made durable while the next one begins.

use tokio::task::JoinHandle;

use super::error::{Error, Result};
use crate::codec::Compression;
use crate::repository::{
    BackupId, BackupObject, Backups, Draft, FramedObject, ObjectWriter, PackArchive, PackEntry, PackIndex, PackName, Writers,
};

/// What belongs into the index of a complete pack, besides its frames.
pub struct PackEnd {
    pub name: PackName,
    pub archive: PackArchive,
    pub entries: Vec<PackEntry>,
}

/// What was stored, each object complete and durable.
#[derive(Debug, Default)]
pub struct Uploaded {
    /// All objects.
    pub objects: Vec<BackupObject>,
    /// The manifest, once it is stored.
    pub manifest: Option<FramedObject>,
}

/// Where the content of a backup is written to.
pub struct Objects {
    backups: Backups,
    id: BackupId,
    writers: Writers,
    writing: Option<ObjectWriter>,
    /// The object before, which the store makes durable while the next one comes in.
    completing: Option<JoinHandle<Result<Uploaded>>>,
    uploaded: Uploaded,
}

impl Objects {
    /// For the objects of `draft`.
    pub fn of(draft: &Draft) -> Self {
        let (backups, id, writers) = (draft.backups().clone(), draft.id().clone(), draft.writers().clone());
        Self { backups, id, writers, writing: None, completing: None, uploaded: Uploaded::default() }
    }

    pub fn compression(&self) -> Compression {
        self.writers.compression()
    }

    /// Begins an object; the one before must have been ended.
    pub fn begin(&mut self, name: &str) {
        self.writing = Some(self.writers.begin(name));
    }

    /// Adds content to the object.
    pub async fn write(&mut self, plain: &[u8]) -> Result<()> {
        match &mut self.writing {
            Some(writing) => Ok(writing.write(plain).await?),
            None => Err(Error::Incomplete("content outside of any object".into())),
        }
    }

    /// Ends an object that is a pack.
    pub async fn end_pack(&mut self, end: PackEnd) -> Result<()> {
        self.complete().await?;
        let Some(writing) = self.writing.take() else { return Ok(()) };
        self.completing = Some(self.writers.spawn(finish_pack(writing, end, self.backups.clone(), self.id.clone())));
        Ok(())
    }

    /// Ends the object that is the manifest, and returns what was stored in all.
    pub async fn end_manifest(mut self) -> Result<Uploaded> {
        self.complete().await?;
        if let Some(writing) = self.writing.take() {
            let written = writing.finish().await?;
            self.uploaded.manifest = Some(FramedObject { name: written.object.name.clone(), frames: written.frames });
            self.uploaded.objects.push(written.object);
        }
        Ok(self.uploaded)
    }

    async fn complete(&mut self) -> Result<()> {
        let Some(completing) = self.completing.take() else { return Ok(()) };
        let completed = completing.await.map_err(|error| Error::Interrupted(error.to_string()))??;
        self.uploaded.objects.extend(completed.objects);
        Ok(())
    }
}

/// Makes a pack durable, and then its index.
async fn finish_pack(writing: ObjectWriter, end: PackEnd, backups: Backups, id: BackupId) -> Result<Uploaded> {
    let written = writing.finish().await?;
    let PackEnd { name, archive, entries } = end;
    let index = PackIndex { format: PackIndex::FORMAT, archive, frames: written.frames, entries };
    let index = backups.put_index(&id, name, &index).await?;
    Ok(Uploaded { objects: vec![written.object, index], manifest: None })
}
