//! The content of objects on its way back out of the packs.

use bytes::{Bytes, BytesMut};

use super::super::error::{Error, Result};
use super::super::line::{Line, Place};
use crate::codec::{Frame, FrameIndex};
use crate::repository::{BackupId, Backups, Content, OpenObject};

/// So many packs are held open, each with the frame that was read last: objects come back mostly in the order in which they lie there.
const OPEN_MAX: usize = 3;

/// Reads content out of packs.
pub(super) struct Contents {
    backups: Backups,
    open: Vec<OpenPack>,
}

struct OpenPack {
    pack: String,
    id: BackupId,
    name: String,
    frames: FrameIndex,
    object: OpenObject,
    last: Option<(Frame, Bytes)>,
}

impl Contents {
    pub const fn new(backups: Backups) -> Self {
        Self { backups, open: Vec::new() }
    }

    /// The whole content of a small object.
    pub async fn read(&mut self, line: &Line) -> Result<Bytes> {
        let Some(place) = &line.place else { return Ok(Bytes::new()) };
        let range = place.offset..place.offset.saturating_add(line.size);
        let pack = self.pack(place, &line.key).await?;
        let mut content = BytesMut::new();
        for frame in pack.frames.covering(&range).to_vec() {
            let plain = pack.frame(frame).await?;
            let at =
                |offset: u64| usize::try_from(offset.saturating_sub(frame.plain_offset)).unwrap_or(plain.len()).min(plain.len());
            // Copied, so that a few bytes do not hold a whole frame.
            content.extend_from_slice(&plain[at(range.start)..at(range.end)]);
        }
        Ok(content.freeze())
    }

    /// The content of a large object, piece by piece.
    pub async fn stream(&mut self, line: &Line) -> Result<Content> {
        let place = line.place.as_ref().ok_or_else(|| self.misplaced(&line.key))?;
        let backups = self.backups.clone();
        let range = place.offset..place.offset.saturating_add(line.size);
        let pack = self.pack(place, &line.key).await?;
        Ok(backups.read_range(&pack.id, &pack.name, &pack.frames, range))
    }

    async fn pack(&mut self, place: &Place, key: &str) -> Result<&mut OpenPack> {
        match self.open.iter().position(|open| open.pack == place.pack) {
            Some(position) => self.open[position..].rotate_left(1),
            None => {
                let (id, name) = place.pack().ok_or_else(|| self.misplaced(key))?;
                let frames = self.backups.get_frames(&id, name).await?;
                let object = self.backups.open_object(&id, name).await?;
                if self.open.len() == OPEN_MAX {
                    self.open.remove(0);
                }
                let (pack, name) = (place.pack.clone(), name.to_owned());
                self.open.push(OpenPack { pack, id, name, frames, object, last: None });
            }
        }
        let missing = self.misplaced(key);
        self.open.last_mut().ok_or(missing)
    }

    fn misplaced(&self, key: &str) -> Error {
        let object = self.backups.resource().to_string();
        Error::Listing { object, detail: format!("the line of {key} does not say where its content is") }
    }
}

impl OpenPack {
    async fn frame(&mut self, frame: Frame) -> Result<Bytes> {
        if let Some((last, plain)) = &self.last
            && *last == frame
        {
            return Ok(plain.clone());
        }
        self.last = None;
        let plain = self.object.frame(frame).await?;
        self.last = Some((frame, plain.clone()));
        Ok(plain)
    }
}
