//! One pack: its frames are fetched and decompressed ahead, several at once, and written in order.
//!
//! A frame takes its share of the memory that all packs have together before it is fetched, in order, and gives it back when it is
//! written: so the first frame of each pack that is not written yet always has its share, and no pack waits for itself.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::writer::{HeldBack, Writer};
use super::{Places, Written};
use crate::codec::Frame;
use crate::repository::{self, BackupEntry, Backups, OpenObject, PackName};
use crate::resources::postgres::restore::error::{Error, Result};

/// How many frames of a pack are fetched or decompressed at once.
const FRAMES_AT_ONCE: usize = 3;
/// How many more wait to be written.
const FRAMES_WAITING: usize = 1;

/// The memory for the frames of all packs, as stored and as written, in KiB.
const MEMORY_KIB: u32 = 48 << 10;

/// A frame on its way to the writer, with its share of the memory.
pub(super) struct Fetched {
    pub(super) frame: Frame,
    pub(super) plain: Bytes,
    _share: OwnedSemaphorePermit,
}

/// The memory that all packs of a restore share.
pub(super) fn memory() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MEMORY_KIB as usize))
}

/// What all packs of a restore share.
pub(super) struct Job {
    pub(super) memory: Arc<Semaphore>,
    pub(super) backups: Backups,
    pub(super) backup: BackupEntry,
    pub(super) places: Arc<Places>,
}

/// Restores the files of a pack; `object` is its name within the backup.
pub(super) async fn restore(job: Arc<Job>, pack: PackName, object: String, written: Written) -> Result<HeldBack> {
    let index = job.backups.get_index(&job.backup.id, pack).await?;
    let frames: Vec<Frame> = index.frames.frames().to_vec();
    let opened = job.backups.open_object(&job.backup.id, &object).await?;
    let (sender, receiver) = mpsc::channel(FRAMES_WAITING);
    let key = job.backups.key(&job.backup.id, &object);
    let places = Arc::clone(&job.places);
    let writing = tokio::task::spawn_blocking(move || Writer::new(key, places, index, written).run(receiver));
    let shared = |frame: Frame| share(Arc::clone(&job.memory), frame);
    let read = |shared: Result<(Frame, OwnedSemaphorePermit)>| {
        let object = opened.clone();
        async move {
            let (frame, share) = shared?;
            let plain = read_frame(&object, frame).await?;
            Ok::<_, Error>(Fetched { frame, plain, _share: share })
        }
    };
    let fetched = async move {
        let mut ahead = pin!(stream::iter(frames).then(shared).map(read).buffered(FRAMES_AT_ONCE));
        while let Some(frame) = ahead.next().await {
            if sender.send(frame?).await.is_err() {
                break; // the writer has failed, and says why
            }
        }
        Ok(())
    };
    let (fetched, held) = tokio::join!(fetched, writing);
    let held = held.map_err(|panic| Error::Interrupted(panic.to_string()))?;
    fetched.and(held)
}

/// Waits for a frame's share of the memory; one that is larger than all of it goes alone.
async fn share(memory: Arc<Semaphore>, frame: Frame) -> Result<(Frame, OwnedSemaphorePermit)> {
    let kib = (frame.stored_size + frame.plain_size).div_ceil(1024).clamp(1, u64::from(MEMORY_KIB));
    let share = memory.acquire_many_owned(u32::try_from(kib).unwrap_or(MEMORY_KIB)).await;
    Ok((frame, share.map_err(|closed| Error::Interrupted(closed.to_string()))?))
}

/// The content of one frame, checked.
pub(super) async fn read_frame(object: &OpenObject, frame: Frame) -> Result<Bytes> {
    object.frame(frame).await.map_err(|error| match error {
        repository::Error::Codec { object, source } if !source.is_locked() => {
            Error::Damaged { object, detail: source.to_string() }
        }
        other => other.into(),
    })
}
