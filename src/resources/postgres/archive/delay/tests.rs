use proptest::prelude::*;

use super::*;
use crate::pg::records::Commit;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

fn commits(end: u64, time: Timestamp, commits: u64) -> Activity {
    let commit = Commit { lsn: Lsn(end - 1), end: Lsn(end), time, xid: 7 };
    Activity { commits, first_commit: Some(commit), last_commit: Some(commit), ..Activity::default() }
}

#[test]
fn a_commit_counts_when_it_is_stored_and_not_before() {
    let mut delays = Delays::default();
    delays.heard(at(0), at(0));
    delays.arrived(&commits(100, at(0), 1));
    delays.stored(Lsn(99), at(500));
    assert_eq!(delays.summary(at(500)), None);
    delays.stored(Lsn(100), at(800));
    let summary = delays.summary(at(800)).unwrap();
    assert!((summary.p99_seconds - 0.8).abs() < 0.02, "{summary:?}");
}

#[test]
fn a_server_whose_clock_is_an_hour_off_is_measured_all_the_same() {
    for hour in [-3_600_000, 3_600_000] {
        let mut delays = Delays::default();
        delays.heard(at(hour), at(3));
        delays.arrived(&commits(100, at(hour), 1));
        delays.stored(Lsn(100), at(1003));
        let summary = delays.summary(at(1003)).unwrap();
        assert!((summary.max_seconds - 1.0).abs() < 0.03, "{summary:?}");
    }
}

#[test]
fn what_was_committed_before_there_was_an_archive_has_not_waited_for_it() {
    let mut delays = Delays::default();
    delays.restart(Some(Lsn(200)), Lsn(0));
    delays.restart(Some(Lsn(400)), Lsn(0));
    delays.arrived(&commits(200, at(-3_600_000), 500));
    let mut straddling = commits(300, at(0), 2);
    straddling.first_commit = Some(Commit { lsn: Lsn(199), end: Lsn(200), time: at(-3_600_000), xid: 6 });
    delays.arrived(&straddling);
    delays.stored(Lsn(300), at(800));
    let summary = delays.summary(at(800)).unwrap();
    assert!(summary.commits == 2 && (summary.max_seconds - 0.8).abs() < 0.02, "{summary:?}");
}

#[test]
fn what_an_earlier_stream_has_stored_does_not_count_again_when_a_new_one_brings_it() {
    let mut delays = Delays::default();
    delays.restart(None, Lsn(300));
    delays.arrived(&commits(300, at(-3_600_000), 500));
    delays.stored(Lsn(300), at(0));
    assert_eq!(delays.summary(at(0)), None);
    delays.restart(None, Lsn(100));
    delays.arrived(&commits(300, at(-800), 1));
    delays.stored(Lsn(300), at(0));
    let summary = delays.summary(at(0)).unwrap();
    assert!(summary.commits == 1 && (summary.max_seconds - 0.8).abs() < 0.02, "what was not stored does: {summary:?}");
}

#[test]
fn old_delays_are_forgotten() {
    let mut delays = Delays::default();
    delays.arrived(&commits(100, at(0), 1));
    delays.stored(Lsn(100), at(60_000));
    assert!(delays.summary(at(61_000)).is_some());
    assert_eq!(delays.summary(at(600_000)), None);
}

proptest! {
    #[test]
    fn a_percentile_is_that_of_the_sorted_delays(mut delays in prop::collection::vec(1_i64..5_000, 1..300)) {
        let mut measured = Delays::default();
        for (number, delay) in delays.iter().enumerate() {
            let end = 100 + number as u64;
            measured.arrived(&commits(end, at(-delay), 1));
            measured.stored(Lsn(end), at(0));
        }
        delays.sort_unstable();
        let summary = measured.summary(at(0)).unwrap();
        let exact = |percent: usize| delays[(delays.len() * percent).div_ceil(100) - 1] as f64 / 1000.0;
        for (found, exact) in [(summary.p50_seconds, exact(50)), (summary.p99_seconds, exact(99)), (summary.max_seconds, exact(100))] {
            prop_assert!(found >= exact * 0.999 && found <= exact * 1.03 + 0.001, "{} {}", found, exact);
        }
    }
}
