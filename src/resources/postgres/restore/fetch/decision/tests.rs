use std::ops::Range;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn name(number: u64) -> SegmentName {
    SegmentName::new(TimelineId(1), SegmentNumber(number), size())
}

fn size() -> SegmentSize {
    SegmentSize::try_from(MIB).expect("a valid size")
}

/// Segment 5 of timeline 1, from 5 MiB to 6 MiB.
fn facts(slices: &[Range<u64>], later: &[Evidence]) -> SegmentFacts {
    SegmentFacts {
        name: name(5),
        number: SegmentNumber(5),
        size: size(),
        slices: slices.iter().map(|bytes| Slice { segment: name(5), bytes: bytes.clone() }).collect(),
        partial_end: None,
        begins: None,
        later: later.to_vec(),
    }
}

fn backup(stop: u64) -> Evidence {
    Evidence::Backup { id: "b".parse().expect("an id"), stop: Lsn(stop) }
}

fn child(switch: u64) -> Evidence {
    Evidence::Child { timeline: TimelineId(2), switch: Lsn(switch) }
}

#[test]
fn nothing_at_or_past_a_place_is_the_end() {
    assert_eq!(decide(&facts(&[], &[])), Decision::Absent(Absence::End));
    // A backup that ended before, and a timeline that left before, prove nothing about this place.
    assert_eq!(decide(&facts(&[], &[backup(5 * MIB), child(5 * MIB), child(4 * MIB)])), Decision::Absent(Absence::End));
}

#[test]
fn anything_past_a_place_makes_it_a_hole() {
    let planned = Evidence::Planned { end: Lsn(5 * MIB + 1) };
    for evidence in
        [Evidence::Segment(name(6)), backup(5 * MIB + 1), Evidence::Gap { end: Lsn(5 * MIB + 9) }, child(6 * MIB), planned]
    {
        assert_eq!(decide(&facts(&[], std::slice::from_ref(&evidence))), Decision::Hole(evidence));
    }
    assert_eq!(decide(&facts(&[7..9, 9..20], &[])), Decision::Hole(Evidence::Slice { start: 7 }));
}

#[test]
fn a_tail_of_slices_is_delivered_only_if_nothing_lies_behind_it() {
    let tail = [0..100, 100..300];
    let slices = tail.iter().map(|bytes| Slice { segment: name(5), bytes: bytes.clone() }).collect();
    assert_eq!(decide(&facts(&tail, &[backup(5 * MIB + 300)])), Decision::Assemble { slices, end: 300 });
    let past_the_tail = backup(5 * MIB + 301);
    assert_eq!(decide(&facts(&tail, std::slice::from_ref(&past_the_tail))), Decision::Hole(past_the_tail));
    assert_eq!(decide(&facts(&[0..100, 101..300], &[])), Decision::Hole(Evidence::Slice { start: 101 }));
    assert_eq!(decide(&facts(&tail, &[Evidence::Segment(name(6))])), Decision::Hole(Evidence::Segment(name(6))));
}

#[test]
fn slices_that_are_the_whole_segment_are_delivered_whatever_follows() {
    let decision = decide(&facts(&[0..MIB / 2, MIB / 2..MIB], &[Evidence::Segment(name(6)), child(9 * MIB)]));
    assert!(matches!(decision, Decision::Assemble { end: MIB, .. }), "{decision:?}");
}

#[test]
fn in_the_segment_of_a_switch_the_old_timeline_simply_ends() {
    // The new timeline's own copy of the segment is what recovery reads.
    assert!(matches!(decide(&facts(std::slice::from_ref(&(0..100)), &[child(5 * MIB + 500)])), Decision::Assemble { .. }));
    assert_eq!(decide(&facts(&[], &[child(5 * MIB + 500)])), Decision::Absent(Absence::End));
}

