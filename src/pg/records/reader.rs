//! The reader of records: what lies between the page headers, one record after the other.

use std::ops::Range;

use super::activity::{Activity, Commit, FirstRecord, RestorePoint};
use super::contents::{Kind, RECORD_HEADER_BYTES, is_minimal, main_data, prepared_xid, restore_point_name, time};
use super::scanner::ProblemKind;
use crate::pg::Lsn;
use crate::pg::bytes::{u32_at, u64_at};
use crate::pg::version::Version;

/// No record is longer (`XLogRecordMaxSize` is 1020 MiB since 16, and before that the allocator refused a gigabyte).
const TOTAL_BYTES_MAX: u32 = 1 << 30;

/// Why reading stopped before the bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A switch: the rest of the segment is empty.
    Switch,
    /// The records cannot be followed any further.
    Problem(Lsn, ProblemKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Where records begin is not known; the next page header tells.
    #[default]
    Lost,
    /// In the rest of a record whose beginning was not seen.
    Continuation { remaining: u32 },
    /// Between two records.
    Boundary,
    /// In the header of a record, of which some bytes have been read.
    Header { have: usize },
    /// Behind the header of a record.
    Body { remaining: u32 },
}

/// The record that is being read.
#[derive(Debug, Clone, Copy)]
struct Record {
    start: Lsn,
    xid: u32,
    kind: Kind,
    crc_expected: u32,
    crc: u32,
}

/// Follows the records.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub check_crc: bool,
    pub activity: Activity,
    state: State,
    header: [u8; RECORD_HEADER_BYTES],
    record: Record,
    kept: Vec<u8>,
    /// Where the last complete record began.
    previous: Option<Lsn>,
    /// Whether the record before the next one was never finished.
    aborted: bool,
    /// The size of a segment, in bytes.
    segment_bytes: u64,
    /// The last complete record; what follows does not make it forgotten.
    pub last_complete: Option<Range<Lsn>>,
    version: Option<&'static Version>,
}

impl Default for Record {
    fn default() -> Self {
        Self { start: Lsn::INVALID, xid: 0, kind: Kind::Other, crc_expected: 0, crc: 0 }
    }
}

impl Reader {
    /// The reader of WAL in segments of so many bytes.
    pub fn new(segment_bytes: u64) -> Self {
        Self { segment_bytes, ..Self::default() }
    }

    /// Forgets where records begin.
    pub fn lose_track(&mut self) {
        self.state = State::Lost;
        self.previous = None;
    }

    /// A page header says that `remaining` bytes of a record follow. False if that does not fit what came before.
    pub fn enter_page(&mut self, version: &'static Version, remaining: u32, overwrites: bool) -> bool {
        self.version = Some(version);
        self.aborted |= overwrites;
        let awaited = match self.state {
            State::Lost => None,
            State::Boundary => Some(0),
            State::Continuation { remaining } | State::Body { remaining } => Some(remaining),
            State::Header { have } => u32_at(&self.header, 0).map(|total| total.saturating_sub(narrow(have))),
        };
        match awaited {
            None if remaining == 0 => self.state = State::Boundary,
            None => self.state = State::Continuation { remaining },
            Some(awaited) if awaited == remaining => {}
            // The server crashed before it had written all of the record, and went on with another one here.
            Some(_) if overwrites && remaining == 0 => {
                self.state = State::Boundary;
                self.previous = None;
            }
            Some(_) => return false,
        }
        true
    }

    /// Reads the content of a page from `position` on, and returns how many bytes it took.
    pub fn read(&mut self, position: u64, bytes: &[u8]) -> (usize, Option<Stop>) {
        let mut used = 0;
        while used < bytes.len() {
            let here = &bytes[used..];
            let at = position.wrapping_add(used as u64);
            let (taken, stop) = match self.state {
                State::Lost => (here.len(), None),
                State::Continuation { remaining } => self.pass_continuation(here, remaining),
                State::Boundary => self.begin_record(here, at),
                State::Header { have } => self.read_header(here, have, at),
                State::Body { remaining } => self.read_body(here, remaining, at),
            };
            used += taken;
            if stop.is_some() {
                return (used, stop);
            }
        }
        (used, None)
    }

    fn pass_continuation(&mut self, here: &[u8], remaining: u32) -> (usize, Option<Stop>) {
        let taken = shorter(here, remaining);
        let remaining = remaining - narrow(taken);
        self.state = if remaining == 0 { State::Boundary } else { State::Continuation { remaining } };
        (taken, None)
    }

    /// Passes the padding to a multiple of eight, behind which a record begins.
    #[allow(clippy::cast_possible_truncation)] // less than eight
    fn begin_record(&mut self, here: &[u8], at: u64) -> (usize, Option<Stop>) {
        let padding = (at.wrapping_neg() % 8) as usize;
        if padding == 0 {
            self.record = Record { start: Lsn(at), ..Record::default() };
            self.state = State::Header { have: 0 };
        }
        (padding.min(here.len()), None)
    }

