//! What is stored of a piece: a whole segment, or slices.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::pg::records::{Activity, Scanner};
use crate::pg::{SegmentName, SegmentNumber, SegmentSize, WalFileName};
use crate::repository::{Slice, WalArchive};
use crate::resources::postgres::archive::coverage::minimal_chain;
use crate::resources::postgres::restore::error::Result;

/// Of how many segments the slices are remembered.
const LISTINGS_REMEMBERED: usize = 64;
/// How often slices that were joined while they were read are listed anew.
const LOOKS_MAX: usize = 3;

/// Of how many pieces the content is remembered: the search for a record, and for the commits around it, reads the same two.
const PIECES_REMEMBERED: usize = 2;

/// A piece and its content.
type Read = (SegmentName, SegmentNumber, Vec<Bytes>);

/// Reads pieces of `piece_size`.
pub(super) struct Contents<'a> {
    archive: &'a WalArchive,
    piece_size: SegmentSize,
    listed: Mutex<HashMap<SegmentName, Arc<Vec<Slice>>>>,
    recent: Mutex<VecDeque<Read>>,
}

impl<'a> Contents<'a> {
    pub(super) fn of(archive: &'a WalArchive, piece_size: SegmentSize) -> Self {
        Self { archive, piece_size, listed: Mutex::default(), recent: Mutex::default() }
    }

    pub(super) const fn piece_size(&self) -> SegmentSize {
        self.piece_size
    }

    pub(super) const fn segment_size(&self) -> SegmentSize {
        self.archive.segment_size()
    }

    /// Whether a segment is one piece: larger ones are never stored whole.
    fn is_segment(&self) -> bool {
        self.piece_size == self.segment_size()
    }

    /// Which bytes of its segment a piece is.
    fn bytes(&self, piece: SegmentNumber) -> Range<u64> {
        let start = self.segment_size().offset(piece.start(self.piece_size));
        start..start + self.piece_size.bytes()
    }

    /// What happened in a piece, from its header, or from its content where the header does not say.
    pub(super) async fn activity(&self, segment: SegmentName, piece: SegmentNumber) -> Result<Activity> {
        if let Some(activity) = self.noted(segment, piece).await? {
            return Ok(activity);
        }
        let mut scanner = Scanner::new(piece.start(self.piece_size), self.segment_size());
        self.read(segment, piece).await?.iter().for_each(|bytes| scanner.feed(bytes));
        Ok(scanner.take_activity())
    }

    async fn noted(&self, segment: SegmentName, piece: SegmentNumber) -> Result<Option<Activity>> {
        if self.is_segment()
            && let Some(about) = self.archive.about_file(WalFileName::Segment(segment)).await?
        {
            return Ok(about.activity);
        }
        let (wanted, mut whole) = (self.bytes(piece), Activity::default());
        for slice in self.slices(segment, &wanted).await? {
            let is_inside = wanted.start <= slice.bytes.start && slice.bytes.end <= wanted.end;
            let about = if is_inside { self.archive.about_slice(&slice).await? } else { None };
            match about.and_then(|about| about.activity) {
                Some(activity) => whole.extend(activity),
                None => return Ok(None),
            }
        }
        Ok(Some(whole))
    }

    /// The stored bytes of a piece from its first on; a segment that was completed meanwhile is read whole.
    pub(super) async fn read(&self, segment: SegmentName, piece: SegmentNumber) -> Result<Vec<Bytes>> {
        let known = |read: &&Read| (read.0, read.1) == (segment, piece);
        let known = self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().find(known).map(|read| read.2.clone());
        if let Some(content) = known {
            return Ok(content);
        }
        let content = self.read_anew(segment, piece).await?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((segment, piece, content.clone()));
        if recent.len() > PIECES_REMEMBERED {
            recent.pop_front();
        }
        drop(recent);
        Ok(content)
    }

    async fn read_anew(&self, segment: SegmentName, piece: SegmentNumber) -> Result<Vec<Bytes>> {
        for _ in 0..LOOKS_MAX {
            if self.is_segment()
                && let Some((_, content)) = self.archive.get_file(WalFileName::Segment(segment)).await?
            {
                return Ok(vec![content]);
            }
            if let Some(content) = self.read_slices(segment, self.bytes(piece)).await? {
                return Ok(content);
            }
            self.listed.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
        }
        Ok(vec![])
    }

    /// `None` where a slice is not there any more.
    async fn read_slices(&self, segment: SegmentName, wanted: Range<u64>) -> Result<Option<Vec<Bytes>>> {
        let (mut content, mut reached) = (Vec::new(), wanted.start);
        for slice in self.slices(segment, &wanted).await? {
            let Some((_, bytes)) = self.archive.get_slice(&slice).await? else { return Ok(None) };
            // Slices may overlap: what was there before is left out.
            let at = |offset: u64| usize::try_from(offset - slice.bytes.start).unwrap_or(usize::MAX).min(bytes.len());
            content.push(bytes.slice(at(reached)..at(slice.bytes.end.min(wanted.end))));
            reached = slice.bytes.end;
        }
        Ok(Some(content))
    }

    /// The slices that hold what is stored of some bytes from the first on, the fewest, in order; none where there is a hole.
    async fn slices(&self, segment: SegmentName, wanted: &Range<u64>) -> Result<Vec<Slice>> {
        let all = self.listed(segment).await?;
        let part = |slice: &Slice| {
            let (start, end) = (slice.bytes.start.max(wanted.start), slice.bytes.end.min(wanted.end));
            (start < end).then(|| start - wanted.start..end - wanted.start)
        };
        let parts: Vec<Range<u64>> = all.iter().filter_map(part).collect();
        let end = parts.iter().map(|part| part.end).max().unwrap_or(0);
        let chain = minimal_chain(&parts, end).unwrap_or_default();
        let slice = |wanted: &Range<u64>| all.iter().find(|slice| part(slice).as_ref() == Some(wanted)).cloned();
        Ok(chain.iter().filter_map(slice).collect())
    }

    /// The slices of a segment; of one with many pieces they are remembered.
    async fn listed(&self, segment: SegmentName) -> Result<Arc<Vec<Slice>>> {
        if let Some(slices) = self.listed.lock().unwrap_or_else(PoisonError::into_inner).get(&segment) {
            return Ok(Arc::clone(slices));
        }
        let slices = Arc::new(self.archive.slices(segment).await?);
        if !self.is_segment() {
            let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            if listed.len() >= LISTINGS_REMEMBERED {
                listed.clear();
            }
            listed.insert(segment, Arc::clone(&slices));
        }
        Ok(slices)
    }
}
