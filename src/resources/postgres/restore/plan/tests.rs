mod timelines;

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::pg::history::TimelineHistory;
use crate::pg::recovery::TargetTimeline;
use crate::pg::{SegmentName, SegmentNumber};
use crate::repository::{Detail, FramedObject, GapCause, PostgresBackup, ResourceKind, ResourceName};
use crate::resources::postgres::restore::site::tight_space;
use crate::resources::postgres::restore::target::Wanted;

const SEGMENT: u64 = 16 << 20;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A backup of `timeline` between two positions, finished at the second of its stop.
fn backup(timeline: u32, lsn: Range<u64>) -> BackupEntry {
    let detail = PostgresBackup {
        system_id: SystemId(7),
        timeline: TimelineId(timeline),
        start_lsn: Lsn(lsn.start),
        stop_lsn: Lsn(lsn.end),
        server_version: 170_002,
        wal_segment_bytes: SegmentSize::DEFAULT,
        data_directory_mode: "0700".to_owned(),
        data_checksums: true,
        label: String::new(),
        compression: crate::codec::Compression::Lz4,
        manifest: FramedObject { name: String::new(), frames: crate::codec::FrameIndex::default() },
        tablespaces: vec![],
        files: 0,
    };
    BackupEntry {
        format: BackupEntry::FORMAT,
        id: crate::repository::BackupId::new(time(lsn.start as i64), lsn.start),
        resource: ResourceName::new(ResourceKind::Postgres, "main").unwrap(),
        started_at: time(lsn.start as i64),
        finished_at: time(lsn.end as i64),
        made_by: String::new(),
        plain_bytes: 0,
        stored_bytes: 0,
        objects: vec![],
        detail: Detail::Postgres(detail),
    }
}

fn facts(backups: Vec<BackupEntry>, stored: &[(u32, Range<u64>)]) -> Facts {
    let mut by_timeline: BTreeMap<TimelineId, Vec<Range<Lsn>>> = BTreeMap::new();
    for (timeline, range) in stored {
        by_timeline.entry(TimelineId(*timeline)).or_default().push(Lsn(range.start)..Lsn(range.end));
    }
    let (system_id, segment_size) = (SystemId(7), SegmentSize::DEFAULT);
    Facts {
        system_id,
        segment_size,
        backups,
        histories: Histories::new(),
        stored: by_timeline,
        gaps: vec![],
        conflicts: vec![],
        damaged: vec![],
        now: time(5000),
    }
}

fn commit(lsn: u64) -> Commit {
    Commit { lsn: Lsn(lsn), end: Lsn(lsn + 8), time: time(lsn as i64), xid: u32::try_from(lsn).unwrap() }
}

fn made(facts: &Facts, wanted: &Wanted, located: Located) -> Result<RestorePlan, Reason> {
    choose_route(facts, wanted).and_then(|route| plan(facts, &route, located)).map_err(|refusal| refusal.reason)
}

fn to(target: RecoveryTarget) -> Wanted {
    Wanted { target, ..Wanted::END }
}

/// What the search finds for a record at that place.
fn found(lsn: u64) -> Located {
    Located { stop: Some(Lsn(lsn)..Lsn(lsn + 8)), last: Some(commit(900)), ..Located::default() }
}

/// What the search finds for a position, where records of eight bytes fill every stretch.
fn at(facts: &Facts, lsn: u64) -> Located {
    let stretches = facts.stored.values().flatten();
    let around = stretches.filter(|stretch| stretch.start.0 <= lsn && lsn <= stretch.end.0).max_by_key(|stretch| stretch.end);
    match around {
        Some(stretch) if lsn + 8 <= stretch.end.0 => Located { stop: Some(Lsn(lsn)..Lsn(lsn + 8)), ..Located::default() },
        Some(stretch) => Located { last_record: Some(Lsn(stretch.end.0 - 8)..stretch.end), ..Located::default() },
        None => Located::default(),
    }
}