#[test]
fn a_partial_file_is_the_tail_of_a_timeline_that_was_left() {
    let with_partial =
        |slices: &[Range<u64>], later: &[Evidence]| SegmentFacts { partial_end: Some(200), ..facts(slices, later) };
    assert_eq!(decide(&with_partial(&[], &[])), Decision::Partial);
    assert_eq!(decide(&with_partial(std::slice::from_ref(&(0..100)), &[child(5 * MIB + 200)])), Decision::Partial);
    assert!(matches!(decide(&with_partial(std::slice::from_ref(&(0..300)), &[])), Decision::Assemble { end: 300, .. }));
    assert_eq!(decide(&with_partial(&[], &[Evidence::Segment(name(7))])), Decision::Hole(Evidence::Segment(name(7))));
}

#[test]
fn before_its_timeline_begins_a_segment_is_absent_and_in_its_first_it_is_not() {
    let begins = |lsn: u64, later: &[Evidence]| SegmentFacts { begins: Some(Lsn(lsn)), ..facts(&[], later) };
    let before = decide(&begins(6 * MIB, &[Evidence::Segment(name(6))]));
    assert_eq!(before, Decision::Absent(Absence::BeforeTimeline { begins: Lsn(6 * MIB) }));
    let first = decide(&begins(6 * MIB - 1, &[Evidence::Segment(name(6))]));
    assert_eq!(first, Decision::Hole(Evidence::Segment(name(6))));
}

#[test]
fn a_recorded_gap_is_not_waited_for() {
    let gap = Evidence::Gap { end: Lsn(7 * MIB) };
    let decision = decide(&facts(&[], &[Evidence::Segment(name(6)), gap.clone()]));
    assert_eq!(decision, Decision::Hole(gap));
}

#[test]
fn a_history_is_absent_only_where_nothing_of_it_or_later_is_stored() {
    let stored = [TimelineId(1), TimelineId(3)];
    assert_eq!(decide_history(TimelineId(4), &stored), Ok(Absence::NoSuchTimeline));
    assert_eq!(decide_history(TimelineId(3), &stored), Err(Evidence::Timeline(TimelineId(3))));
    assert_eq!(decide_history(TimelineId(2), &stored), Err(Evidence::Timeline(TimelineId(3))));
    assert_eq!(decide_history(TimelineId(1), &stored), Ok(Absence::NoSuchTimeline));
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        (5_u64..8).prop_map(|number| Evidence::Segment(name(number))),
        (4 * MIB..7 * MIB).prop_map(backup),
        (4 * MIB..7 * MIB).prop_map(|end| Evidence::Gap { end: Lsn(end) }),
        (4 * MIB..8 * MIB).prop_map(child),
    ]
}

proptest! {
    /// Whatever else is stored: as soon as something shows that WAL went on behind what is stored of the segment, the answer is never
    /// one that PostgreSQL takes for the end.
    #[test]
    fn a_hole_never_looks_like_the_end(
        slices in prop::collection::vec((0..MIB, 1..MIB / 2), 0..6),
        later in prop::collection::vec(any_evidence(), 0..4),
        partial_end in prop::option::of(0..MIB),
    ) {
        let slices: Vec<Range<u64>> = slices.iter().map(|(start, length)| *start..(start + length).min(MIB)).collect();
        let facts = SegmentFacts { partial_end, ..facts(&slices, &later) };
        let stored = (0..MIB).step_by(64).take_while(|byte| slices.iter().any(|slice| slice.contains(byte))).last();
        let reached = contiguous_end(&slices, 0).max(partial_end.unwrap_or(0));
        prop_assert!(stored.is_none_or(|byte| byte < reached));
        let went_on = slices.iter().any(|slice| slice.start > reached)
            || reached < MIB && later.iter().any(|evidence| evidence.reaches(&facts).0 > 5 * MIB + reached);
        prop_assert_eq!(matches!(decide(&facts), Decision::Hole(_)), went_on);
        if let Decision::Assemble { slices: chain, end } = decide(&facts) {
            prop_assert_eq!(end, reached);
            prop_assert_eq!(contiguous_end(&chain.iter().map(|slice| slice.bytes.clone()).collect::<Vec<_>>(), 0), end);
        }
    }
}
