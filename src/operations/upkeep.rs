//! What is done of itself for a resource, as the repository tells it: on time, or not.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Config, Objectives, OnChange, Schedule};
use crate::operations::check::{Finding, Level};
use crate::repository::{BackupEntry, BackupId, Job, JobRun, Outcome, Repository, ResourceName, Result};
use crate::sys::clock;

/// So long after its time, and its jitter, a backup is overdue: it may be running, or be tried again.
const GRACE: Duration = Duration::from_hours(1);
/// The scheduler writes a look that found nothing new into the history so often.
pub const LOOK_RECORDED_EVERY: Duration = Duration::from_hours(1);

/// What is done of itself for a resource.
#[derive(Clone, Debug, Serialize)]
pub struct UpkeepStatus {
    /// The resource.
    pub resource: ResourceName,
    /// The schedule of its backups, as it is configured.
    pub schedule: Option<String>,
    /// When it is backed up because it has changed, in words.
    pub on_change: Option<String>,
    /// Since when nobody has looked whether it has changed, where somebody should have.
    pub unwatched: Option<Unwatched>,
    /// When the next backup is begun: its time by the schedule, put off by the jitter.
    pub next_backup: Option<Timestamp>,
    /// How many backups should have been there by now that are not.
    pub missed: u32,
    /// The newest listed backup that does not lie in the future.
    pub newest: Option<Newest>,
    /// The newest that does: the clock of the host that took it was wrong.
    pub of_the_future: Option<BackupId>,
    /// The newest listed backup, where the clock of the host that took it was behind the store's.
    pub behind: Option<Behind>,
    /// The last scheduled backup.
    pub last_backup: Option<JobRun>,
    /// The last time that retention was applied.
    pub last_expire: Option<JobRun>,
}

/// A resource that is to be backed up on change, and that nobody has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unwatched {
    /// When somebody looked last; none where nobody ever did.
    pub since: Option<Timestamp>,
}

/// The newest listed backup of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Newest {
    /// When it was begun.
    pub started_at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
}

impl Newest {
    /// Where it was begun later than `now` by the store's clock, it is this host's that is behind, and what that showed counts.
    fn of(entry: &BackupEntry, now: Timestamp) -> Self {
        let started_at = Some(entry.begun()).filter(|begun| *begun <= now).unwrap_or(entry.started_at);
        let took = entry.finished_at.duration_since(entry.started_at);
        Self { started_at, took_ms: u64::try_from(took.as_millis()).unwrap_or_default() }
    }
}

/// A backup taken by a host whose clock was behind the store's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// The backup.
    pub backup: BackupId,
    /// By how many seconds.
    pub seconds: u64,
}

impl Behind {
    fn of(entry: &BackupEntry) -> Option<Self> {
        entry.clock_was_behind().map(|behind| Self { backup: entry.id.clone(), seconds: behind.as_secs() })
    }
}

/// Finds it out.
///
/// # Errors
/// When the store fails. A catalog entry that cannot be read is left out.
pub async fn upkeep_status(repository: &Repository, config: &Config, resource: &ResourceName) -> Result<UpkeepStatus> {
    let (now, zone) = (clock::now(), config.time_zone());
    let listed = repository.backups(resource).list().await?.records;
    let (ahead, past): (Vec<_>, Vec<_>) = listed.iter().partition(|entry| entry.is_of_the_future(now));
    let newest = past.into_iter().map(|entry| Newest::of(entry, now)).max_by_key(|newest| newest.started_at);
    let upkeep = config.upkeep(resource);
    let (schedule, on_change) = upkeep.map_or((None, None), |upkeep| (upkeep.schedule, upkeep.on_change));
    let last_backup = repository.last_run(resource, Job::Backup, now).await?;
    Ok(UpkeepStatus {
        on_change: on_change.map(|on_change| on_change.to_string()),
        unwatched: on_change.and_then(|on_change| unwatched(on_change, last_backup.as_ref(), now)),
        resource: resource.clone(),
        schedule: schedule.map(ToString::to_string),
        next_backup: schedule.and_then(|schedule| schedule.next_begin(now, &zone, &resource.to_string())),
        missed: schedule.zip(newest).map_or(0, |(schedule, newest)| missed(schedule, &zone, newest.started_at, now)),
        newest,
        of_the_future: ahead.iter().max_by_key(|entry| entry.started_at).map(|entry| entry.id.clone()),
        behind: listed.last().and_then(Behind::of),
        last_backup,
        last_expire: repository.last_run(resource, Job::Expire, now).await?,
    })
}