/// A plan for a position.
fn made_at(facts: &Facts, lsn: u64) -> Result<RestorePlan, Reason> {
    made(facts, &to(RecoveryTarget::Lsn(Lsn(lsn))), at(facts, lsn))
}

fn start_of(plan: &RestorePlan) -> u64 {
    plan.backup.postgres().start_lsn.0
}

#[test]
fn the_newest_backup_before_the_target_is_taken() {
    let facts = facts(vec![backup(1, 100..150), backup(1, 300..350), backup(1, 600..650)], &[(1, 0..1000)]);
    for (lsn, start) in [(150, 100), (349, 100), (350, 300), (649, 300), (650, 600), (990, 600)] {
        let plan = made_at(&facts, lsn).unwrap();
        assert_eq!((start_of(&plan), plan.wal[0].end), (start, Lsn(lsn + 8)), "{lsn}");
        let plan = made(&facts, &to(RecoveryTarget::Time(time(999))), found(lsn)).unwrap();
        assert_eq!(start_of(&plan), start, "a time that lies at {lsn}");
    }
    assert_eq!(start_of(&made(&facts, &to(RecoveryTarget::EndOfWal), Located::default()).unwrap()), 600);
}

#[test]
fn a_target_before_the_first_consistent_point_is_refused() {
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..1000)]);
    let cases = [
        (RecoveryTarget::Lsn(Lsn(149)), at(&facts, 149), "LSN 0/95 lies before the first".to_owned()),
        (RecoveryTarget::Time(time(0)), found(120), format!("{} lies before the first", time(0))),
        (RecoveryTarget::Time(time(0)), found(300), format!("{} lies before the first", time(0))),
        (RecoveryTarget::Xid(120), found(120), "transaction 120 (0/78) lies before the first".to_owned()),
    ];
    for (target, located, expected) in cases {
        let refused = made(&facts, &to(target), located).unwrap_err();
        assert!(matches!(refused, Reason::BeforeFirstConsistentPoint { .. }), "{refused:?}");
        assert!(refused.to_string().starts_with(&expected), "{refused}");
    }
}

#[test]
fn a_time_before_the_backup_is_refused_even_if_no_commit_came_since() {
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..1000)]);
    let at = |second, before| made(&facts, &to(RecoveryTarget::Time(time(second))), Located { before, ..found(300) });
    assert!(matches!(at(99, None), Err(Reason::BeforeFirstConsistentPoint { .. })));
    assert!(at(100, None).is_ok() && at(99, Some(commit(90))).is_ok());
}

/// What the search finds where no record is one to stop at.
fn ended() -> Located {
    let (last, last_record) = (Some(commit(900)), Some(Lsn(980)..Lsn(990)));
    Located { before: last, last, last_record, ..Located::default() }
}

#[test]
fn a_target_past_the_end_is_refused() {
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..1000)]);
    let after = made(&facts, &to(RecoveryTarget::Time(time(5001))), ended());
    assert_eq!(after, Err(Reason::AfterLastCommit { time: time(5001), last: Some(commit(900)) }));
    let after = made(&facts, &to(RecoveryTarget::Lsn(Lsn(991))), ended());
    assert_eq!(after, Err(Reason::AfterEnd { target: RecoveryTarget::Lsn(Lsn(991)), end: Lsn(990) }));
}

#[test]
fn what_nothing_followed_is_reached_by_the_last_record_whatever_the_server_does_there() {
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..1000)]);
    for action in [TargetAction::Promote, TargetAction::Pause, TargetAction::Shutdown] {
        for target in [RecoveryTarget::Time(time(900)), RecoveryTarget::Time(time(4999)), RecoveryTarget::Lsn(Lsn(990))] {
            let wanted = Wanted { action, exclusive: matches!(target, RecoveryTarget::Lsn(_)), ..to(target) };
            let plan = made(&facts, &wanted, ended()).unwrap();
            assert_eq!((plan.stop.target, plan.stop.inclusive), (RecoveryTarget::Lsn(Lsn(980)), true));
            assert_eq!(plan.wal.last().map(|part| part.end), Some(Lsn(990)));
            assert_eq!(plan.warnings.len(), usize::from(matches!(plan.asked, RecoveryTarget::Time(_))));
        }
    }
}

