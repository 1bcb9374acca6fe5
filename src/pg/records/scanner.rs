//! The scanner: pages, in whatever pieces the bytes come. What lies between the page headers goes to the reader of records.

use std::ops::Range;

use super::activity::Activity;
use super::reader::{Reader, Stop};
use crate::pg::page::{HEADER_BYTES, LONG_HEADER_BYTES, PAGE_BYTES, PageHeader};
use crate::pg::version::KNOWN;
use crate::pg::{Lsn, SegmentSize, TimelineId};

/// Where and why the records ended before the bytes did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at {lsn}")]
pub struct Problem {
    /// The position of the page or record.
    pub lsn: Lsn,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What can be wrong. After a crash, or in a segment that is not complete, all but the last are how WAL normally ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// No record follows: zeros.
    #[error("the WAL ends")]
    End,
    /// The page belongs elsewhere: what a recycled file held before.
    #[error("a page of another place or version")]
    OtherPage,
    /// The page does not go on where the page before it stopped.
    #[error("a page that does not continue the record before it")]
    NotContinued,
    /// The header of a record cannot be right: its length, or the link to the record before.
    #[error("an invalid record header")]
    RecordHeader,
    /// The record's CRC-32C differs.
    #[error("a record with a wrong checksum")]
    Checksum,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing of interest, up to a page boundary.
    Skipped { until: u64 },
    /// The header of a page, of which some bytes may have been read.
    PageHeader { have: usize },
    /// Records.
    Content,
}

/// Finds the records in a stream of WAL.
///
/// Begin at a page, best at the first of a segment, and feed every byte from there on. When the records end (a switch, zeros,
/// an old page) the scanner goes on with the next segment.
#[derive(Debug)]
pub struct Scanner {
    size: SegmentSize,
    position: u64,
    place: Place,
    page: [u8; LONG_HEADER_BYTES],
    reader: Reader,
    timeline: Option<TimelineId>,
    problem: Option<Problem>,
}

impl Scanner {
    /// Begins at `start`. Bytes up to the first page boundary are skipped.
    #[must_use]
    pub fn new(start: Lsn, size: SegmentSize) -> Self {
        let place = match start.0 % PAGE_BYTES as u64 {
            0 => Place::PageHeader { have: 0 },
            into => Place::Skipped { until: (start.0 - into).wrapping_add(PAGE_BYTES as u64) },
        };
        let page = [0; LONG_HEADER_BYTES];
        Self { size, position: start.0, place, page, reader: Reader::new(size.bytes()), timeline: None, problem: None }
    }

    /// Also computes the checksum of every record that is seen whole.
    #[must_use]
    pub const fn checking_records(mut self) -> Self {
        self.reader.check_crc = true;
        self
    }

    /// The position of the next byte to feed.
    #[must_use]
    pub const fn position(&self) -> Lsn {
        Lsn(self.position)
    }

    /// What was found since the beginning, or since `take_activity`.
    #[must_use]
    pub const fn activity(&self) -> &Activity {
        &self.reader.activity
    }

    /// Hands over what was found and begins anew, in the middle of a record if need be. At a segment's end, for one.
    pub fn take_activity(&mut self) -> Activity {
        std::mem::take(&mut self.reader.activity)
    }

    /// The last complete record, up to where the next one can begin: behind a switch that is the next segment. Never forgotten.
    #[must_use]
    pub fn last_complete(&self) -> Option<Range<Lsn>> {
        self.reader.last_complete.clone()
    }

    /// Where and why the records ended first, if they did so other than by a switch.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// Forgets the problem, so that the next one shows.
    pub const fn forget_problem(&mut self) {
        self.problem = None;
    }

    /// The timeline of the last page.
    #[must_use]
    pub const fn timeline(&self) -> Option<TimelineId> {
        self.timeline
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let here = &bytes[..bytes.len().min(self.page_left())];
            let used = match self.place {
                Place::Skipped { until } => {
                    here.len().min(usize::try_from(until.wrapping_sub(self.position)).unwrap_or(usize::MAX))
                }
                Place::PageHeader { have } => self.read_page_header(have, here),
                Place::Content => self.read_content(here),
            };
            self.position = self.position.wrapping_add(used as u64);
            bytes = &bytes[used..];
            let skipping = matches!(self.place, Place::Skipped { until } if until != self.position);
            if self.page_left() == PAGE_BYTES && !skipping {
                self.place = Place::PageHeader { have: 0 };
            }
        }
    }

    #[allow(clippy::cast_possible_truncation)] // less than a page
    const fn page_left(&self) -> usize {
        PAGE_BYTES - (self.position % PAGE_BYTES as u64) as usize
    }

    fn read_page_header(&mut self, have: usize, here: &[u8]) -> usize {
        let long = have >= 4 && PageHeader::parse(&self.page).is_some_and(|page| page.is_long());
        // The flags, which tell the length, are in the first four bytes.
        let need = match (have, long) {
            (0..4, _) => 4,
            (_, true) => LONG_HEADER_BYTES,
            (_, false) => HEADER_BYTES,
        };
        let used = here.len().min(need - have);
        self.page[have..have + used].copy_from_slice(&here[..used]);
        self.place = Place::PageHeader { have: have + used };
        match PageHeader::parse(&self.page) {
            Some(page) if have + used >= HEADER_BYTES && have + used == page.length() => self.enter_page(&page),
            _ => {}
        }
        used
    }

    fn enter_page(&mut self, page: &PageHeader) {
        let start = Lsn(self.position / PAGE_BYTES as u64 * PAGE_BYTES as u64);
        let known = KNOWN.iter().find(|version| version.page_magic == page.magic);
        let Some(version) = known.filter(|_| page.address == start) else {
            return self.stop(start, ProblemKind::OtherPage, self.position);
        };
        self.timeline = Some(page.timeline);
        self.place = Place::Content;
        let remaining = if page.is_continued() { page.remaining } else { 0 };
        if !self.reader.enter_page(version, remaining, page.flags & version.overwrite_flag != 0) {
            self.stop(start, ProblemKind::NotContinued, self.position);
        }
    }

    fn read_content(&mut self, here: &[u8]) -> usize {
        let (used, stop) = self.reader.read(self.position, here);
        let last = self.position.wrapping_add(used.saturating_sub(1) as u64);
        match stop {
            Some(Stop::Switch) => {
                self.skip_segment(last);
                if let (Some(record), Place::Skipped { until }) = (&mut self.reader.last_complete, self.place) {
                    record.end = Lsn(until);
                }
            }
            Some(Stop::Problem(lsn, kind)) => self.stop(lsn, kind, last),
            None => {}
        }
        used
    }

    /// Ends the records of the segment in which the byte at `last` lies.
    fn stop(&mut self, lsn: Lsn, kind: ProblemKind, last: u64) {
        self.problem.get_or_insert(Problem { lsn, kind });
        self.reader.lose_track();
        self.skip_segment(last);
    }

    const fn skip_segment(&mut self, last: u64) {
        let size = self.size.bytes();
        self.place = Place::Skipped { until: (last - last % size).wrapping_add(size) };
    }
}

#[cfg(test)]
mod tests;
