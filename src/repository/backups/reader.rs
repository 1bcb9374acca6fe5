//! Objects of a backup on their way back: whole, with every byte checked, or a range of their content.
//!
//! Invariants: no byte is handed out that its frame's checksum does not vouch for. A whole object ends without an error only if its size
//! and its hash are those that the catalog has. Memory: a few pieces and frames for each object that is read.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::{BackupId, BackupObject, Backups};
use crate::codec::{Frame, FrameIndex, Hasher};
use crate::repository::{Error, Result};

/// How much is read at once.
const PIECE_BYTES: u64 = 4 << 20;
/// How many pieces, and how many frames, are on their way at once.
const AT_ONCE: usize = 2;
/// No frame may claim to hold more, in bytes.
const FRAME_BYTES_MAX: u64 = 64 << 20;

/// The content of an object, frame by frame, in order.
pub type Content = BoxStream<'static, Result<Bytes>>;

impl Backups {
    /// Reads a whole object and checks every byte of it: each frame, and at the end the size and hash of all that is stored.
    #[must_use]
    pub fn read_whole(&self, id: &BackupId, object: &BackupObject, frames: &FrameIndex) -> Content {
        let damaged = |detail: &str| Error::Damaged { object: self.key(id, &object.name), detail: detail.to_owned() };
        if !frames.is_contiguous() || frames.stored_size() != object.stored_bytes || frames.plain_size() != object.plain_bytes {
            return stream::once(std::future::ready(Err(damaged("its index does not fit its catalog entry")))).boxed();
        }
        let (sender, receiver) = mpsc::channel(1);
        let cutting = cut(self.clone(), id.clone(), object.clone(), frames.frames().to_vec(), sender);
        let (backups, id, name) = (self.clone(), id.clone(), object.name.clone());
        let open = move |read: Result<(Frame, Bytes)>| {
            let (backups, id, name) = (backups.clone(), id.clone(), name.clone());
            async move {
                let (frame, stored) = read?;
                backups.open_frame(&id, &name, frame, stored).await
            }
        };
        tokio::spawn(cutting);
        stream::poll_fn(with(receiver)).map(open).buffered(AT_ONCE).boxed()
    }

    /// Reads a range of an object's content, with the frames that hold it. Less where the content ends before.
    #[must_use]
    pub fn read_range(&self, id: &BackupId, name: &str, frames: &FrameIndex, plain: Range<u64>) -> Content {
        let (backups, id, name) = (self.clone(), id.clone(), name.to_owned());
        let covering = if plain.is_empty() { Vec::new() } else { frames.covering(&plain).to_vec() };
        let read = move |frame: Frame| {
            let (backups, id, name, plain) = (backups.clone(), id.clone(), name.clone(), plain.clone());
            async move {
                let stored = backups.get_range(&id, &name, frame.stored_range()).await?;
                let content = backups.open_frame(&id, &name, frame, stored).await?;
                let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                let from = at(plain.start.saturating_sub(frame.plain_offset));
                let to = at(plain.end.saturating_sub(frame.plain_offset));
                Ok(content.slice(from..to.max(from)))
            }
        };
        stream::iter(covering).map(read).buffered(AT_ONCE).boxed()
    }

    /// Reads what is stored of an object from end to end and compares its size and hash with the catalog's, without looking into it.
    ///
    /// # Errors
    /// `Error::Damaged` names the object. `progress` is told of each piece, in bytes.
    pub async fn check_stored(&self, id: &BackupId, object: &BackupObject, progress: impl Fn(u64)) -> Result<()> {
        let mut hash = Hasher::new();
        let mut pieces = std::pin::pin!(self.pieces(id, object));
        while let Some(piece) = pieces.try_next().await? {
            hash.update(&piece);
            progress(piece.len() as u64);
        }
        self.compare_hash(id, object, &hash)
    }

