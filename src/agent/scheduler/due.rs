//! When something is due: a pure function of the schedule and of what was done.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::config::Schedule;
use crate::repository::JobRun;

/// Retention is applied at least so often.
const EXPIRE_EVERY_H: i64 = 24;
/// How long after a failure the first new attempt comes; each further pause is twice as long.
const PAUSE: Duration = Duration::from_secs(30);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// Something that is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it was or will be due.
    pub due_at: Timestamp,
    /// When it is begun.
    pub begin_at: Timestamp,
    /// Which attempt it is, from 1 on.
    pub attempt: u32,
}

/// What a backup's time follows from.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The schedule.
    pub schedule: &'a Schedule,
    /// The time zone of a schedule that names none.
    pub zone: &'a TimeZone,
    /// Sets the jitter of this resource apart from others'.
    pub seed: &'a str,
}

impl Plan<'_> {
    fn begin(&self, due_at: Timestamp) -> Timestamp {
        self.schedule.begin_of(due_at, self.zone, self.seed)
    }
}

/// When the next backup is due. `last`: the last run; `newest`: when the newest listed backup was begun, by whomever.
///
/// A resource without any backup gets one at once; one that was missed, however often, is made up for once. What failed is tried again,
/// later and later, until it is due anew. What was done in the future was done by a clock that was wrong, and counts for nothing. Neither does a
/// look that found nothing to store: `newest` counts then. `None` where the schedule has no further time.
#[must_use]
pub fn backup_due(plan: Plan<'_>, last: Option<&JobRun>, newest: Option<Timestamp>, now: Timestamp) -> Option<Due> {
    let due = |due_at| Due { due_at, begin_at: plan.begin(due_at), attempt: 1 };
    let last = last.filter(|run| run.due_at <= now);
    let made = last.filter(|run| !run.found_nothing());
    let done = made.map(|run| run.due_at).or(newest.filter(|newest| *newest <= now));
    let latest = plan.schedule.last_until(now, plan.zone);
    let next = || plan.schedule.next_after(now, plan.zone).map(due);
    let Some(done) = done else {
        return Some(Due { due_at: now, begin_at: now, attempt: 1 });
    };
    if let Some(missed) = latest.filter(|latest| *latest > done) {
        return Some(due(missed));
    }
    match last.filter(|run| !run.succeeded()) {
        Some(failed) => {
            Some(again(failed)).filter(|again| next().is_none_or(|next| again.begin_at < next.begin_at)).or_else(next)
        }
        None => next(),
    }
}

/// When a change is stored that was noticed at `noticed`: at once, and what failed since then later and later.
#[must_use]
pub fn change_due(noticed: Timestamp, last: Option<&JobRun>) -> Due {
    match last.filter(|run| !run.succeeded() && run.due_at == noticed) {
        Some(failed) => again(failed),
        None => Due { due_at: noticed, begin_at: noticed, attempt: 1 },
    }
}

/// When retention is applied next: after each backup, and once a day. `backed_up`: when the last successful scheduled backup ended.
#[must_use]
pub fn expire_due(last: Option<&JobRun>, backed_up: Option<Timestamp>, now: Timestamp) -> Due {
    let at = |time| Due { due_at: time, begin_at: time, attempt: 1 };
    let Some(last) = last.filter(|last| last.started_at <= now) else { return at(now) };
    // What another host's clock puts ahead of this one is waited for: until then, retention that was just applied would lie before it again.
    if let Some(backed_up) = backed_up.filter(|backed_up| *backed_up > last.started_at && *backed_up <= now) {
        return at(backed_up);
    }
    if !last.succeeded() {
        return again(last);
    }
    at(last.started_at.checked_add(SignedDuration::from_hours(EXPIRE_EVERY_H)).unwrap_or(Timestamp::MAX))
}

