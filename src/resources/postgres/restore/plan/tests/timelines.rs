//! Which timelines are followed, and what is said of the others.

use super::*;

#[test]
fn a_timeline_of_which_nothing_but_its_history_is_stored_is_not_followed() {
    let mut facts = forked();
    facts.backups.pop();
    facts.stored.insert(TimelineId(3), vec![]);
    let plan = made(&facts, &Wanted::END, Located::default()).unwrap();
    assert_eq!(plan.stop.timeline, Some(TimelineId(2)));
    assert!(plan.warnings.iter().any(|warning| warning.starts_with("timeline 3, forked off timeline 1 at 0/258")), "{plan:?}");
    let explicit = Wanted { timeline: TargetTimeline::Id(TimelineId(3)), ..Wanted::END };
    let refused = made(&facts, &explicit, Located::default());
    assert_eq!(refused, Err(Reason::NothingOfTimeline { timeline: TimelineId(3), parent: TimelineId(1), fork: Lsn(600) }));
}

#[test]
fn a_timeline_of_which_only_the_copy_of_its_parents_wal_is_stored_is_not_followed() {
    let timeline = |stored: Range<u64>, parents: u64| {
        let mut facts = forked();
        facts.backups.pop();
        facts.stored.insert(TimelineId(1), vec![Lsn(0)..Lsn(parents)]);
        facts.stored.insert(TimelineId(3), vec![Lsn(stored.start)..Lsn(stored.end)]);
        facts.stored.remove(&TimelineId(2));
        choose_route(&facts, &Wanted::END).unwrap().path.timeline().0
    };
    assert_eq!(timeline(0..580, 600), 1, "what the parent wrote up to 600 would be lost");
    assert_eq!(timeline(0..600, 600), 1);
    assert_eq!(timeline(0..601, 600), 3);
    assert_eq!(timeline(0..590, 580), 3, "the copy is all that there is");
}

#[test]
fn a_way_through_wal_beside_which_another_servers_was_refused_is_told_of() {
    let mut facts = forked();
    facts.stored.insert(TimelineId(1), vec![Lsn(0)..Lsn(600)]);
    let warnings = |facts: &Facts| made(facts, &Wanted::END, Located::default()).unwrap().warnings;
    assert_eq!(warnings(&facts), [] as [&str; 0]);
    for (timeline, at, told) in [(3, 700, 1), (2, 450, 0), (1, 650, 0), (1, 300, 1)] {
        let segment = SegmentName::new(TimelineId(timeline), SegmentNumber(0), SegmentSize::DEFAULT);
        let (stored, refused) = ("an object".to_owned(), "b:5432".to_owned());
        facts.conflicts = vec![Conflict { segment, at: Lsn(at), stored, refused, noticed_at: time(1) }];
        let named = warnings(&facts);
        assert_eq!(named.len(), told, "timeline {timeline} at {at}: {named:?}");
        assert!(named.iter().all(|warning| warning.contains("what b:5432 sent was refused")), "{named:?}");
    }
}
