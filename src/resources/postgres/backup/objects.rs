//! The objects of a backup on their way into the repository: cut into frames, compressed on several threads, stored in order.
//!
//! `Objects` is the sending half. It waits when the store is behind, which in the end holds the server back.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::{Error, Result};
use super::limits::Limits;
use super::uploader::{Uploaded, Uploader};
use crate::codec::{self, Compression, compress_frame};
use crate::repository::{PackArchive, PackEntry, PackName};

/// What the uploader is told, in order.
pub enum Job {
    /// An object of this name begins.
    Begin(String),
    /// Its next frame, which is being compressed.
    Frame {
        /// Its size before compression.
        plain_bytes: u64,
        /// What comes of it.
        compressed: JoinHandle<std::result::Result<Vec<u8>, codec::Error>>,
    },
    /// It is complete, and it is a pack.
    EndPack(PackEnd),
    /// It is complete, and it is the manifest.
    EndManifest,
}

/// What belongs into the index of a complete pack, besides its frames.
pub struct PackEnd {
    pub name: PackName,
    pub archive: PackArchive,
    pub entries: Vec<PackEntry>,
}

/// Where the content of a backup is written to.
pub struct Objects {
    compression: Compression,
    frame_bytes: usize,
    pending: Vec<u8>,
    jobs: mpsc::Sender<Job>,
}

/// The half that stores.
pub type Storing = JoinHandle<Result<Uploaded>>;

impl Objects {
    /// Starts the uploader, which ends when this is dropped.
    pub fn start(uploader: Uploader, compression: Compression, limits: &Limits) -> (Self, Storing) {
        let (jobs, receiver) = mpsc::channel(limits.frames_in_flight);
        let storing = tokio::spawn(uploader.run(receiver));
        (Self { compression, frame_bytes: limits.frame_bytes, pending: Vec::new(), jobs }, storing)
    }

    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// Begins an object; the one before must have been ended.
    pub async fn begin(&mut self, name: String) -> Result<()> {
        self.send(Job::Begin(name)).await
    }

    /// Adds content to the object.
    pub async fn write(&mut self, mut plain: &[u8]) -> Result<()> {
        while !plain.is_empty() {
            let room = self.frame_bytes - self.pending.len();
            let (head, rest) = plain.split_at(room.min(plain.len()));
            self.pending.extend_from_slice(head);
            plain = rest;
            if self.pending.len() >= self.frame_bytes {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Ends an object that is a pack.
    pub async fn end_pack(&mut self, end: PackEnd) -> Result<()> {
        self.flush().await?;
        self.send(Job::EndPack(end)).await
    }

    /// Ends the object that is the manifest.
    pub async fn end_manifest(&mut self) -> Result<()> {
        self.flush().await?;
        self.send(Job::EndManifest).await
    }

    async fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let plain = std::mem::replace(&mut self.pending, Vec::with_capacity(self.frame_bytes));
        let plain_bytes = plain.len() as u64;
        // The place in the queue comes first: it is what bounds how many frames there are.
        let place = self.jobs.reserve().await.map_err(|_| gone())?;
        let compression = self.compression;
        let compressed = tokio::task::spawn_blocking(move || compress_frame(&plain, compression));
        place.send(Job::Frame { plain_bytes, compressed });
        Ok(())
    }

    async fn send(&mut self, job: Job) -> Result<()> {
        self.jobs.send(job).await.map_err(|_| gone())
    }
}

/// The uploader has failed; its own error says why, and is what gets reported.
fn gone() -> Error {
    Error::Interrupted("the store failed".into())
}