/// How many times have passed, grace included, since a backup was begun: none, one, or two, which stand for more.
fn missed(schedule: &Schedule, zone: &jiff::tz::TimeZone, newest: Timestamp, now: Timestamp) -> u32 {
    let Some(judged) = now.checked_sub(GRACE.saturating_add(schedule.jitter.0)).ok() else { return 0 };
    let Some(last) = schedule.last_until(judged, zone).filter(|last| *last > newest) else { return 0 };
    let before = last.checked_sub(Duration::from_millis(1)).ok().and_then(|before| schedule.last_until(before, zone));
    if before.is_some_and(|before| before > newest) { 2 } else { 1 }
}

/// Whether a look is overdue. One that finds nothing is written down once an hour; the one that comes after that may take its time too.
fn unwatched(on_change: OnChange, last: Option<&JobRun>, now: Timestamp) -> Option<Unwatched> {
    let since = last.map(|run| run.started_at);
    let allowed = LOOK_RECORDED_EVERY.saturating_add(on_change.every()).saturating_add(GRACE);
    let is_late = since.is_none_or(|since| now.checked_sub(allowed).is_ok_and(|latest| since < latest));
    is_late.then_some(Unwatched { since })
}

/// Judges it. Pure.
#[must_use]
pub fn judge_upkeep(status: &UpkeepStatus, objectives: Objectives, now: Timestamp) -> Vec<Finding> {
    let object = status.resource.to_string();
    let mut findings = Vec::new();
    let mut bad = |level, found: String, hint: &str| findings.push(Finding::bad(level, &object, found, Some(hint.to_owned())));
    let backup = format!("look into the agent's log, and run 'holdfast backup {object}'");
    if status.missed > 0 {
        let level = if status.missed > 1 { Level::Critical } else { Level::Warning };
        let since = status.newest.map(|newest| format!("; the newest is of {}", newest.started_at)).unwrap_or_default();
        bad(level, format!("a backup is overdue by its schedule{since}"), &backup);
    }
    if let Some(id) = &status.of_the_future {
        let found = format!("backup {id} lies in the future: the clock of the host that took it was wrong");
        let hint = "set that clock; 'holdfast backups' lists backups in the order in which they were stored, and 'restore --backup' takes any";
        bad(Level::Warning, found, hint);
    }
    if let Some(Behind { backup, seconds }) = &status.behind {
        let found = format!("backup {backup} was taken by a host whose clock was {seconds} s behind the store's");
        let hint = "set that clock, or the store's; backups stand in the order of the store's clock, and their times are those of their hosts";
        bad(Level::Warning, found, hint);
    }
    if let Some(Unwatched { since }) = status.unwatched {
        let since = since.map_or_else(|| "yet".to_owned(), |since| format!("since {since}"));
        let hint = "it is the agent that looks: start 'holdfast agent', or look into its log";
        bad(Level::Warning, format!("nobody has looked whether it has changed {since}"), hint);
    }
    for run in status.last_backup.iter().chain(&status.last_expire) {
        if let Outcome::Failed { error, hint } = &run.outcome {
            let what = run.job.as_str();
            let found = format!("the last {what}, of {}, failed (attempt {}): {error}", run.started_at, run.attempt);
            bad(Level::Warning, found, hint.as_deref().unwrap_or("it is tried again"));
        }
    }
    if let (Some(rto), Some(newest)) = (objectives.rto, status.newest)
        && Duration::from_millis(newest.took_ms) > rto.0
    {
        let took = Duration::from_millis(newest.took_ms);
        let found = format!("the newest backup took {} s, longer than the rto of {} s", took.as_secs(), rto.0.as_secs());
        bad(Level::Warning, found, "a restore will hardly be faster: measure one, or raise the objective");
    }
    let streams = status.resource.kind() == crate::repository::ResourceKind::Postgres;
    if let (Some(rpo), Some(newest), false) = (objectives.rpo, status.newest, streams) {
        // What was looked at and had not changed is as good as backed up then.
        let looked = status.last_backup.as_ref().filter(|run| status.on_change.is_some() && run.succeeded());
        let proven = looked.map_or(newest.started_at, |run| run.started_at.max(newest.started_at));
        let age = Duration::try_from(now.duration_since(proven)).unwrap_or_default();
        if age > rpo.0 {
            let found = format!(
                "what is stored was last known to be up to date {} s ago, and the rpo is {} s",
                age.as_secs(),
                rpo.0.as_secs()
            );
            bad(Level::Critical, found, &backup);
        }
    }
    if findings.is_empty() && status.schedule.is_some() {
        let next = status.next_backup.map(|next| format!("; the next is due {next}")).unwrap_or_default();
        findings.push(Finding::ok(&object, format!("scheduled backups are on time{next}")));
    }
    if let (true, Some(on_change)) = (findings.is_empty(), &status.on_change) {
        findings.push(Finding::ok(&object, format!("it is backed up {on_change}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a valid time")
    }

    fn missed_at(newest: &str, now: &str) -> u32 {
        let schedule = "0 */6 * * *".parse().expect("a schedule");
        missed(&schedule, &jiff::tz::TimeZone::UTC, time(newest), time(now))
    }

    #[test]
    fn a_backup_is_overdue_an_hour_after_its_time() {
        assert_eq!(missed_at("2026-11-24T06:00:01Z", "2026-11-24T12:30:00Z"), 0);
        assert_eq!(missed_at("2026-11-24T06:00:01Z", "2026-11-24T13:00:01Z"), 1);
        assert_eq!(missed_at("2026-11-24T06:00:01Z", "2026-11-24T19:00:01Z"), 2);
    }

    fn status(missed: u32) -> UpkeepStatus {
        UpkeepStatus {
            resource: "files/configs".parse().expect("a name"),
            schedule: Some("0 */6 * * *".to_owned()),
            on_change: None,
            unwatched: None,
            next_backup: None,
            missed,
            newest: Some(Newest { started_at: time("2026-11-24T06:00:00Z"), took_ms: 5_400_000 }),
            of_the_future: None,
            behind: None,
            last_backup: None,
            last_expire: None,
        }
    }

    #[test]
    fn nobody_looking_is_noticed() {
        let every = OnChange::Every("30m".parse().expect("a duration"));
        let last = |started_at: &str| JobRun {
            job: Job::Backup,
            due_at: time(started_at),
            attempt: 1,
            started_at: time(started_at),
            took_ms: 1,
            host: String::new(),
            outcome: Outcome::Done { backup: None, remark: String::new() },
        };
        let at = |now: &str| unwatched(every, Some(&last("2026-11-24T06:00:00Z")), time(now));
        assert_eq!(at("2026-11-24T08:29:00Z"), None);
        assert_eq!(at("2026-11-24T08:31:00Z"), Some(Unwatched { since: Some(time("2026-11-24T06:00:00Z")) }));
        assert_eq!(unwatched(every, None, time("2026-11-24T08:00:00Z")), Some(Unwatched { since: None }));
        let unchanged =
            UpkeepStatus { last_backup: Some(last("2026-11-24T08:30:00Z")), on_change: Some(every.to_string()), ..status(0) };
        let objectives = Objectives { rto: None, rpo: Some("1h".parse().expect("a duration")) };
        let level = |status: &UpkeepStatus| {
            judge_upkeep(status, objectives, time("2026-11-24T09:00:00Z")).iter().map(|finding| finding.level).max()
        };
        assert_eq!(level(&unchanged), Some(Level::Ok), "it is as it was half an hour ago");
        assert_eq!(level(&UpkeepStatus { on_change: None, ..unchanged.clone() }), Some(Level::Critical));
        let unwatched = UpkeepStatus { unwatched: Some(Unwatched { since: None }), ..unchanged };
        assert_eq!(level(&unwatched), Some(Level::Warning));
    }

    #[test]
    fn what_is_late_and_what_misses_an_objective_is_said() {
        let level = |status: &UpkeepStatus, objectives| {
            let findings = judge_upkeep(status, objectives, time("2026-11-24T09:00:00Z"));
            findings.iter().map(|finding| finding.level).max().expect("a finding")
        };
        let objective = |rto: Option<&str>, rpo: Option<&str>| {
            let read = |text: &str| text.parse().expect("a duration");
            Objectives { rto: rto.map(read), rpo: rpo.map(read) }
        };
        assert_eq!(level(&status(0), Objectives::default()), Level::Ok);
        assert_eq!(level(&status(1), Objectives::default()), Level::Warning);
        assert_eq!(level(&status(2), Objectives::default()), Level::Critical);
        let ahead = UpkeepStatus { of_the_future: Some("20271124T060000Z-1".parse().expect("an id")), ..status(0) };
        assert_eq!(level(&ahead, Objectives::default()), Level::Warning);
        let behind = Behind { backup: "20261124T060000Z-1".parse().expect("an id"), seconds: 7200 };
        assert_eq!(level(&UpkeepStatus { behind: Some(behind), ..status(0) }, Objectives::default()), Level::Warning);
        assert_eq!(level(&status(0), objective(Some("1h"), Some("4h"))), Level::Warning);
        assert_eq!(level(&status(0), objective(Some("2h"), Some("2h"))), Level::Critical);
    }
}