/// The next attempt at what failed.
fn again(failed: &JobRun) -> Due {
    let doubled = PAUSE.saturating_mul(1 << (failed.attempt.saturating_sub(1)).min(10));
    let begin_at = failed.finished_at().checked_add(doubled.min(PAUSE_MAX)).unwrap_or(Timestamp::MAX);
    Due { due_at: failed.due_at, begin_at, attempt: failed.attempt.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schedule;
    use crate::repository::{BackupId, Job, Outcome};

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a valid time")
    }

    fn run(due_at: &str, attempt: u32, succeeded: bool) -> JobRun {
        let outcome = match succeeded {
            true => Outcome::Done { backup: Some(BackupId::new(time(due_at), 1)), remark: String::new() },
            false => Outcome::Failed { error: "no".to_owned(), hint: None },
        };
        let (due_at, took_ms) = (time(due_at), 600_000);
        JobRun { job: Job::Backup, due_at, attempt, started_at: due_at, took_ms, host: String::new(), outcome }
    }

    fn due(last: Option<&JobRun>, newest: Option<&str>, now: &str) -> (String, String, u32) {
        let schedule: Schedule = "0 */6 * * *".parse().expect("a schedule");
        let plan = Plan { schedule: &schedule, zone: &TimeZone::UTC, seed: "postgres/main" };
        let due = backup_due(plan, last, newest.map(time), time(now)).expect("there is always a next time");
        (due.due_at.to_string(), due.begin_at.to_string(), due.attempt)
    }

    fn at(due_at: &str, begin_at: &str, attempt: u32) -> (String, String, u32) {
        (due_at.to_owned(), begin_at.to_owned(), attempt)
    }

    #[test]
    fn the_first_backup_is_taken_at_once() {
        let now = "2026-11-24T13:00:00Z";
        assert_eq!(due(None, None, now), at(now, now, 1));
    }

    #[test]
    fn what_was_missed_is_made_up_for_once() {
        let last = run("2026-11-22T06:00:00Z", 1, true);
        let noon = "2026-11-24T12:00:00Z";
        assert_eq!(due(Some(&last), None, "2026-11-24T13:00:00Z"), at(noon, noon, 1));
        let made_up = run(noon, 1, true);
        let evening = "2026-11-24T18:00:00Z";
        assert_eq!(due(Some(&made_up), None, "2026-11-24T13:10:00Z"), at(evening, evening, 1));
    }

    #[test]
    fn a_backup_taken_by_hand_counts_where_there_is_no_history() {
        let evening = "2026-11-24T18:00:00Z";
        assert_eq!(due(None, Some("2026-11-24T12:30:00Z"), "2026-11-24T13:00:00Z"), at(evening, evening, 1));
    }

    #[test]
    fn what_failed_is_tried_again_later_and_later_until_it_is_due_anew() {
        let noon = "2026-11-24T12:00:00Z";
        let begin = |attempt| due(Some(&run(noon, attempt, false)), None, "2026-11-24T12:10:00Z");
        assert_eq!(begin(1), at(noon, "2026-11-24T12:10:30Z", 2));
        assert_eq!(begin(2), at(noon, "2026-11-24T12:11:00Z", 3));
        assert_eq!(begin(5), at(noon, "2026-11-24T12:18:00Z", 6));
        assert_eq!(begin(40), at(noon, "2026-11-24T13:10:00Z", 41));
        let late = due(Some(&run(noon, 40, false)), None, "2026-11-24T18:00:01Z");
        assert_eq!(late, at("2026-11-24T18:00:00Z", "2026-11-24T18:00:00Z", 1));
    }

    #[test]
    fn a_change_is_stored_at_once_and_after_failures_later_and_later() {
        let noon = "2026-11-24T12:00:00Z";
        let due = |last: Option<&JobRun>| {
            let due = change_due(time(noon), last);
            (due.due_at.to_string(), due.begin_at.to_string(), due.attempt)
        };
        assert_eq!(due(None), at(noon, noon, 1));
        assert_eq!(due(Some(&run("2026-11-24T11:00:00Z", 3, false))), at(noon, noon, 1), "that was another change");
        assert_eq!(due(Some(&run(noon, 1, true))), at(noon, noon, 1));
        assert_eq!(due(Some(&run(noon, 2, false))), at(noon, "2026-11-24T12:11:00Z", 3));
    }

    #[test]
    fn a_clock_that_was_wrong_stops_nothing() {
        let (last, now) = (run("2036-01-01T00:00:00Z", 1, true), "2026-11-24T13:00:00Z");
        assert_eq!(due(Some(&last), None, now), at(now, now, 1));
        assert_eq!(due(None, Some("2036-01-01T00:00:00Z"), now), at(now, now, 1));
        let noon = "2026-11-24T12:00:00Z";
        assert_eq!(due(Some(&last), Some("2026-11-24T11:00:00Z"), now), at(noon, noon, 1));
        assert_eq!(expire_due(Some(&last), None, time(noon)).begin_at, time(noon));
        let (last, ended) = (run("2026-11-23T12:00:00Z", 1, true), Some(time("2036-01-01T00:00:00Z")));
        assert_eq!(expire_due(Some(&last), ended, time(noon)).begin_at, time(noon), "the clock was set back while it ran");
    }

    #[test]
    fn the_jitter_is_the_same_on_every_agent_and_differs_between_resources() {
        let mut schedule: Schedule = "0 */6 * * *".parse().expect("a schedule");
        schedule.jitter = "1h".parse().expect("a duration");
        let begin = |seed| {
            let plan = Plan { schedule: &schedule, zone: &TimeZone::UTC, seed };
            let last = run("2026-11-24T12:00:00Z", 1, true);
            backup_due(plan, Some(&last), None, time("2026-11-24T13:00:00Z")).expect("a next time").begin_at
        };
        assert_eq!(begin("postgres/a"), begin("postgres/a"));
        assert_ne!(begin("postgres/a"), begin("postgres/b"));
        assert!((time("2026-11-24T18:00:00Z")..time("2026-11-24T19:00:00Z")).contains(&begin("postgres/a")));
    }

    /// A look at what is backed up on change comes in between, before a scheduled backup that is put off or was not made.
    #[test]
    fn a_look_that_finds_nothing_takes_the_place_of_no_scheduled_backup() {
        let (noon, evening, morning) = ("2026-11-24T12:00:00Z", "2026-11-24T18:00:00Z", Some("2026-11-24T06:00:10Z"));
        let outcome = Outcome::Done { backup: None, remark: String::new() };
        let look = JobRun { outcome, ..run("2026-11-24T12:05:00Z", 1, true) };
        assert_eq!(due(Some(&look), morning, "2026-11-24T12:10:00Z"), at(noon, noon, 1));
        assert_eq!(due(Some(&look), Some("2026-11-24T12:00:00Z"), "2026-11-24T12:10:00Z"), at(evening, evening, 1));
        // What was stored because it had changed is one.
        assert_eq!(due(Some(&run("2026-11-24T12:05:00Z", 1, true)), None, "2026-11-24T12:10:00Z"), at(evening, evening, 1));
    }

    #[test]
    fn a_jitter_longer_than_the_time_between_two_runs_drops_none() {
        let mut schedule: Schedule = "* * * * *".parse().expect("a schedule");
        schedule.jitter = "1h".parse().expect("a duration");
        let plan = Plan { schedule: &schedule, zone: &TimeZone::UTC, seed: "files/a" };
        for minute in 0..60 {
            let begin = plan.begin(time(&format!("2026-11-24T12:{minute:02}:00Z")));
            assert_eq!(begin.to_string()[..16], format!("2026-11-24T12:{minute:02}"));
        }
    }

    #[test]
    fn retention_follows_a_backup_and_comes_once_a_day() {
        let last = run("2026-11-24T12:00:00Z", 1, true);
        let now = time("2026-11-24T13:00:00Z");
        assert_eq!(expire_due(None, None, now).begin_at, now);
        assert_eq!(expire_due(Some(&last), None, now).begin_at, time("2026-11-25T12:00:00Z"));
        let backed_up = Some(time("2026-11-24T12:30:00Z"));
        assert_eq!(expire_due(Some(&last), backed_up, now).begin_at, time("2026-11-24T12:30:00Z"));
    }

    #[test]
    fn a_backup_by_a_clock_that_is_ahead_is_no_reason_to_apply_retention_again_and_again() {
        let (applied, ahead) = (run("2026-11-24T12:59:59Z", 1, true), Some(time("2026-11-24T13:02:00Z")));
        let begin = |now: &str| expire_due(Some(&applied), ahead, time(now)).begin_at;
        assert_eq!(begin("2026-11-24T13:00:00Z"), time("2026-11-25T12:59:59Z"));
        assert_eq!(begin("2026-11-24T13:02:00Z"), time("2026-11-24T13:02:00Z"));
    }
}
