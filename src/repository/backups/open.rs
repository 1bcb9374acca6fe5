//! An object of a backup, in the clear or encrypted, of which single frames are read.

use std::sync::Arc;

use bytes::Bytes;

use super::{BackupId, Backups};
use crate::codec::{self, Frame, Unlocked};
use crate::repository::{Error, Result, keys};
use crate::storage::ObjectKey;
use crate::sys::buffer::into_bytes;

/// No frame may claim to hold more, in bytes.
const FRAME_BYTES_MAX: u64 = 64 << 20;

/// An object of a backup. Opening it costs a small request where it may be encrypted: keep it for all frames that are read.
#[derive(Clone)]
pub struct OpenObject {
    backups: Backups,
    key: ObjectKey,
    unlocked: Option<Arc<Unlocked>>,
}

impl Backups {
    /// Opens an object that consists of frames.
    ///
    /// # Errors
    /// When the store fails, there is no such object, or no identity opens it.
    pub async fn open_object(&self, id: &BackupId, name: &str) -> Result<OpenObject> {
        let key = keys::data(&self.resource, id, name);
        let unlocked = if self.repository.encryption().is_configured() { self.repository.unlock(&key).await? } else { None };
        Ok(OpenObject { backups: self.clone(), key, unlocked: unlocked.map(Arc::new) })
    }
}

impl OpenObject {
    /// The content of one frame, checked.
    ///
    /// # Errors
    /// `Error::Codec` where the frame is damaged; when the store fails.
    pub async fn frame(&self, frame: Frame) -> Result<Bytes> {
        let range = frame.stored_range();
        let asked = self.unlocked.as_ref().map_or_else(|| range.clone(), |unlocked| unlocked.stored_range(&range));
        let stored = self.backups.repository.store.get_range(&self.key, asked).await?;
        let unlocked = self.unlocked.clone();
        let opened = tokio::task::spawn_blocking(move || open(unlocked.as_deref(), frame, stored)).await;
        match opened.map_err(|panic| Error::Interrupted { detail: panic.to_string() })? {
            Ok(plain) => Ok(plain),
            Err(source) => Err(self.explain(source).await),
        }
    }

    /// An object that was taken for one in the clear may be encrypted.
    async fn explain(&self, source: codec::Error) -> Error {
        if self.unlocked.is_none()
            && let Err(locked) = self.backups.repository.unlock(&self.key).await
        {
            return locked;
        }
        Error::Codec { object: self.key.to_string(), source }
    }
}

fn open(unlocked: Option<&Unlocked>, frame: Frame, stored: Bytes) -> std::result::Result<Bytes, codec::Error> {
    let plain = match unlocked {
        None => frame.open(&stored, FRAME_BYTES_MAX)?,
        Some(unlocked) => {
            let compressed = unlocked.read(&frame.stored_range(), &stored)?;
            drop(stored);
            frame.open(&compressed, FRAME_BYTES_MAX)?
        }
    };
    Ok(into_bytes(plain))
}
