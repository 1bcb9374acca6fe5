use proptest::prelude::*;

use super::*;
use crate::pg::SegmentNumber;

const SYSTEM: SystemId = SystemId(7_300_000_000_000_000_001);

fn size() -> SegmentSize {
    SegmentSize::try_from(1 << 20).unwrap()
}

fn name(timeline: u32, number: u64) -> SegmentName {
    SegmentName::new(TimelineId(timeline), SegmentNumber(number), size())
}

/// A segment of empty pages, as PostgreSQL 17 writes them.
fn segment(timeline: u32, number: u64) -> Vec<u8> {
    let start = SegmentNumber(number).start(size()).0;
    let mut bytes = vec![0; 1 << 20];
    for (page, address) in bytes.chunks_exact_mut(PAGE_BYTES).zip((start..).step_by(PAGE_BYTES)) {
        let flags = if address == start { 7_u16 } else { 4 };
        page[..2].copy_from_slice(&0xD116_u16.to_le_bytes());
        page[2..4].copy_from_slice(&flags.to_le_bytes());
        page[4..8].copy_from_slice(&timeline.to_le_bytes());
        page[8..16].copy_from_slice(&address.to_le_bytes());
    }
    bytes[24..32].copy_from_slice(&SYSTEM.0.to_le_bytes());
    bytes[32..36].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_le_bytes());
    bytes
}

fn check(bytes: &[u8], name: SegmentName) -> Result<SegmentFacts, SegmentError> {
    check_segment(bytes, name, size(), Some(SYSTEM))
}

#[test]
fn a_whole_segment_is_what_its_name_says() {
    let facts = check(&segment(3, 9), name(3, 9)).unwrap();
    assert_eq!(facts, SegmentFacts { system_id: SYSTEM, major_version: 17, timeline: TimelineId(3), pages: 128 });
}

#[test]
fn a_tail_of_zeros_or_of_old_pages_is_normal() {
    let mut bytes = segment(1, 9);
    bytes[40 * PAGE_BYTES..].fill(0);
    assert_eq!(check(&bytes, name(1, 9)).map(|facts| facts.pages), Ok(40));
    bytes[40 * PAGE_BYTES..].copy_from_slice(&segment(1, 4)[40 * PAGE_BYTES..]);
    assert_eq!(check(&bytes, name(1, 9)).map(|facts| facts.pages), Ok(40));
}

#[test]
fn a_first_page_of_the_parent_timeline_is_normal_and_a_later_one_is_not() {
    assert!(check(&segment(1, 9), name(2, 9)).is_ok());
    let error = check(&segment(3, 9), name(2, 9)).unwrap_err();
    assert_eq!(error, SegmentError::LaterTimeline { name: name(2, 9), found: TimelineId(3) });
}

#[test]
fn each_wrong_thing_is_named_with_what_was_expected() {
    let at = |offset: usize, byte: u8| {
        let mut bytes = segment(1, 9);
        bytes[offset] ^= byte;
        check(&bytes, name(1, 9)).unwrap_err()
    };
    assert!(matches!(at(0, 0xFF), SegmentError::Version { .. }));
    assert!(matches!(at(2, 2), SegmentError::NoLongHeader { .. }));
    assert!(matches!(at(10, 0x10), SegmentError::WrongAddress { expected: Lsn(0x90_0000), .. }));
    assert!(matches!(at(24, 1), SegmentError::OtherSystem { expected: SYSTEM, .. }));
    assert!(matches!(at(34, 1), SegmentError::OtherSize { what: "wal_segment_size", .. }));
    assert!(matches!(at(37, 1), SegmentError::OtherSize { what: "XLOG_BLCKSZ", .. }));
    let short = check(&segment(1, 9)[1..], name(1, 9)).unwrap_err();
    assert_eq!(short, SegmentError::WrongSize { name: name(1, 9), expected: 1 << 20, found: (1 << 20) - 1 });
    assert!(short.to_string().contains("1048575 bytes instead of 1048576"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_segment(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(check_first_page(&bytes, name(1, 9), size(), None).is_err());
    }

    #[test]
    fn a_damaged_header_never_panics(changes in prop::collection::vec((0_usize..48, any::<u8>()), 1..6)) {
        let mut bytes = segment(1, 9);
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(facts) = check_segment(&bytes, name(1, 9), size(), None) {
            prop_assert!((1..=128).contains(&facts.pages));
        }
    }
}
