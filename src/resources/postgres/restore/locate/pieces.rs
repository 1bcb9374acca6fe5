//! The stored WAL along a route, piece by piece: a segment of up to 16 MiB is one piece, and a larger one consists of several, as it is
//! stored. No more than the pieces that matter is read, whatever `wal_segment_size` is.

mod content;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use super::joints::Joints;
use super::records::Records;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize};
use crate::repository::WalArchive;
use crate::resources::postgres::archive::push::PIECE_BYTES;
use crate::resources::postgres::restore::error::Result;
use crate::resources::postgres::restore::plan::Route;

use content::Contents;

/// The pieces of a route in which something is stored, in order. They have numbers as segments of their size would have.
pub(super) struct Pieces<'a> {
    contents: Contents<'a>,
    route: &'a Route,
    /// Ranges of numbers.
    ranges: Vec<Range<u64>>,
    known: Mutex<HashMap<usize, Activity>>,
}

/// How many headers are remembered: a halving search asks for few, and comes back to some.
const HEADERS_REMEMBERED: usize = 4096;
/// How many are read at once.
const HEADERS_AT_ONCE: usize = 16;
/// In how many pieces a record's end is looked for: few records are longer than one.
const PIECES_PER_RECORD: usize = 4;

impl<'a> Pieces<'a> {
    pub(super) fn new(archive: &'a WalArchive, route: &'a Route) -> Self {
        let whole = archive.segment_size();
        let size = SegmentSize::try_from(whole.bytes().min(PIECE_BYTES)).unwrap_or(whole);
        let numbers = |stretch: &Range<Lsn>| {
            SegmentNumber::containing(stretch.start, size).0..SegmentNumber::before(stretch.end, size).next().0
        };
        let ranges = route.searched().iter().map(numbers).collect();
        Self { contents: Contents::of(archive, size), route, ranges, known: Mutex::default() }
    }

    #[allow(clippy::cast_possible_truncation)] // as many as there are pieces
    pub(super) fn len(&self) -> usize {
        self.ranges.iter().map(|range| (range.end - range.start) as usize).sum()
    }

    const fn size(&self) -> SegmentSize {
        self.contents.piece_size()
    }

    fn number(&self, index: usize) -> Option<SegmentNumber> {
        let mut left = index as u64;
        for range in &self.ranges {
            if left < range.end - range.start {
                return Some(SegmentNumber(range.start + left));
            }
            left -= range.end - range.start;
        }
        None
    }

    /// Which of them holds a position.
    pub(super) fn index_of(&self, lsn: Lsn) -> Option<usize> {
        let wanted = SegmentNumber::containing(lsn, self.size());
        self.ranges.iter().flat_map(Clone::clone).position(|number| number == wanted.0)
    }