#[test]
fn the_last_record_before_a_hole_is_reached_and_nothing_behind_it() {
    let mut facts = facts(vec![backup(1, 100..150)], &[(1, 0..400)]);
    let (start, end) = (Lsn(400), Lsn(500));
    facts.gaps.push(Gap { timeline: TimelineId(1), start, end, cause: GapCause::RemovedByServer, noticed_at: time(1) });
    let last = || Located { last_record: Some(Lsn(380)..Lsn(390)), before: Some(commit(380)), ..Located::default() };
    let hole = |located: Located| Located { hole: Some(start..end), ..located };
    let refusal =
        |start: u64| Reason::Gap { start: Lsn(start), end, noticed: Some(time(1)), backup: facts.backups[0].id.clone() };
    let plan = made(&facts, &to(RecoveryTarget::Lsn(Lsn(390))), last()).unwrap();
    assert_eq!((plan.stop.target, plan.stop.read_ahead), (RecoveryTarget::Lsn(Lsn(380)), false));
    for target in [RecoveryTarget::Lsn(Lsn(391)), RecoveryTarget::Lsn(Lsn(400)), RecoveryTarget::EndOfWal] {
        assert_eq!(made(&facts, &to(target), last()), Err(refusal(390)));
    }
    assert_eq!(made(&facts, &to(RecoveryTarget::Time(time(381))), hole(last())), Err(refusal(390)));
    assert!(made(&facts, &to(RecoveryTarget::Time(time(380))), hole(last())).is_ok());
}

#[test]
fn nothing_leads_across_the_record_of_wal_level_minimal_though_it_is_stored() {
    let mut facts = facts(vec![backup(1, 100..150)], &[(1, 0..400), (1, 456..1000)]);
    let (start, end, cause) = (Lsn(400), Lsn(456), GapCause::WalLevelMinimal);
    facts.gaps.push(Gap { timeline: TimelineId(1), start, end, cause, noticed_at: time(1) });
    let backup_id = facts.backups[0].id.clone();
    let expected = Reason::WalLevelMinimal { start, at: start, noticed: time(1), backup: backup_id };
    assert_eq!(made(&facts, &to(RecoveryTarget::EndOfWal), Located::default()), Err(expected.clone()));
    assert_eq!(made_at(&facts, 900), Err(expected));
    assert!(made_at(&facts, 400).is_ok());
    facts.backups.push(backup(1, 600..650));
    assert_eq!(start_of(&made_at(&facts, 900).unwrap()), 600);
}

#[test]
fn a_gap_is_never_crossed() {
    let mut facts = facts(vec![backup(1, 100..150)], &[(1, 0..400), (1, 500..1000)]);
    let (start, end) = (Lsn(400), Lsn(500));
    facts.gaps.push(Gap { timeline: TimelineId(1), start, end, cause: GapCause::RemovedByServer, noticed_at: time(1) });
    let expected = Reason::Gap { start, end, noticed: Some(time(1)), backup: facts.backups[0].id.clone() };
    assert_eq!(made(&facts, &to(RecoveryTarget::EndOfWal), Located::default()), Err(expected.clone()));
    for lsn in [450, 900] {
        assert_eq!(made_at(&facts, lsn), Err(expected.clone()));
    }
    assert!(made_at(&facts, 399).is_ok());
    facts.backups.push(backup(1, 600..650));
    assert_eq!(start_of(&made(&facts, &to(RecoveryTarget::EndOfWal), Located::default()).unwrap()), 600);
    let route = choose_route(&facts, &Wanted::END).unwrap();
    let windows: Vec<(u64, u64)> = route.windows(None).iter().map(|window| (window.start.0, window.end.0)).collect();
    assert_eq!(windows, [(150, 400), (650, 1000)]);
}

