//! Objects of a backup on their way back: whole, with every byte checked, or a range of their content.
//!
//! Invariants: no byte is handed out that its frame's checksum does not vouch for. A whole object ends without an error only if its size
//! and its hash are those that the catalog has. Memory: a few pieces and frames for each object that is read.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::{OnceCell, mpsc};

use super::{BackupId, BackupObject, Backups, OpenObject};
use crate::codec::{self, Decrypting, Frame, FrameIndex, Hasher};
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
        // Encrypted, it is larger than its frames.
        if !frames.is_contiguous() || frames.stored_size() > object.stored_bytes || frames.plain_size() != object.plain_bytes {
            return stream::once(std::future::ready(Err(damaged("its index does not fit its catalog entry")))).boxed();
        }
        let (sender, receiver) = mpsc::channel(1);
        let cutting = Cutting::of(self.clone(), id.clone(), object.clone(), frames).run(sender);
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
        let opened = Arc::new(OnceCell::new());
        let read = move |frame: Frame| {
            let (backups, id, name, plain, opened) =
                (backups.clone(), id.clone(), name.clone(), plain.clone(), Arc::clone(&opened));
            async move {
                let object: &OpenObject = opened.get_or_try_init(|| backups.open_object(&id, &name)).await?;
                let content = object.frame(frame).await?;
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

/// What is stored of an object on its way through decryption into frames; it ends with an error where the whole is not what the catalog
/// says.
struct Cutting {
    backups: Backups,
    id: BackupId,
    object: BackupObject,
    frames: Peekable<std::vec::IntoIter<Frame>>,
    is_encrypted: bool,
    opening: Option<Decrypting>,
    hash: Hasher,
    held: BytesMut,
}

impl Cutting {
    fn of(backups: Backups, id: BackupId, object: BackupObject, frames: &FrameIndex) -> Self {
        let is_encrypted = frames.stored_size() < object.stored_bytes;
        let frames = frames.frames().to_vec().into_iter().peekable();
        Self { backups, id, object, frames, is_encrypted, opening: None, hash: Hasher::new(), held: BytesMut::new() }
    }

    async fn run(mut self, sender: mpsc::Sender<Result<(Frame, Bytes)>>) {
        if let Err(error) = self.cut(&sender).await {
            drop(sender.send(Err(error)).await);
        }
    }

    async fn cut(&mut self, sender: &mpsc::Sender<Result<(Frame, Bytes)>>) -> Result<()> {
        let mut pieces = std::pin::pin!(self.backups.pieces(&self.id, &self.object));
        while let Some(piece) = pieces.try_next().await? {
            self.hash.update(&piece);
            if self.is_encrypted {
                let compressed = self.decrypt(piece).await?;
                self.held.extend_from_slice(&compressed);
            } else {
                self.held.extend_from_slice(&piece);
            }
            if !self.send_complete(sender).await {
                return Ok(()); // nobody reads any more
            }
        }
        if let Some(opening) = self.opening.take() {
            let last = self.blocking(move || opening.finish()).await?;
            self.held.extend_from_slice(&last);
            self.send_complete(sender).await;
        }
        self.backups.compare_hash(&self.id, &self.object, &self.hash)
    }

    /// The content of the next piece of an encrypted object.
    async fn decrypt(&mut self, piece: Bytes) -> Result<Vec<u8>> {
        let opening = self.opening.take();
        let identities = self.backups.repository.encryption().identities.clone();
        let work = move || {
            let mut opening = opening.map_or_else(|| Decrypting::begin(&piece, &identities), Ok)?;
            opening.push(&piece).map(|content| (opening, content))
        };
        let (opening, content) = self.blocking(work).await?;
        self.opening = Some(opening);
        Ok(content)
    }

    /// Sends the frames that are complete; false where nobody takes them.
    async fn send_complete(&mut self, sender: &mpsc::Sender<Result<(Frame, Bytes)>>) -> bool {
        let held = &mut self.held;
        while let Some(frame) = self.frames.next_if(|frame| held.len() as u64 >= frame.stored_size) {
            let stored = held.split_to(usize::try_from(frame.stored_size).unwrap_or(held.len())).freeze();
            if sender.send(Ok((frame, stored))).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, codec::Error> + Send + 'static,
    ) -> Result<T> {
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
        done.map_err(|source| Error::Codec { object: self.backups.key(&self.id, &self.object.name), source })
    }
}
