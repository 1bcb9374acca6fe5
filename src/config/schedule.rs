//! When something is done of itself: `schedule`, `on_change`, and what it has to keep to: `objectives`.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Duration;
use crate::codec::Hash;
use crate::sys::clock;

/// A cron expression, with a time zone and a jitter where they are given.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: Option<Zone>,
    /// The longest that a run is put off at random, so that many hosts do not begin at once.
    pub jitter: Duration,
}

/// A time zone by its name in the IANA database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub TimeZone);

/// What the process's system says of the time zone.
#[must_use]
pub fn system_time_zone() -> TimeZone {
    TimeZone::system()
}

impl Schedule {
    /// The first occurrence after `after`. `default` is the time zone where the schedule names none.
    ///
    /// On the night the clocks go forward, a time that does not exist is taken to be the first one after; on the night they go back,
    /// one that there is twice is taken once. `None` where there is none any more.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, default: &TimeZone) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.in_zone(after, default), false);
        next.ok().map(|next| next.timestamp())
    }

    /// The last occurrence at or before `until`; `None` where there is none.
    #[must_use]
    pub fn last_until(&self, until: Timestamp, default: &TimeZone) -> Option<Timestamp> {
        let previous = self.cron.find_previous_occurrence(&self.in_zone(until, default), true);
        previous.ok().map(|previous| previous.timestamp())
    }

    /// The moment at which what is due at `due_at` is begun: put off by the jitter, the same on every host. `seed` sets one resource apart from
    /// others. It is never put off so far that the next is due before it: then it would never come.
    #[must_use]
    pub fn begin_of(&self, due_at: Timestamp, default: &TimeZone, seed: &str) -> Timestamp {
        type Span = std::time::Duration;
        let next = self.next_after(due_at, default);
        let until_next = next.and_then(|next| Span::try_from(next.duration_since(due_at)).ok()).unwrap_or(Span::MAX);
        let span = u64::try_from(self.jitter.0.min(until_next).as_millis()).unwrap_or(u64::MAX);
        if span == 0 {
            return due_at;
        }
        let hash = Hash::of(format!("{seed}@{due_at}").as_bytes()).to_string();
        let chosen = u64::from_str_radix(&hash[..12], 16).unwrap_or(0) % span;
        due_at.checked_add(Span::from_millis(chosen)).unwrap_or(due_at)
    }

    /// The first moment after `now` at which something is begun.
    #[must_use]
    pub fn next_begin(&self, now: Timestamp, default: &TimeZone, seed: &str) -> Option<Timestamp> {
        let due = [self.last_until(now, default), self.next_after(now, default)];
        due.into_iter().flatten().map(|due_at| self.begin_of(due_at, default, seed)).find(|begin| *begin > now)
    }

    fn in_zone(&self, time: Timestamp, default: &TimeZone) -> Zoned {
        time.to_zoned(self.zone.as_ref().map_or(default, |zone| &zone.0).clone())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cron.as_str())?;
        self.zone.iter().filter_map(|zone| zone.0.iana_name()).try_for_each(|name| write!(f, " {name}"))
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| {
            format!("'{text}' is not a schedule: {why}; write minute, hour, day, month and weekday, as in \"0 */6 * * *\"")
        };
        let cron = Cron::from_str(text)
            .map_err(|error| wrong(wrong_field(text).unwrap_or_else(|| error.to_string().trim_end_matches('.').to_owned())))?;
        let schedule = Self { cron, zone: None, jitter: Duration::default() };
        match schedule.next_after(clock::now(), &TimeZone::UTC) {
            Some(_) => Ok(schedule),
            None => Err(format!("'{text}' never comes: there is no such day")),
        }
    }
}

/// Which field of a cron expression is wrong, which the parser does not say: the one that is refused between fields that leave everything open.
fn wrong_field(text: &str) -> Option<String> {
    const FIELDS: [(&str, &str); 5] = [
        ("minute", "0 to 59"),
        ("hour", "0 to 23"),
        ("day of the month", "1 to 31"),
        ("month", "1 to 12"),
        ("weekday", "0 to 7, where both ends are Sunday"),
    ];
    let fields: Vec<&str> = text.split_whitespace().collect();
    let is_wrong = |index: usize| {
        let mut alone = ["*"; FIELDS.len()];
        alone[index] = fields[index];
        Cron::from_str(&alone.join(" ")).is_err()
    };
    let wrong = (0..FIELDS.len()).find(|index| fields.len() == FIELDS.len() && is_wrong(*index))?;
    let (name, range) = FIELDS[wrong];
    Some(format!("'{}' cannot be the {name}, which is {range}", fields[wrong]))
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = |error| D::Error::custom(format!("{error}; write a name such as Europe/Berlin or UTC"));
        TimeZone::get(&name).map(Self).map_err(unknown)
    }
}

/// The long form: `{ cron = "...", time_zone = "...", jitter = "..." }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cron: String,
    time_zone: Option<Zone>,
    #[serde(default)]
    jitter: Duration,
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScheduleVisitor)
    }
}

struct ScheduleVisitor;

impl<'de> Visitor<'de> for ScheduleVisitor {
    type Value = Schedule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cron expression, or { cron = \"...\", time_zone = \"...\", jitter = \"...\" }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Schedule, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Schedule, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let plain: Schedule = table.cron.parse().map_err(A::Error::custom)?;
        Ok(Schedule { zone: table.time_zone, jitter: table.jitter, ..plain })
    }
}