fn forked() -> Facts {
    let mut facts =
        facts(vec![backup(1, 100..150), backup(1, 500..550), backup(3, 700..750)], &[(1, 0..1000), (2, 0..600), (3, 0..1000)]);
    for (timeline, left_at) in [(2, 400), (3, 600)] {
        let content = format!("1\t{}\tno recovery target specified\n", Lsn(left_at));
        let history = TimelineHistory::parse(TimelineId(timeline), content.as_bytes()).unwrap();
        facts.histories.insert(TimelineId(timeline), history);
    }
    facts
}

#[test]
fn a_backup_is_only_taken_if_the_timeline_descends_from_it() {
    let on = |timeline: u32, lsn: u64| {
        let wanted = Wanted { timeline: TargetTimeline::Id(TimelineId(timeline)), ..to(RecoveryTarget::Lsn(Lsn(lsn))) };
        let stop = Some(Lsn(lsn)..Lsn(lsn + 8));
        made(&forked(), &wanted, Located { stop, ..Located::default() }).map(|plan| start_of(&plan))
    };
    assert_eq!(on(1, 900), Ok(500));
    assert_eq!(on(2, 580), Ok(100), "timeline 2 leaves before the second backup");
    assert_eq!(on(3, 650), Ok(500));
    assert_eq!(on(3, 900), Ok(700));
    assert!(matches!(on(9, 900), Err(Reason::NoBackupOnTimeline { .. })));
}

#[test]
fn the_latest_timeline_is_the_default_and_the_current_one_that_of_the_backup() {
    let facts = forked();
    let timeline = |wanted: &Wanted| choose_route(&facts, wanted).unwrap().path.timeline().0;
    let second = Some(facts.backups[1].id.clone());
    assert_eq!(timeline(&Wanted::END), 3);
    assert_eq!(timeline(&Wanted { backup: second.clone(), ..Wanted::END }), 3);
    assert_eq!(timeline(&Wanted { backup: second, timeline: TargetTimeline::Current, ..Wanted::END }), 1);
}

#[test]
fn behind_a_switch_the_end_of_what_is_stored_is_reached() {
    // The switch is the last record, and the rest of its segment is not stored.
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..980)]);
    let switch = Located { last_record: Some(Lsn(970)..Lsn(SEGMENT)), last: Some(commit(900)), ..Located::default() };
    for target in [RecoveryTarget::Lsn(Lsn(980)), RecoveryTarget::Time(time(1000))] {
        let plan = made(&facts, &to(target), switch.clone()).unwrap();
        assert_eq!((&plan.stop.target, plan.stop.inclusive), (&RecoveryTarget::Lsn(Lsn(970)), true));
    }
}

#[test]
fn what_is_stored_of_a_timeline_behind_the_place_where_it_was_left_is_named() {
    let warnings = |facts: &Facts| made(facts, &Wanted::END, Located::default()).unwrap().warnings;
    let mut facts = forked();
    let named = warnings(&facts);
    assert!(named.len() == 1 && named[0].starts_with("timeline 1 was left at 0/258 and is stored up to 0/3E8"), "{named:?}");
    assert!(
        named[0].contains("the commits in it, if there are any, are lost"),
        "a checkpoint may be all that is there: {named:?}"
    );
    facts.stored.insert(TimelineId(1), vec![Lsn(0)..Lsn(600)]);
    assert_eq!(warnings(&facts), [] as [&str; 0]);
}