    /// Those in which a stretch of WAL lies.
    pub(super) fn indexes(&self, wal: &Range<Lsn>) -> Range<usize> {
        let last = SegmentNumber::before(wal.end, self.size()).start(self.size());
        match (self.index_of(wal.start), self.index_of(last)) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        }
    }

    /// The file that the server will read there: the segment of a switch is its younger timeline's, where that has it.
    fn segment(&self, piece: SegmentNumber) -> SegmentName {
        let size = self.contents.segment_size();
        self.route.path.segment(SegmentNumber::containing(piece.start(self.size()), size), size)
    }

    /// What happened in a piece, from its header, or from its content where the header does not say.
    pub(super) async fn activity(&self, index: usize) -> Result<Activity> {
        if let Some(activity) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&index) {
            return Ok(activity.clone());
        }
        let Some(number) = self.number(index) else { return Ok(Activity::default()) };
        let activity = self.contents.activity(self.segment(number), number).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= HEADERS_REMEMBERED {
            known.clear();
        }
        known.insert(index, activity.clone());
        Ok(activity)
    }

    /// What happened in each of them, in order, as long as their records follow one another; several headers are read at once.
    pub(super) fn activities(&self, indexes: Range<usize>) -> impl Stream<Item = Result<(usize, Activity)>> {
        let reads = indexes.map(move |index| async move { Ok((index, self.activity(index).await?)) });
        let mut joints = Joints::default();
        stream::iter(reads).buffered(HEADERS_AT_ONCE).map(move |read: Result<(usize, Activity)>| {
            let (index, activity) = read?;
            if let Some(number) = self.number(index) {
                joints.follow(self.segment(number), number, &activity)?;
            }
            Ok((index, activity))
        })
    }

    /// The records that end in a piece, those that begin in the one before included.
    pub(super) async fn records(&self, index: usize) -> Result<Records> {
        let from = self.number(index).map_or(Lsn::INVALID, |number| number.start(self.size()));
        self.joined(index.saturating_sub(1)..index + 1, from, Lsn(u64::MAX)).await
    }

    /// The records of the last of these pieces, and of those before it that it continues without a hole, which end past `from` and
    /// not past `until`.
    async fn joined(&self, indexes: Range<usize>, from: Lsn, until: Lsn) -> Result<Records> {
        let (mut start, mut reached, mut content) = (Lsn::INVALID, Lsn::INVALID, Vec::new());
        for number in indexes.filter_map(|index| self.number(index)) {
            let begins = number.start(self.size());
            if reached != begins {
                (start, content) = (begins, vec![]);
            }
            let bytes = first_bytes(self.contents.read(self.segment(number), number).await?, until.bytes_since(begins));
            reached = Lsn(begins.0 + bytes.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
            content.extend(bytes);
        }
        Ok(Records::new(start, self.contents.segment_size(), content, from))
    }

    /// The last complete record in a stretch; none where the last pieces have none that is complete.
    pub(super) async fn last_record(&self, wal: &Range<Lsn>) -> Result<Option<Range<Lsn>>> {
        let all = self.indexes(wal);
        for index in all.clone().rev() {
            // Nothing begins behind a switch, which a large segment has many pieces of, nor where a long record goes on.
            let activity = self.activity(index).await?;
            if activity.last_record.is_some() {
                let behind = if activity.switched { 1 } else { PIECES_PER_RECORD };
                return self.last_in(index, all.end.min(index + behind), wal.end).await;
            }
        }
        Ok(None)
    }

    /// The same, where the last one that begins does so in piece `index`: if that is not complete, it is the one before it.
    async fn last_in(&self, index: usize, end: usize, until: Lsn) -> Result<Option<Range<Lsn>>> {
        for before in 1..=PIECES_PER_RECORD {
            let found = self.joined(index.saturating_sub(before)..end, Lsn::INVALID, until).await?.last();
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first complete record in a stretch that begins at or past `lsn`.
    pub(super) async fn first_record(&self, lsn: Lsn, wal: &Range<Lsn>) -> Result<Option<Range<Lsn>>> {
        let all = self.indexes(&(lsn.min(wal.end)..wal.end));
        let mut activities = std::pin::pin!(self.activities(all.clone()));
        while let Some((index, activity)) = activities.try_next().await? {
            if activity.last_record.is_some_and(|begins| begins >= lsn) {
                return self.first_in(lsn, index..all.end, wal.end).await;
            }
        }
        Ok(None)
    }

    /// The same, where it begins in the first of these pieces.
    async fn first_in(&self, lsn: Lsn, pieces: Range<usize>, until: Lsn) -> Result<Option<Range<Lsn>>> {
        let index = pieces.start;
        for end in index + 1..=pieces.end.min(index + PIECES_PER_RECORD) {
            let found = self.joined(index..end, Lsn::INVALID, until).await?.first_from(lsn);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The first `limit` bytes: a stretch can end within what is stored of a piece.
fn first_bytes(content: Vec<Bytes>, limit: u64) -> Vec<Bytes> {
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    let part = |bytes: Bytes| {
        let part = bytes.slice(..bytes.len().min(left));
        left -= part.len();
        part
    };
    content.into_iter().map(part).filter(|bytes| !bytes.is_empty()).collect()
}
