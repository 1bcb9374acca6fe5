//! Objects of a backup on their way into the store: cut into frames, compressed on other threads, hashed, stored in order.
//!
//! Every kind of resource stores its content through this. Invariants: all objects of one backup share the places for frames, and all
//! that a process stores one budget (`sys::places`), so that memory is bounded however many are written side by side. An object appears
//! whole, when it is finished; one that is dropped before leaves nothing behind. A writer waits while the store is behind.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::{BackupId, BackupObject, Backups};
use crate::codec::{self, Compression, Encrypting, FrameIndex, FrameWriter, Hasher, compress_frame};
use crate::repository::{Error, Result};
use crate::storage::{Put, Upload};
use crate::sys::buffer::buffer;
use crate::sys::places::{Place, place_for};

/// How much of a backup is held in memory while it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteLimits {
    /// The size of a frame, in bytes before compression.
    pub frame_bytes: usize,
    /// How many frames of all objects together are compressed or waiting for the store at once.
    pub frames_in_flight: usize,
}

impl Default for WriteLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { frame_bytes: FrameWriter::FRAME_SIZE, frames_in_flight: cores.clamp(2, 4) }
    }
}

/// Told of each piece that the store has taken, in bytes as stored.
pub type OnStored = Arc<dyn Fn(u64) + Send + Sync>;

/// Begins the objects of one backup.
#[derive(Clone)]
pub struct Writers {
    backups: Backups,
    id: BackupId,
    limits: WriteLimits,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    on_stored: OnStored,
}

/// An object that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenObject {
    /// What the catalog entry says of it.
    pub object: BackupObject,
    /// Where its content lies in it.
    pub frames: FrameIndex,
}

/// One object that is being written.
pub struct ObjectWriter {
    writers: Writers,
    pending: Vec<u8>,
    jobs: mpsc::Sender<Job>,
    storing: Option<JoinHandle<Result<WrittenObject>>>,
}

/// What the storing half is told, in order.
enum Job {
    Frame(CompressedFrame),
    End,
}

/// A frame that is being compressed, and the place that it takes until the store has it.
struct CompressedFrame {
    plain_bytes: u64,
    compressed: JoinHandle<std::result::Result<Vec<u8>, codec::Error>>,
    _place: OwnedSemaphorePermit,
    /// Its share of what the whole process may hold.
    _room: Place,
}

impl Writers {
    /// For the objects of the backup `id`.
    #[must_use]
    pub fn new(backups: Backups, id: BackupId, limits: WriteLimits, on_stored: OnStored) -> Self {
        let places = Arc::new(Semaphore::new(limits.frames_in_flight));
        Self { backups, id, limits, places, tasks: TaskTracker::new(), on_stored }
    }

    /// How the objects are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.backups.repository.compression
    }

    /// Begins an object; `name` is made of digits, letters, `.`, `-` and `_`, and not used twice in a backup.
    #[must_use]
    pub fn begin(&self, name: &str) -> ObjectWriter {
        let (jobs, receiver) = mpsc::channel(self.limits.frames_in_flight);
        let storing = Storing {
            name: name.to_owned(),
            writers: self.clone(),
            frames: FrameIndex::default(),
            encrypting: None,
            stored_bytes: 0,
            hash: Hasher::new(),
            jobs: receiver,
        };
        let storing = Some(self.tasks.spawn(storing.run()));
        ObjectWriter { writers: self.clone(), pending: Vec::new(), jobs, storing }
    }

    /// Runs something that belongs to the storing of these objects, and that `settle` waits for.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Waits until nothing is under way any more: after that, what was dropped unfinished is gone and nothing appears.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl ObjectWriter {
    /// Adds content.
    ///
    /// # Errors
    /// When the store failed: the object is then of no more use.
    pub async fn write(&mut self, mut plain: &[u8]) -> Result<()> {
        while !plain.is_empty() {
            let room = self.writers.limits.frame_bytes - self.pending.len();
            let (head, rest) = plain.split_at(room.min(plain.len()));
            self.pending.extend_from_slice(head);
            plain = rest;
            if self.pending.len() >= self.writers.limits.frame_bytes {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Ends the object. It is there, whole and durable, when this returns.
    ///
    /// # Errors
    /// When it could not be stored, or something else is stored under its name.
    pub async fn finish(mut self) -> Result<WrittenObject> {
        self.flush().await?;
        if self.jobs.send(Job::End).await.is_err() {
            return Err(self.failure().await);
        }
        let storing = self.storing.take().ok_or_else(|| interrupted("it was finished before"))?;
        storing.await.map_err(|panic| interrupted(&panic.to_string()))?
    }

    async fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // The place comes first: it is what bounds how many frames there are.
        let place = Arc::clone(&self.writers.places).acquire_owned().await.map_err(|closed| interrupted(&closed.to_string()))?;
        let plain_bytes = self.pending.len() as u64;
        let room = place_for(plain_bytes).await;
        let next = buffer(self.writers.limits.frame_bytes.min(self.pending.len()));
        let plain = std::mem::replace(&mut self.pending, next);
        let compression = self.writers.compression();
        let compressed = tokio::task::spawn_blocking(move || compress_frame(&plain, compression));
        let frame = CompressedFrame { plain_bytes, compressed, _place: place, _room: room };
        if self.jobs.send(Job::Frame(frame)).await.is_err() {
            return Err(self.failure().await);
        }
        Ok(())
    }

    /// Why the storing half takes nothing any more.
    async fn failure(&mut self) -> Error {
        let Some(storing) = self.storing.take() else { return interrupted("it has failed before") };
        match storing.await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => interrupted("it was ended too early"),
            Err(panic) => interrupted(&panic.to_string()),
        }
    }
}