#[test]
fn a_newer_timeline_to_which_the_backup_that_was_asked_for_does_not_lead_is_named() {
    let mut facts = forked();
    facts.backups.push(backup(1, 800..850));
    let warnings = |number: usize| {
        let wanted = Wanted { backup: Some(facts.backups[number].id.clone()), ..Wanted::END };
        made(&facts, &wanted, Located::default()).unwrap().warnings
    };
    let dead = warnings(3);
    assert!(dead.len() == 1 && dead[0].starts_with("timeline 3 is newer, and does not lead through backup "), "{dead:?}");
    assert!(!warnings(1).iter().any(|warning| warning.contains("is newer")), "it leads there");
}

#[test]
fn a_newer_timeline_is_named_where_the_older_one_that_was_asked_for_ends_before_the_time() {
    let facts = forked();
    let named = |timeline, target, located| {
        let plan = made(&facts, &Wanted { timeline, ..to(target) }, located).unwrap();
        plan.warnings.iter().any(|warning| warning.starts_with("timeline 3 is newer, and no commit of timeline 1 later than "))
    };
    let first = TargetTimeline::Id(TimelineId(1));
    let late = || RecoveryTarget::Time(time(4000));
    assert!(named(first, late(), ended()));
    assert!(!named(first, RecoveryTarget::Time(time(890)), found(900)), "the time lies on it");
    assert!(!named(first, RecoveryTarget::EndOfWal, ended()), "all of it was asked for");
    assert!(!named(TargetTimeline::Id(TimelineId(3)), late(), ended()), "there is none");
    assert!(!named(TargetTimeline::Latest, late(), ended()), "the newest is followed");
}

#[test]
fn a_timeline_whose_history_is_missing_is_neither_left_out_silently_nor_followed() {
    let mut facts = forked();
    facts.histories.remove(&TimelineId(2));
    let wanted = |timeline| Wanted { timeline, backup: Some(forked().backups[0].id.clone()), ..Wanted::END };
    let missing = |timeline, instead| Err(Reason::MissingHistory { timeline: TimelineId(timeline), instead });
    // The server asks for the history of every timeline up to its target's.
    assert_eq!(made(&facts, &wanted(TargetTimeline::Latest), Located::default()), missing(2, None));
    facts.histories.remove(&TimelineId(3));
    assert_eq!(made(&facts, &wanted(TargetTimeline::Latest), Located::default()), missing(3, Some(TimelineId(1))));
    // It asks for those behind it, too, before it takes writes.
    let warned = |facts: &Facts| {
        let plan = made(facts, &wanted(TargetTimeline::Id(TimelineId(1))), Located::default()).unwrap();
        let missing = "the history of timeline 2 is missing, though timeline 3 is stored: the server recovers, and ends where";
        plan.warnings.iter().any(|warning| warning.starts_with(missing))
    };
    assert!(warned(&facts) && !warned(&forked()));
    // A backup of that very timeline does not make up for it.
    assert_eq!(made(&facts, &Wanted::END, Located::default()), missing(3, None));
}

#[test]
fn a_time_in_a_hole_is_not_taken_for_the_backup_behind_it() {
    let facts = facts(vec![backup(1, 100..150), backup(1, 500..550)], &[(1, 0..400), (1, 490..1000)]);
    let behind = Located { before: Some(commit(390)), ..found(600) };
    let refused = made(&facts, &to(RecoveryTarget::Time(time(450))), behind.clone());
    let crossing = facts.backups[0].id.clone();
    assert_eq!(refused, Err(Reason::Gap { start: Lsn(400), end: Lsn(490), noticed: None, backup: crossing.clone() }));
    assert!(made(&facts, &to(RecoveryTarget::Time(time(520))), behind).is_ok());
    // Where the search met the hole itself, it is the same backup that would have to cross it.
    let (last_record, before) = (Some(Lsn(390)..Lsn(400)), Some(commit(390)));
    let before_it = Located { hole: Some(Lsn(400)..Lsn(490)), last_record, before, ..Located::default() };
    let refused = made(&facts, &to(RecoveryTarget::Time(time(450))), before_it);
    assert_eq!(refused, Err(Reason::Gap { start: Lsn(400), end: Lsn(490), noticed: None, backup: crossing }));
}