    /// Whether the store holds an object byte for byte: it is read back.
    pub(super) async fn holds(&self, id: &BackupId, object: &BackupObject) -> Result<bool> {
        if self.size(id, &object.name).await? != Some(object.stored_bytes) {
            return Ok(false);
        }
        match self.check_stored(id, object, |_| ()).await {
            Ok(()) => Ok(true),
            Err(Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is stored of an object, piece by piece; an error where it is shorter or longer than the catalog says.
    fn pieces(&self, id: &BackupId, object: &BackupObject) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let starts = (0..object.stored_bytes.div_ceil(PIECE_BYTES).max(1)).map(|number| number * PIECE_BYTES);
        let (backups, id, object) = (self.clone(), id.clone(), object.clone());
        let read = move |start: u64| {
            let (backups, id, object) = (backups.clone(), id.clone(), object.clone());
            async move {
                let end = object.stored_bytes.min(start + PIECE_BYTES);
                // One byte more than there should be shows an object that is too long.
                let beyond = u64::from(end == object.stored_bytes);
                let read = backups.get_range(&id, &object.name, start..end + beyond).await;
                let damaged = |detail: String| Error::Damaged { object: backups.key(&id, &object.name), detail };
                match read {
                    Ok(piece) if piece.len() as u64 == end - start => Ok(piece),
                    Ok(_) => Err(damaged(format!("it does not have the {} bytes that the catalog says", object.stored_bytes))),
                    Err(Error::Storage(error)) if error.is_not_found() => Err(damaged("it is not there".to_owned())),
                    Err(error) => Err(error),
                }
            }
        };
        stream::iter(starts).map(read).buffered(AT_ONCE)
    }

    fn compare_hash(&self, id: &BackupId, object: &BackupObject, hash: &Hasher) -> Result<()> {
        let found = hash.finish();
        if found == object.blake3 {
            return Ok(());
        }
        let detail = format!("its hash is {found} instead of {}: it was altered after it was stored", object.blake3);
        Err(Error::Damaged { object: self.key(id, &object.name), detail })
    }

    /// The content of one frame, checked.
    async fn open_frame(&self, id: &BackupId, name: &str, frame: Frame, stored: Bytes) -> Result<Bytes> {
        let opened = tokio::task::spawn_blocking(move || frame.open(&stored, FRAME_BYTES_MAX)).await;
        let opened = opened.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
        opened.map(Bytes::from).map_err(|source| Error::Codec { object: self.key(id, name), source })
    }
}

fn with<T>(mut receiver: mpsc::Receiver<T>) -> impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> {
    move |context| receiver.poll_recv(context)
}

/// Cuts what is stored into its frames, and ends with an error where the whole is not what the catalog says.
async fn cut(
    backups: Backups,
    id: BackupId,
    object: BackupObject,
    frames: Vec<Frame>,
    sender: mpsc::Sender<Result<(Frame, Bytes)>>,
) {
    let mut pieces = std::pin::pin!(backups.pieces(&id, &object));
    let (mut hash, mut held, mut frames) = (Hasher::new(), BytesMut::new(), frames.into_iter().peekable());
    loop {
        let next = match pieces.try_next().await {
            Ok(None) => break,
            Ok(Some(piece)) => piece,
            Err(error) => return drop(sender.send(Err(error)).await),
        };
        hash.update(&next);
        held.extend_from_slice(&next);
        let complete = |held: &BytesMut, frame: &Frame| held.len() as u64 >= frame.stored_size;
        while let Some(frame) = frames.next_if(|frame| complete(&held, frame)) {
            let stored = held.split_to(usize::try_from(frame.stored_size).unwrap_or(held.len())).freeze();
            if sender.send(Ok((frame, stored))).await.is_err() {
                return; // nobody reads any more
            }
        }
    }
    if let Err(error) = backups.compare_hash(&id, &object, &hash) {
        drop(sender.send(Err(error)).await);
    }
}
