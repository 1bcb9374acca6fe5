//! How long backups are kept: `keep` and `keep_wal`.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use serde::{Deserialize, Deserializer};

/// The shortest time that it makes sense to keep anything for.
const SHORTEST: SignedDuration = SignedDuration::from_hours(1);

/// A span of days, weeks, months or years as well as of hours, written as `12h`, `30d`, `8w`, `6mo`, `1y`.
#[derive(Clone, Copy, Debug)]
pub struct Period(Span);

impl Period {
    /// The moment that lies so far before `now`, by the calendar of its time zone.
    #[must_use]
    pub fn before(&self, now: &Zoned) -> Timestamp {
        now.checked_sub(self.0).map_or(Timestamp::MIN, |time| time.timestamp())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::str::FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || format!("'{text}' is not a length of time; write it as in 12h, 30d, 8w, 6mo or 1y");
        let span: Span = text.parse().map_err(|_| refused())?;
        if !span.is_positive() {
            return Err(refused());
        }
        let (period, now) = (Self(span), Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC));
        // Whoever writes 1m most likely means a month, and would keep next to nothing.
        if now.timestamp().duration_since(period.before(&now)) < SHORTEST {
            return Err(format!("'{text}' is less than an hour: 'm' stands for minutes; months are written as in 1mo"));
        }
        Ok(period)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `keep`: a backup is kept when any of these wants it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "KeepTable")]
pub struct Keep {
    /// Every backup of this time, and the one before it, so that its beginning can be restored too.
    pub within: Option<Period>,
    /// So many of the newest, at least, however old they are; never zero.
    pub at_least: u32,
    /// So many of the newest.
    pub last: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many weeks.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { within = \"30d\", at_least = 2 } (last, daily, weekly, monthly, yearly)"
)]
struct KeepTable {
    within: Option<Period>,
    at_least: Option<u32>,
    #[serde(default)]
    last: u32,
    #[serde(default)]
    daily: u32,
    #[serde(default)]
    weekly: u32,
    #[serde(default)]
    monthly: u32,
    #[serde(default)]
    yearly: u32,
}

impl TryFrom<KeepTable> for Keep {
    type Error = String;

    fn try_from(table: KeepTable) -> Result<Self, Self::Error> {
        let KeepTable { within, at_least, last, daily, weekly, monthly, yearly } = table;
        let rules = [at_least.unwrap_or(0), last, daily, weekly, monthly, yearly];
        if within.is_none() && rules.iter().all(|count| *count == 0) {
            return Err("this retention would keep nothing; write it as in { within = \"30d\", at_least = 2 }".to_owned());
        }
        if at_least == Some(0) {
            return Err("at_least = 0 would keep nothing once no new backup succeeds; it is at least 1".to_owned());
        }
        Ok(Self { within, at_least: at_least.unwrap_or(1), last, daily, weekly, monthly, yearly })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_goes_by_the_calendar() {
        let now: Zoned = "2026-03-31T12:00:00+02:00[Europe/Berlin]".parse().expect("a time");
        let before = |text: &str| text.parse::<Period>().expect("a period").before(&now).to_string();
        assert_eq!(before("30d"), "2026-03-01T11:00:00Z");
        assert_eq!(before("1mo"), "2026-02-28T11:00:00Z");
        assert_eq!(before("1h"), "2026-03-31T09:00:00Z");
        for wrong in ["", "0d", "-1d", "soon", "30"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
        for short in ["1m", "59m", "30s"] {
            let refused = short.parse::<Period>().expect_err("too short");
            assert!(refused.contains("months are written as in 1mo"), "{refused}");
        }
    }
}