#[test]
fn an_older_timeline_is_only_named_where_the_newest_one_committed_nothing_before_the_hole_that_it_would_drop() {
    let old = |is_exact: bool, end: u64| Elsewhere { timeline: TimelineId(1), left_at: Lsn(400), is_exact, end: Lsn(end) };
    // The newest one goes on up to 600 before the hole: on the old one that is missing.
    for (is_exact, end) in [(false, 400), (false, 700), (true, 700)] {
        assert!(!old(is_exact, end).leads_further_than(Some(Lsn(600))), "{is_exact} {end}");
    }
    // Of the newest one nothing is stored before the hole.
    assert!(old(true, 400).leads_further_than(Some(Lsn(300))) && old(false, 400).leads_further_than(Some(Lsn(300))));
    assert!(!old(false, 300).leads_further_than(Some(Lsn(300))), "no further than the position before the hole");
    assert!(old(false, 400).leads_further_than(None), "no hole is in the way");
    let gap = Reason::Gap { start: Lsn(600), end: Lsn(700), noticed: None, backup: backup(1, 100..150).id };
    assert_eq!((gap.reachable(), Reason::NoBackup.reachable()), (Some(Lsn(600)), None));
    let hint = |elsewhere| Refusal { elsewhere, ..Refusal::of(gap.clone()) }.hint().expect("a hint");
    assert!(hint(None).ends_with("--target-lsn 0/258 is the last that can be reached before the hole"));
    let beside = hint(Some(Box::new(old(true, 700))));
    assert!(
        beside.contains("--target-lsn 0/258 is the last that can be reached before the hole; or add --target-timeline 1: on"),
        "{beside}"
    );
    assert!(beside.ends_with("it can be reached, without what was committed on newer timelines behind that"), "{beside}");
}

#[test]
fn a_commit_in_front_of_a_hole_is_not_called_the_last_one_of_a_plan_that_begins_behind_it() {
    let facts = facts(vec![backup(1, 100..150), backup(1, 500..550)], &[(1, 0..400), (1, 490..1000)]);
    let with = |before| Located { before: Some(commit(before)), ..ended() };
    for target in [RecoveryTarget::EndOfWal, RecoveryTarget::Time(time(4000))] {
        let plan = made(&facts, &to(target.clone()), with(390)).unwrap();
        assert_eq!((start_of(&plan), plan.located.before), (500, None));
        let text = plan.to_string();
        assert!(text.contains("last commit in it:  none found behind the backup's own"), "{text}");
        assert!(!text.contains(&time(390).to_string()), "{text}");
        let plan = made(&facts, &to(target), with(495)).unwrap();
        assert_eq!(plan.located.before, Some(commit(495)), "nothing is missing between it and the backup");
    }
    let plan = made(&facts, &to(RecoveryTarget::Immediate), Located::default()).unwrap();
    assert!(!plan.to_string().contains("last commit"), "nobody looked for it");
}

#[test]
fn the_wal_is_listed_by_timeline() {
    let wanted = Wanted { backup: Some(forked().backups[1].id.clone()), ..to(RecoveryTarget::Lsn(Lsn(900))) };
    let stop = Some(Lsn(892)..Lsn(900));
    let plan = made(&forked(), &wanted, Located { stop, ..Located::default() }).unwrap();
    let parts: Vec<(u32, u64, u64)> = plan.wal.iter().map(|part| (part.timeline.0, part.start.0, part.end.0)).collect();
    assert_eq!(parts, [(1, 500, 600), (3, 600, 900)]);
    assert_eq!(plan.stop.timeline, Some(TimelineId(3)));
}

