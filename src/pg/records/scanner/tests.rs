use proptest::prelude::*;

use super::*;
use crate::pg::time::to_postgres;

const SEGMENT: u64 = 1 << 20;
const START: u64 = 7 * SEGMENT;

fn size() -> SegmentSize {
    SegmentSize::try_from(SEGMENT).unwrap()
}

/// Writes WAL as PostgreSQL 17 does.
struct Writer {
    bytes: Vec<u8>,
    previous: u64,
}

impl Writer {
    fn new() -> Self {
        Self { bytes: Vec::new(), previous: START - 56 }
    }

    fn position(&self) -> u64 {
        START + self.bytes.len() as u64
    }

    fn page_header(&mut self, remaining: u32, extra_flags: u16) {
        let address = self.position();
        let long = address.is_multiple_of(SEGMENT);
        let flags = extra_flags | u16::from(remaining > 0) | if long { 2 } else { 0 };
        self.bytes.extend(0xD116_u16.to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(address.to_le_bytes());
        self.bytes.extend(u64::from(remaining).to_le_bytes());
        if long {
            self.bytes.extend([0; 16]);
        }
    }

    /// Appends a record and returns where it begins and what it looks like at its end.
    fn record(&mut self, resource_manager: u8, info: u8, xid: u32, body: &[u8]) -> (Lsn, Lsn) {
        while !self.position().is_multiple_of(8) {
            self.bytes.push(0);
        }
        if self.position().is_multiple_of(8192) {
            self.page_header(0, 0);
        }
        let start = self.position();
        let mut record = Vec::new();
        record.extend(u32::try_from(24 + body.len()).unwrap().to_le_bytes());
        record.extend(xid.to_le_bytes());
        record.extend(self.previous.to_le_bytes());
        record.extend([info, resource_manager, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(body), &record);
        record.extend(crc.to_le_bytes());
        record.extend(body);
        self.previous = start;
        self.append(&record);
        (Lsn(start), Lsn(self.position().next_multiple_of(8)))
    }

    fn append(&mut self, mut record: &[u8]) {
        while !record.is_empty() {
            if self.position().is_multiple_of(8192) {
                self.page_header(u32::try_from(record.len()).unwrap(), 0);
            }
            let left = 8192 - usize::try_from(self.position() % 8192).unwrap();
            let (here, rest) = record.split_at(left.min(record.len()));
            self.bytes.extend(here);
            record = rest;
        }
    }

    fn commit(&mut self, xid: u32, seconds: i64) -> Commit {
        let mut body = vec![0xFF, 8];
        body.extend((seconds * 1_000_000).to_le_bytes());
        let (lsn, end) = self.record(1, 0, xid, &body);
        Commit { lsn, end, time: crate::pg::time::from_postgres(seconds * 1_000_000), xid }
    }

    fn other(&mut self, length: usize) {
        self.record(10, 0, 5, &vec![0xAA; length]);
    }

    fn zeros_to(&mut self, boundary: u64) {
        let length = self.position().next_multiple_of(boundary) - START;
        self.bytes.resize(usize::try_from(length).unwrap(), 0);
    }
}

use super::super::activity::{Commit, RestorePoint};

fn scan(bytes: &[u8]) -> Scanner {
    let mut scanner = Scanner::new(Lsn(START), size()).checking_records();
    scanner.feed(bytes);
    scanner
}

#[test]
fn commits_are_found_with_their_positions_and_times() {
    let mut wal = Writer::new();
    let commits: Vec<Commit> = (0..2000)
        .map(|number| {
            wal.other(number * 37 % 9000);
            wal.commit(700 + u32::try_from(number).unwrap(), 100 - i64::try_from(number % 7).unwrap())
        })
        .collect();
    let scanner = scan(&wal.bytes);
    let activity = scanner.activity();
    assert_eq!(scanner.problem(), None);
    assert_eq!((activity.commits, activity.end), (2000, Some(commits[1999].end)));
    assert_eq!((activity.first_commit, activity.last_commit), (Some(commits[0]), Some(commits[1999])));
    let seconds = |time: Option<jiff::Timestamp>| time.map(|time| to_postgres(time) / 1_000_000);
    assert_eq!((seconds(activity.earliest), seconds(activity.latest)), (Some(94), Some(100)));
    assert!(scanner.position().0 > START + 2 * SEGMENT, "the test must span segments");
}

#[test]
fn a_restore_point_is_found_with_its_name() {
    let mut wal = Writer::new();
    let mut body = vec![0xFF, 72];
    body.extend(5_i64.to_le_bytes());
    body.extend(b"before the upgrade");
    body.resize(74, 0);
    let (lsn, end) = wal.record(0, 0x70, 0, &body);
    let time = crate::pg::time::from_postgres(5);
    let expected = RestorePoint { name: "before the upgrade".into(), lsn, end, time };
    assert_eq!(scan(&wal.bytes).activity().restore_points, [expected]);
}

#[test]
fn the_record_that_goes_over_to_wal_level_minimal_is_found() {
    let mut wal = Writer::new();
    let mut change = |wal_level: u32| {
        let mut body = vec![0xFF, 28];
        for setting in [100, 8, 10, 0, 64, wal_level, 0] {
            body.extend(u32::to_le_bytes(setting));
        }
        wal.commit(7, 1);
        wal.record(0, 0x60, 0, &body)
    };
    change(2);
    let minimal = change(0);
    change(1);
    let scanner = scan(&wal.bytes);
    assert_eq!(scanner.problem(), None);
    assert_eq!(scanner.activity().minimal, Some(minimal.0..minimal.1));
    assert_eq!(scanner.activity().commits, 3);
}

#[test]
fn a_rollback_is_found_with_its_transaction() {
    let rollback = |info: u8, xid: u32, data: &[u8]| {
        let mut body = vec![0xFF, u8::try_from(data.len()).unwrap()];
        body.extend(data);
        let mut wal = Writer::new();
        wal.record(1, info, xid, &body);
        let scanner = scan(&wal.bytes);
        (scanner.activity().aborts, scanner.activity().first_rollback)
    };
    let mut data = 5_000_000_i64.to_le_bytes().to_vec();
    assert_eq!(rollback(0x20, 744, &data), (1, Some(744)));
    // `ROLLBACK PREPARED`, in a session without a transaction of its own: of one with a subtransaction, and then its id.
    let contents: u32 = (1 << 1) | (1 << 4);
    for value in [contents, 1, 746, 745] {
        data.extend(value.to_le_bytes());
    }
    assert_eq!(rollback(0xC0, 0, &data), (1, Some(745)));
}

#[test]
fn after_a_switch_the_next_segment_goes_on() {
    let mut wal = Writer::new();
    wal.commit(7, 1);
    wal.record(0, 0x40, 0, &[]);
    wal.zeros_to(SEGMENT);
    let second = wal.commit(8, 2);
    let scanner = scan(&wal.bytes);
    assert_eq!(scanner.problem(), None);
    assert!(scanner.activity().switched);
    assert_eq!((scanner.activity().commits, scanner.activity().last_commit), (2, Some(second)));
}

#[test]
fn zeros_are_the_end_and_say_where() {
    let mut wal = Writer::new();
    let commit = wal.commit(7, 1);
    wal.zeros_to(SEGMENT);
    let scanner = scan(&wal.bytes);
    assert_eq!(scanner.problem(), Some(&Problem { lsn: commit.end, kind: ProblemKind::End }));
    assert_eq!(scanner.activity().end, Some(commit.end));
}

#[test]
fn what_a_recycled_file_held_before_is_not_read() {
    let mut wal = Writer::new();
    wal.commit(7, 1);
    wal.zeros_to(8192);
    let mut old = Writer::new();
    for xid in 0..5000 {
        old.commit(xid, 9);
    }
    wal.bytes.extend_from_slice(&old.bytes[8192..40960]);
    let scanner = scan(&wal.bytes);
    assert_eq!(scanner.activity().commits, 1);
}

#[test]
fn a_record_that_a_crash_cut_off_is_passed_over() {
    let mut wal = Writer::new();
    wal.commit(7, 1);
    wal.other(20000);
    wal.bytes.truncate(8192); // the rest of the record never came
    wal.page_header(0, 0x0008);
    wal.previous = START + 40;
    let after = wal.commit(8, 2);
    let scanner = scan(&wal.bytes);
    assert_eq!(scanner.problem(), None);
    assert_eq!((scanner.activity().commits, scanner.activity().last_commit), (2, Some(after)));
}

#[test]
fn a_page_that_does_not_continue_its_record_is_a_problem() {
    let mut wal = Writer::new();
    wal.other(20000);
    wal.bytes.truncate(8192);
    wal.page_header(0, 0);
    wal.commit(8, 2);
    let problem = Problem { lsn: Lsn(START + 8192), kind: ProblemKind::NotContinued };
    assert_eq!(scan(&wal.bytes).problem(), Some(&problem));
}

#[test]
fn a_commit_is_not_reported_before_its_last_byte() {
    let mut wal = Writer::new();
    wal.other(8192 - 40 - 24 - 30);
    let commit = wal.commit(8, 2);
    let end = usize::try_from(commit.lsn.0 - START).unwrap() + 24 + 10 + 24; // a page header lies within
    let mut scanner = scan(&wal.bytes[..end - 1]);
    assert_eq!(scanner.activity().commits, 0);
    scanner.feed(&wal.bytes[end - 1..end]);
    assert_eq!(scanner.activity().last_commit, Some(commit));
}

#[test]
fn every_changed_byte_of_a_record_is_noticed() {
    let mut wal = Writer::new();
    wal.other(100);
    let commit = wal.commit(7, 1);
    wal.other(10);
    let whole = scan(&wal.bytes).take_activity();
    for at in 40..usize::try_from(commit.lsn.0 - START).unwrap() + 34 {
        let mut changed = wal.bytes.clone();
        changed[at] ^= 1;
        // A greater length is no problem yet: the rest of the record could still come.
        let scanner = scan(&changed);
        let noticed = scanner.problem().is_some() || scanner.activity().end != whole.end;
        let padding = (40 + 124..40 + 128).contains(&at);
        assert_eq!(noticed, !padding, "byte {at}");
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        records in prop::collection::vec((0_usize..30_000, any::<bool>()), 1..40),
        pieces in prop::collection::vec(1_usize..20_000, 1..30),
    ) {
        let mut wal = Writer::new();
        for (length, switch) in records {
            wal.other(length);
            wal.commit(9, 9);
            if switch && length % 5 == 0 {
                wal.record(0, 0x40, 0, &[]);
                wal.zeros_to(SEGMENT);
            }
        }
        let whole = scan(&wal.bytes);
        prop_assert_eq!(whole.problem(), None);
        let mut parts = Scanner::new(Lsn(START), size());
        let mut rest = &wal.bytes[..];
        for piece in pieces.iter().cycle() {
            let (head, tail) = rest.split_at((*piece).min(rest.len()));
            parts.feed(head);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(parts.activity(), whole.activity());
        prop_assert_eq!(parts.position(), whole.position());
    }

    #[test]
    fn any_start_at_a_page_finds_the_last_commit(length in 0_usize..40_000, page in 0_usize..8) {
        let mut wal = Writer::new();
        wal.other(length);
        wal.commit(9, 9);
        wal.other(70_000);
        let last = wal.commit(10, 10);
        let mut scanner = Scanner::new(Lsn(START + page as u64 * 8192), size());
        scanner.feed(&wal.bytes[page * 8192..]);
        prop_assert_eq!(scanner.activity().last_commit, Some(last));
        prop_assert_eq!(scanner.problem(), None);
    }

    #[test]
    fn damaged_wal_never_panics(changes in prop::collection::vec((0_usize..60_000, any::<u8>()), 1..40), start: u64) {
        let mut wal = Writer::new();
        for number in 0..30 {
            wal.other(number * 100);
            wal.commit(9, i64::MAX / 2_000_000);
        }
        let length = wal.bytes.len();
        for (at, byte) in changes {
            wal.bytes[at % length] = byte;
        }
        scan(&wal.bytes);
        Scanner::new(Lsn(start), size()).feed(&wal.bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn segments_join_whether_they_are_scanned_alone_or_not(records in prop::collection::vec(0_usize..60_000, 40..90)) {
        let mut wal = Writer::new();
        for length in records {
            wal.other(length);
            if length % 7 == 0 {
                wal.record(0, 0x40, 0, &[]);
                wal.zeros_to(SEGMENT);
            }
        }
        let mut through = Scanner::new(Lsn(START), size());
        let (mut last, mut joins) = (None, 0);
        for (number, segment) in wal.bytes.chunks(1 << 20).enumerate() {
            let mut alone = Scanner::new(Lsn(START + number as u64 * SEGMENT), size());
            alone.feed(segment);
            through.feed(segment);
            let (alone, through) = (alone.take_activity(), through.take_activity());
            prop_assert_eq!((alone.first_record, alone.last_record), (through.first_record, through.last_record));
            if let Some((last, first)) = last.zip(alone.first_record) {
                prop_assert_eq!(first.previous, Some(last));
                joins += 1;
            }
            last = alone.last_record;
        }
        prop_assert!(joins > 0, "no segment joined another");
    }
}