    fn read_header(&mut self, here: &[u8], have: usize, at: u64) -> (usize, Option<Stop>) {
        let taken = here.len().min(RECORD_HEADER_BYTES - have);
        let have_now = have + taken;
        self.header[have..have_now].copy_from_slice(&here[..taken]);
        self.state = State::Header { have: have_now };
        let end = Lsn(at.wrapping_add(taken as u64));
        let stop = match u32_at(&self.header, 0) {
            _ if have_now < 4 => None,
            // The length comes first and never crosses a page.
            Some(0) | None => Some(ProblemKind::End),
            Some(total) if total < narrow(RECORD_HEADER_BYTES) || total > TOTAL_BYTES_MAX => Some(ProblemKind::RecordHeader),
            Some(total) => {
                self.activity.last_record = Some(self.record.start);
                if have_now == RECORD_HEADER_BYTES {
                    return (taken, self.enter_body(total, end));
                }
                None
            }
        };
        (taken, stop.map(|kind| Stop::Problem(self.record.start, kind)))
    }

    fn enter_body(&mut self, total: u32, end: Lsn) -> Option<Stop> {
        let link = u64_at(&self.header, 8).map(Lsn).unwrap_or_default();
        if self.previous.is_some_and(|previous| previous != link) || link >= self.record.start {
            return Some(Stop::Problem(self.record.start, ProblemKind::RecordHeader));
        }
        self.note_first(link, end);
        self.record.xid = u32_at(&self.header, 4).unwrap_or(0);
        self.record.kind = Kind::of(self.header[16], self.header[17]);
        self.record.crc_expected = u32_at(&self.header, 20).unwrap_or(0);
        self.kept.clear();
        match total - narrow(RECORD_HEADER_BYTES) {
            0 => self.end_record(end),
            remaining => {
                self.state = State::Body { remaining };
                None
            }
        }
    }

    /// Notes the first record, unless its header began in the segment before: who begins to read here does not see that one.
    fn note_first(&mut self, link: Lsn, header_end: Lsn) {
        let previous = (!std::mem::take(&mut self.aborted)).then_some(link);
        let lsn = self.record.start;
        let segment = |lsn: u64| lsn.checked_div(self.segment_bytes);
        if segment(lsn.0) == segment(header_end.0.saturating_sub(1)) {
            self.activity.first_record.get_or_insert(FirstRecord { lsn, previous });
        }
    }

    fn read_body(&mut self, here: &[u8], remaining: u32, at: u64) -> (usize, Option<Stop>) {
        let taken = shorter(here, remaining);
        let part = &here[..taken];
        if self.check_crc {
            self.record.crc = crc32c::crc32c_append(self.record.crc, part);
        }
        let wanted = self.record.kind.kept_bytes().saturating_sub(self.kept.len()).min(taken);
        self.kept.extend_from_slice(&part[..wanted]);
        let stop = match remaining - narrow(taken) {
            0 => self.end_record(Lsn(at.wrapping_add(taken as u64))),
            remaining => {
                self.state = State::Body { remaining };
                None
            }
        };
        (taken, stop)
    }

    fn end_record(&mut self, end: Lsn) -> Option<Stop> {
        if self.check_crc && crc32c::crc32c_append(self.record.crc, &self.header[..20]) != self.record.crc_expected {
            return Some(Stop::Problem(self.record.start, ProblemKind::Checksum));
        }
        // What PostgreSQL calls the end of a record is where the next one can begin.
        let end = Lsn(end.0.checked_next_multiple_of(8).unwrap_or(end.0));
        self.state = State::Boundary;
        self.previous = Some(self.record.start);
        self.last_complete = Some(self.record.start..end);
        self.activity.end = Some(end);
        self.report(end);
        if self.record.kind == Kind::Switch {
            self.activity.switched = true;
            return Some(Stop::Switch);
        }
        None
    }

    fn report(&mut self, end: Lsn) {
        if self.record.kind.kept_bytes() == 0 {
            return;
        }
        let Some(data) = main_data(&self.kept) else { return };
        if self.record.kind == Kind::Parameters {
            if is_minimal(data) {
                self.activity.add_minimal(self.record.start..end);
            }
            return;
        }
        let (Some(time), Some(version)) = (time(data), self.version) else { return };
        let lsn = self.record.start;
        let xid = |prepared: bool| if prepared { prepared_xid(data, version).unwrap_or(0) } else { self.record.xid };
        match self.record.kind {
            Kind::Commit { prepared } => {
                let xid = xid(prepared);
                self.activity.add_commit(Commit { lsn, end, time, xid });
            }
            Kind::Abort { prepared } => {
                let xid = xid(prepared);
                self.activity.add_abort(time, xid);
            }
            Kind::RestorePoint => {
                let name = restore_point_name(data).unwrap_or_default();
                self.activity.add_restore_point(RestorePoint { name, lsn, end, time });
            }
            Kind::Parameters | Kind::Switch | Kind::Other => {}
        }
    }
}

fn shorter(here: &[u8], remaining: u32) -> usize {
    here.len().min(usize::try_from(remaining).unwrap_or(usize::MAX))
}

/// For lengths within a page or a record's header.
#[allow(clippy::cast_possible_truncation)]
const fn narrow(length: usize) -> u32 {
    length as u32
}