/// The storing half of one object.
struct Storing {
    name: String,
    writers: Writers,
    /// Where the frames lie in what is encrypted, or stored in the clear.
    frames: FrameIndex,
    encrypting: Option<Encrypting>,
    stored_bytes: u64,
    hash: Hasher,
    jobs: mpsc::Receiver<Job>,
}

impl Storing {
    async fn run(mut self) -> Result<WrittenObject> {
        self.encrypting = self.writers.backups.begin_encrypting(&self.writers.id, &self.name)?;
        let mut upload = self.writers.backups.upload(&self.writers.id, &self.name).await?;
        match self.take_all(upload.as_mut()).await {
            Ok(()) => self.finish(upload).await,
            Err(error) => {
                if let Err(abort) = upload.abort().await {
                    tracing::warn!("the remains of object {} of backup {} were not removed: {abort}", self.name, self.writers.id);
                }
                Err(error)
            }
        }
    }

    async fn take_all(&mut self, upload: &mut dyn Upload) -> Result<()> {
        while let Some(job) = self.jobs.recv().await {
            match job {
                Job::Frame(frame) => self.take(frame, upload).await?,
                Job::End => return self.take_end(upload).await,
            }
        }
        Err(interrupted("its writer gave up"))
    }

    async fn take(&mut self, frame: CompressedFrame, upload: &mut dyn Upload) -> Result<()> {
        let compressed = frame.compressed.await.map_err(|panic| interrupted(&panic.to_string()))?;
        let compressed = compressed.map_err(|source| Error::Codec { object: self.key(), source })?;
        self.frames.push(frame.plain_bytes, &compressed);
        let bytes = match self.encrypting.take() {
            None => compressed,
            Some(mut encrypting) => {
                let work = move || encrypting.write(&compressed).map(|encrypted| (encrypting, encrypted));
                let (encrypting, encrypted) = self.blocking(work).await?;
                self.encrypting = Some(encrypting);
                encrypted
            }
        };
        self.store(bytes, upload).await
    }

    /// Stores what ends the object.
    async fn take_end(&mut self, upload: &mut dyn Upload) -> Result<()> {
        let Some(encrypting) = self.encrypting.take() else { return Ok(()) };
        let last = self.blocking(move || encrypting.finish()).await?;
        self.store(last, upload).await
    }

    async fn store(&mut self, bytes: Vec<u8>, upload: &mut dyn Upload) -> Result<()> {
        let stored = bytes.len() as u64;
        self.stored_bytes += stored;
        self.hash.update(&bytes);
        upload.write(Bytes::from(bytes)).await?;
        (self.writers.on_stored)(stored);
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, codec::Error> + Send + 'static,
    ) -> Result<T> {
        let done = tokio::task::spawn_blocking(work).await.map_err(|panic| interrupted(&panic.to_string()))?;
        done.map_err(|source| Error::Codec { object: self.key(), source })
    }

    async fn finish(self, upload: Box<dyn Upload>) -> Result<WrittenObject> {
        let Writers { backups, id, .. } = &self.writers;
        let (plain_bytes, stored_bytes) = (self.frames.plain_size(), self.stored_bytes);
        let object = BackupObject { name: self.name.clone(), plain_bytes, stored_bytes, blake3: self.hash.finish() };
        match upload.finish().await {
            Ok(Put::Created) => {}
            Ok(Put::AlreadyExists) if backups.holds(id, &object).await? => {}
            Ok(Put::AlreadyExists) => return Err(Error::Taken { object: self.key() }),
            // The answer may have been lost, and the object be there.
            Err(error) if error.is_retryable() && backups.holds(id, &object).await? => {}
            Err(error) => return Err(error.into()),
        }
        Ok(WrittenObject { object, frames: self.frames })
    }

    fn key(&self) -> String {
        self.writers.backups.key(&self.writers.id, &self.name)
    }
}

fn interrupted(detail: &str) -> Error {
    Error::Interrupted { detail: detail.to_owned() }
}