/// How often that which is watched is looked at whatever the watch says: changes can be missed, and some file systems tell of none.
pub const LOOK_EVERY: std::time::Duration = std::time::Duration::from_mins(15);

/// `on_change`: the resource is looked at, and backed up when it is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// `true`: as soon as it changes, where that can be noticed.
    AtOnce,
    /// So often.
    Every(Duration),
}

impl OnChange {
    /// How often it is looked at, at the least.
    #[must_use]
    pub const fn every(self) -> std::time::Duration {
        match self {
            Self::AtOnce => LOOK_EVERY,
            Self::Every(every) => every.0,
        }
    }
}

impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("as soon as it changes"),
            Self::Every(every) => write!(f, "when it has changed, looked at every {} s", every.0.as_secs()),
        }
    }
}

impl<'de> Deserialize<'de> for OnChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnChangeVisitor)
    }
}

struct OnChangeVisitor;

impl Visitor<'_> for OnChangeVisitor {
    type Value = OnChange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, or how often to look, as in \"15m\"")
    }

    fn visit_bool<E: serde::de::Error>(self, yes: bool) -> Result<OnChange, E> {
        if yes { Ok(OnChange::AtOnce) } else { Err(E::custom("leave on_change out rather than write false")) }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OnChange, E> {
        match text.parse::<Duration>() {
            Ok(every) if every.0 >= std::time::Duration::from_secs(1) => Ok(OnChange::Every(every)),
            Ok(_) => Err(E::custom(format!("'{text}' is too short: look once a second at most"))),
            Err(error) => Err(E::custom(error)),
        }
    }
}

/// `objectives`: what the resource has to keep to; `check` says where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { rto = \"1h\", rpo = \"1m\" }")]
pub struct Objectives {
    /// The longest that bringing it back may take.
    pub rto: Option<Duration>,
    /// The most that may be lost, as a time.
    pub rpo: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a known zone")
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a valid time")
    }

    fn occurrences(cron: &str, from: &str, count: usize) -> Vec<String> {
        let schedule: Schedule = cron.parse().expect("a schedule");
        let mut at = time(from);
        let mut next = || {
            at = schedule.next_after(at, &zone("Europe/Berlin")).expect("an occurrence");
            at.to_string()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_time_that_the_clocks_skip_is_run_once_and_not_left_out() {
        let found = occurrences("30 2 * * *", "2027-03-27T12:00:00Z", 2);
        assert_eq!(found, ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]);
    }

    #[test]
    fn a_time_that_there_is_twice_is_run_once() {
        let found = occurrences("30 2 * * *", "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn every_six_hours_goes_by_the_clock_on_the_wall() {
        let found = occurrences("0 */6 * * *", "2027-03-27T22:00:00Z", 3);
        assert_eq!(found, ["2027-03-27T23:00:00Z", "2027-03-28T04:00:00Z", "2027-03-28T10:00:00Z"]);
    }

    #[test]
    fn the_last_occurrence_is_the_one_before_the_next() {
        let schedule: Schedule = "0 */6 * * *".parse().expect("a schedule");
        let last = schedule.last_until(time("2026-11-24T13:00:00Z"), &TimeZone::UTC);
        assert_eq!(last, Some(time("2026-11-24T12:00:00Z")));
        let itself = schedule.last_until(time("2026-11-24T12:00:00Z"), &TimeZone::UTC);
        assert_eq!(itself, Some(time("2026-11-24T12:00:00Z")));
    }

    #[test]
    fn what_is_put_off_is_next_until_it_has_begun() {
        let mut schedule: Schedule = "0 */6 * * *".parse().expect("a schedule");
        let (noon, evening) = (time("2026-11-24T12:00:00Z"), time("2026-11-24T18:00:00Z"));
        let next = |schedule: &Schedule, now| schedule.next_begin(now, &TimeZone::UTC, "postgres/main");
        assert_eq!((next(&schedule, time("2026-11-24T11:00:00Z")), next(&schedule, noon)), (Some(noon), Some(evening)));
        schedule.jitter = "1h".parse().expect("a duration");
        let begin = next(&schedule, time("2026-11-24T11:59:59Z")).expect("a next time");
        assert!(noon < begin && begin < time("2026-11-24T13:00:00Z"), "{begin}");
        assert_eq!(next(&schedule, noon), Some(begin), "it is due, and has not begun");
        assert!(next(&schedule, begin) > Some(evening));
    }

    #[test]
    fn a_schedule_that_can_never_run_is_refused() {
        let never = "0 0 31 2 *".parse::<Schedule>().expect_err("no such day");
        assert!(never.contains("never comes"), "{never}");
        let wrong = "every day".parse::<Schedule>().expect_err("no cron expression");
        assert!(wrong.contains("is not a schedule"), "{wrong}");
        for (text, why) in [
            ("0 25 * * *", "'25' cannot be the hour, which is 0 to 23;"),
            ("61 0 * * *", "'61' cannot be the minute, which is 0 to 59;"),
            ("0 0 * 13 *", "'13' cannot be the month, which is 1 to 12;"),
        ] {
            let wrong = text.parse::<Schedule>().expect_err("a field is out of its range");
            assert!(wrong.contains(why), "{wrong}");
        }
    }
}