#[test]
fn names_and_transactions_that_are_not_stored_are_refused() {
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..1000)]);
    let nothing = || Located { last: Some(commit(900)), ..Located::default() };
    let name = || to(RecoveryTarget::Name("before".to_owned()));
    assert_eq!(made(&facts, &name(), nothing()), Err(Reason::UnknownName { name: "before".to_owned() }));
    let twice = Located { named: vec![Lsn(200), Lsn(300)], ..found(200) };
    assert!(matches!(made(&facts, &name(), twice), Err(Reason::AmbiguousName { .. })));
    assert_eq!(made(&facts, &to(RecoveryTarget::Xid(5)), nothing()), Err(Reason::UnknownXid { xid: 5 }));
    let unsure = made(&facts, &to(RecoveryTarget::Xid(5)), Located { search_cut_short: true, ..nothing() }).unwrap();
    assert_eq!(unsure.warnings.len(), 1);
}

#[test]
fn a_refusal_shows_the_window() {
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..1000)]);
    let route = choose_route(&facts, &to(RecoveryTarget::Time(time(5001)))).unwrap();
    let refusal = plan(&facts, &route, Located { last: Some(commit(900)), ..Located::default() }).unwrap_err();
    let message = refusal.to_string();
    assert!(message.ends_with("(0/96 to 0/3E8, timeline 1)"), "{message}");
    assert!(message.contains(&format!("{} to {}", time(150), time(900))), "{message}");
    assert!(choose_route(&Facts { backups: vec![], ..facts }, &Wanted::END).unwrap_err().hint().is_some());
}

#[test]
fn wal_that_does_not_fit_beside_the_backup_is_worth_a_word() {
    let scratch = tempfile::tempdir().unwrap();
    let said = |wal_bytes| tight_space(&backup(1, 100..150), scratch.path(), &BTreeMap::new(), wal_bytes);
    assert_eq!(said(0), None);
    assert!(said(u64::MAX).unwrap().contains("with all the WAL that is replayed take "));
}

#[test]
fn a_plan_can_be_read_by_people_and_by_programs() {
    let facts = facts(vec![backup(1, 100..150)], &[(1, 0..1000)]);
    let located = Located { before: Some(commit(200)), after: Some(commit(300)), ..found(300) };
    let plan = made(&facts, &to(RecoveryTarget::Time(time(250))), located).unwrap();
    assert!(plan.to_string().contains("first one left out: "), "{plan}");
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["asked"]["kind"], "time");
    assert_eq!(json["located"]["before"]["lsn"], "0/C8");
}

/// Backups and holes at random on one timeline.
fn layouts() -> impl Strategy<Value = (Vec<(u64, u64)>, Vec<Range<u64>>)> {
    let backups = prop::collection::vec((0_u64..90, 1_u64..9), 0..5);
    let stored = prop::collection::vec((0_u64..90, 1_u64..40).prop_map(|(start, size)| start..start + size), 0..5);
    (backups, stored)
}

proptest! {
    #[test]
    fn a_plan_is_made_if_and_only_if_all_wal_it_needs_is_stored((backups, stored) in layouts(), target in 0_u64..130) {
        let in_segments = |range: Range<u64>| range.start * SEGMENT..range.end * SEGMENT;
        let entries = backups.iter().map(|(at, size)| backup(1, in_segments(*at..at + size))).collect();
        let stored_ranges: Vec<(u32, Range<u64>)> = stored.iter().cloned().map(|range| (1, in_segments(range))).collect();
        let facts = facts(entries, &stored_ranges);
        let is_stored = |segment: u64| stored.iter().any(|range| range.contains(&segment));
        let reaches = |(at, size): &(u64, u64)| at + size <= target && (*at..target).all(is_stored);
        let lsn = target * SEGMENT;
        let made = made_at(&facts, lsn);
        if let Ok(plan) = &made {
            let start = start_of(plan) / SEGMENT;
            prop_assert!((start..target).all(is_stored), "{plan:?}");
            prop_assert!(plan.backup.postgres().stop_lsn.0 <= lsn);
        }
        prop_assert_eq!(made.is_ok(), backups.iter().any(reaches), "{:?}", made);
    }
}
