//! The stored segments along a route, by number.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};

use super::joints::Joints;
use super::records::Records;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentNumber, WalFileName};
use crate::repository::{self, WalArchive};
use crate::resources::postgres::archive::coverage::minimal_chain;
use crate::resources::postgres::restore::error::Result;
use crate::resources::postgres::restore::plan::Route;

/// The segments of a route in which something is stored, in order.
pub(super) struct Segments<'a> {
    archive: &'a WalArchive,
    route: &'a Route,
    /// Ranges of segment numbers.
    ranges: Vec<Range<u64>>,
    known: Mutex<HashMap<usize, Activity>>,
}

/// How many headers are remembered: a halving search asks for few, and comes back to some.
const HEADERS_REMEMBERED: usize = 4096;
/// How many are read at once.
const HEADERS_AT_ONCE: usize = 16;
/// In how many segments a record's end is looked for: few records are longer than one.
const SEGMENTS_PER_RECORD: usize = 4;

impl<'a> Segments<'a> {
    pub(super) fn new(archive: &'a WalArchive, route: &'a Route) -> Self {
        let size = archive.segment_size();
        let numbers = |stretch: &Range<Lsn>| {
            SegmentNumber::containing(stretch.start, size).0..SegmentNumber::before(stretch.end, size).next().0
        };
        let stretches = route.searched();
        Self { archive, route, ranges: stretches.iter().map(numbers).collect(), known: Mutex::default() }
    }

    #[allow(clippy::cast_possible_truncation)] // as many as there are segments
    pub(super) fn len(&self) -> usize {
        self.ranges.iter().map(|range| (range.end - range.start) as usize).sum()
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
        let wanted = SegmentNumber::containing(lsn, self.archive.segment_size());
        self.ranges.iter().flat_map(Clone::clone).position(|number| number == wanted.0)
    }

    /// The file that the server will read there: the segment of a switch is its younger timeline's, where that has it.
    fn name(&self, number: SegmentNumber) -> SegmentName {
        self.route.path.segment(number, self.archive.segment_size())
    }

    /// What happened in a segment, from its header, or from its content where the header does not say.
    pub(super) async fn activity(&self, index: usize) -> Result<Activity> {
        if let Some(activity) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&index) {
            return Ok(activity.clone());
        }
        let activity = self.read_activity(index).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= HEADERS_REMEMBERED {
            known.clear();
        }
        known.insert(index, activity.clone());
        Ok(activity)
    }

    async fn read_activity(&self, index: usize) -> Result<Activity> {
        let Some(number) = self.number(index) else { return Ok(Activity::default()) };
        let name = self.name(number);
        match self.archive.about_file(WalFileName::Segment(name)).await? {
            Some(about) if about.activity.is_some() => Ok(about.activity.unwrap_or_default()),
            Some(_) => self.scanned(number).await,
            None => self.of_slices(name, number).await,
        }
    }

    async fn of_slices(&self, name: SegmentName, number: SegmentNumber) -> Result<Activity> {
        let mut whole = Activity::default();
        let slices = self.archive.slices(name).await?;
        let end = slices.iter().map(|slice| slice.bytes.end).max().unwrap_or(0);
        let pieces: Vec<Range<u64>> = slices.iter().map(|slice| slice.bytes.clone()).collect();
        for bytes in minimal_chain(&pieces, end).unwrap_or_default() {
            let slice = repository::Slice { segment: name, bytes };
            match self.archive.about_slice(&slice).await?.and_then(|about| about.activity) {
                Some(activity) => whole.extend(activity),
                None => return self.scanned(number).await,
            }
        }
        Ok(whole)
    }

    async fn scanned(&self, number: SegmentNumber) -> Result<Activity> {
        let size = self.archive.segment_size();
        let mut scanner = crate::pg::records::Scanner::new(number.start(size), size);
        self.content(number).await?.iter().for_each(|piece| scanner.feed(piece));
        Ok(scanner.take_activity())
    }

    /// The stored bytes of a segment from its first on; a segment that was completed meanwhile is read whole.
    async fn content(&self, number: SegmentNumber) -> Result<Vec<Bytes>> {
        let name = self.name(number);
        if let Some((_, content)) = self.archive.get_file(WalFileName::Segment(name)).await? {
            return Ok(vec![content]);
        }
        let pieces: Vec<Range<u64>> = self.archive.slices(name).await?.into_iter().map(|slice| slice.bytes).collect();
        let end = pieces.iter().map(|bytes| bytes.end).max().unwrap_or(0);
        let mut content: Vec<Bytes> = Vec::new();
        let mut reached = 0;
        for bytes in minimal_chain(&pieces, end).unwrap_or_default() {
            let slice = repository::Slice { segment: name, bytes: bytes.clone() };
            if let Some((_, piece)) = self.archive.get_slice(&slice).await? {
                // Slices may overlap: what was there before is left out.
                let overlap = usize::try_from(reached - bytes.start).unwrap_or(piece.len()).min(piece.len());
                content.push(piece.slice(overlap..));
                reached = bytes.end;
            }
        }
        Ok(content)
    }

    /// The records that end in a segment, those that begin in the one before included.
    pub(super) async fn records(&self, index: usize) -> Result<Records> {
        let size = self.archive.segment_size();
        let Some(number) = self.number(index) else { return Ok(Records::new(Lsn::INVALID, size, vec![], Lsn::INVALID)) };
        let previous = index.checked_sub(1).and_then(|before| self.number(before)).filter(|before| before.next() == number);
        let mut pieces = match previous {
            Some(before) => self.content(before).await?,
            None => vec![],
        };
        let start = previous.filter(|_| !pieces.is_empty()).unwrap_or(number).start(size);
        pieces.extend(self.content(number).await?);
        Ok(Records::new(start, size, pieces, number.start(size)))
    }

    /// Those in which a stretch of WAL lies.
    pub(super) fn indexes(&self, wal: &Range<Lsn>) -> Range<usize> {
        let last = SegmentNumber::before(wal.end, self.archive.segment_size()).start(self.archive.segment_size());
        match (self.index_of(wal.start), self.index_of(last)) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        }
    }

    /// What happened in each of them, in order, as long as their records follow one another; several headers are read at once.
    pub(super) fn activities(&self, indexes: Range<usize>) -> impl Stream<Item = Result<(usize, Activity)>> {
        let reads = indexes.map(move |index| async move { Ok((index, self.activity(index).await?)) });
        let mut joints = Joints::default();
        stream::iter(reads).buffered(HEADERS_AT_ONCE).map(move |read: Result<(usize, Activity)>| {
            let (index, activity) = read?;
            if let Some(number) = self.number(index) {
                joints.follow(self.name(number), number, &activity)?;
            }
            Ok((index, activity))
        })
    }

    /// The last complete record in a stretch; none where the last segments have none that is complete.
    pub(super) async fn last_record(&self, wal: &Range<Lsn>) -> Result<Option<Range<Lsn>>> {
        for index in self.indexes(wal).rev().take(SEGMENTS_PER_RECORD) {
            let last = self.records(index).await?.last();
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// The first complete record in a stretch that begins at or past `lsn`.
    pub(super) async fn first_record(&self, lsn: Lsn, wal: &Range<Lsn>) -> Result<Option<Range<Lsn>>> {
        for index in self.indexes(&(lsn.min(wal.end)..wal.end)).take(SEGMENTS_PER_RECORD) {
            let found = self.records(index).await?.first_from(lsn);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
