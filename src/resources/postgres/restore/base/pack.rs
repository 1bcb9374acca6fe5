//! One pack: its frames are fetched and decompressed ahead, several at once, and written in order.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::writer::{HeldBack, Writer};
use super::{FRAME_BYTES_MAX, Places, Written};
use crate::codec::Frame;
use crate::repository::{BackupEntry, Backups, PackName};
use crate::resources::postgres::restore::error::{Error, Result};

/// How many frames of a pack are fetched or decompressed at once.
const FRAMES_AT_ONCE: usize = 3;
/// How many more wait to be written.
const FRAMES_WAITING: usize = 1;

/// What all packs of a restore share.
pub(super) struct Job {
    pub(super) backups: Backups,
    pub(super) backup: BackupEntry,
    pub(super) places: Arc<Places>,
}

/// Restores the files of a pack; `object` is its name within the backup.
pub(super) async fn restore(job: Arc<Job>, pack: PackName, object: String, written: Written) -> Result<HeldBack> {
    let index = job.backups.get_index(&job.backup.id, pack).await?;
    let frames: Vec<Frame> = index.frames.frames().to_vec();
    let (sender, receiver) = mpsc::channel(FRAMES_WAITING);
    let key = job.backups.key(&job.backup.id, &object);
    let places = Arc::clone(&job.places);
    let writing = tokio::task::spawn_blocking(move || Writer::new(key, places, index, written).run(receiver));
    let read = |frame: Frame| {
        let (job, object) = (Arc::clone(&job), object.clone());
        async move { read_frame(&job.backups, &job.backup, &object, frame).await.map(|plain| (frame, plain)) }
    };
    let fetched = async move {
        let mut ahead = stream::iter(frames).map(read).buffered(FRAMES_AT_ONCE);
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

/// The content of one frame, checked.
pub(super) async fn read_frame(backups: &Backups, backup: &BackupEntry, object: &str, frame: Frame) -> Result<Vec<u8>> {
    let stored = backups.get_range(&backup.id, object, frame.stored_range()).await?;
    let opened = tokio::task::spawn_blocking(move || frame.open(&stored, FRAME_BYTES_MAX)).await;
    let opened = opened.map_err(|panic| Error::Interrupted(panic.to_string()))?;
    opened.map_err(|error| Error::Damaged { object: backups.key(&backup.id, object), detail: error.to_string() })
}
