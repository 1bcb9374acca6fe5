//! Where recovery is to end, as it was asked for.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

use crate::pg::recovery::{RecoveryTarget, TargetAction, TargetTimeline};
use crate::repository::BackupId;

/// Everything that decides where recovery ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The target.
    pub target: RecoveryTarget,
    /// Whether what lies exactly at the target is left out.
    pub exclusive: bool,
    /// The timeline to follow.
    pub timeline: TargetTimeline,
    /// What happens there.
    pub action: TargetAction,
    /// The backup to begin with; chosen where none is given.
    pub backup: Option<BackupId>,
}

impl Wanted {
    /// The end of the archive, on the latest timeline.
    pub const END: Self = Self {
        target: RecoveryTarget::EndOfWal,
        exclusive: false,
        timeline: TargetTimeline::Latest,
        action: TargetAction::Promote,
        backup: None,
    };
}

/// Text that names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It says neither how far from UTC it is meant nor in which zone.
    #[error("'{text}' has no offset from UTC and no time zone; write it as in '{example}' or '{zoned}'")]
    NoOffset {
        /// What was given.
        text: String,
        /// The same with an offset.
        example: String,
        /// The same with a zone.
        zoned: String,
    },
    /// In that zone the clocks showed it twice or never, because they were changed.
    #[error("'{text}' is not one moment: the clocks of {zone} were changed then; write it with an offset, as in '{example}'")]
    Ambiguous {
        /// What was given.
        text: String,
        /// The zone.
        zone: String,
        /// The same with an offset.
        example: String,
    },
    /// It is further from UTC than any clock.
    #[error("'{0}' has an offset from UTC that no clock has; the largest that PostgreSQL knows is 15:59")]
    Offset(String),
    /// No zone has that name.
    #[error(
        "'{text}' names the time zone '{zone}', which is not known here; check the spelling (as in 'Europe/Berlin'), or write the time with an offset, as in '{example}'"
    )]
    UnknownZone {
        /// What was given.
        text: String,
        /// The zone.
        zone: String,
        /// The same with an offset.
        example: String,
    },
    /// It is no time at all.
    #[error("'{0}' is not a time; write it as in '2026-11-22 14:30:00+01' or '2026-11-22 14:30:00 Europe/Berlin'")]
    NotATime(String),
}

/// No offset is as large, in seconds.
const OFFSET_S_MAX: i32 = 16 * 3600;

/// Reads a moment: with an offset (`2026-11-22 14:30:00+01`, `2026-11-22T13:30:00Z`) or a zone (`2026-11-22 14:30:00 Europe/Berlin`).
/// Cut to microseconds, which is what PostgreSQL knows.
///
/// # Errors
/// When it is no time, or does not say which moment it means.
pub fn parse_time(text: &str) -> Result<Timestamp, TimeError> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return if is_offset_known(text) { Ok(in_microseconds(time)) } else { Err(TimeError::Offset(text.to_owned())) };
    }
    if let Ok(civil) = civil(text)
        && !text.contains('[')
    {
        let example = format!("{}+01", civil.strftime("%F %T"));
        let zoned = format!("{} Europe/Berlin", civil.strftime("%F %T"));
        return Err(TimeError::NoOffset { text: text.to_owned(), example, zoned });
    }
    let not_a_time = || TimeError::NotATime(text.to_owned());
    let (head, tail) = text.trim_end_matches(']').rsplit_once([' ', '[']).ok_or_else(not_a_time)?;
    let civil = civil(head.trim()).map_err(|_| not_a_time())?;
    let (given, name, example) = (text.to_owned(), tail.to_owned(), format!("{}+01", civil.strftime("%F %T")));
    let Ok(zone) = TimeZone::get(tail) else {
        let is_a_name = looks_like_a_zone(tail);
        return Err(if is_a_name { TimeError::UnknownZone { text: given, zone: name, example } } else { not_a_time() });
    };
    let ambiguous = TimeError::Ambiguous { text: given, zone: name, example };
    zone.to_ambiguous_timestamp(civil).unambiguous().map(in_microseconds).map_err(|_| ambiguous)
}

/// Whether a word is meant for the name of a zone: neither half of a day nor an offset.
fn looks_like_a_zone(word: &str) -> bool {
    let is_half = ["am", "pm"].iter().any(|half| word.eq_ignore_ascii_case(half));
    !is_half && word.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Whether an offset is one that PostgreSQL takes (`MAX_TZDISP_HOUR` in `datetime.h`).
fn is_offset_known(text: &str) -> bool {
    let offset = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
    offset.is_none_or(|offset| offset.seconds().abs() < OFFSET_S_MAX)
}

fn civil(text: &str) -> Result<DateTime, jiff::Error> {
    text.parse()
}

fn in_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_with_an_offset_or_a_zone_is_one_moment() {
        for text in [
            "2026-11-22T13:30:00Z",
            "2026-11-22 13:30:00Z",
            "2026-11-22 14:30:00+01",
            "2026-11-22 14:30+01:00",
            "2026-11-22 13:30:00 UTC",
            "2026-11-22 14:30:00 Europe/Berlin",
            "2026-11-22T14:30:00[Europe/Berlin]",
            " 2026-11-22 13:30:00.0000001+00 ",
        ] {
            assert_eq!(parse_time(text).map(|time| time.to_string()), Ok("2026-11-22T13:30:00Z".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_time_without_an_offset_is_refused_with_an_example() {
        let message = parse_time("2026-11-22 14:30").expect_err("no offset").to_string();
        assert!(message.contains("'2026-11-22 14:30:00+01'"), "{message}");
    }

    #[test]
    fn a_time_that_the_clocks_showed_twice_or_never_is_refused() {
        for text in ["2026-10-25 02:30:00 Europe/Berlin", "2026-03-29 02:30:00 Europe/Berlin"] {
            assert!(matches!(parse_time(text), Err(TimeError::Ambiguous { .. })), "{text}");
        }
    }

    #[test]
    fn a_zone_that_is_not_known_is_named() {
        for text in ["2026-11-22 14:30:00 Europe/Pariss", "2026-11-22T14:30:00[Europe/Pariss]"] {
            let message = parse_time(text).expect_err("no such zone").to_string();
            assert!(message.contains("time zone 'Europe/Pariss', which is not known"), "{message}");
            assert!(message.contains("'2026-11-22 14:30:00+01'"), "{message}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "14:30", "2026-13-01 00:00:00Z", "2026-11-22 02:30 PM", "2026-11-22 14:30:00 99"] {
            assert!(matches!(parse_time(text), Err(TimeError::NotATime(_))), "{text}: {:?}", parse_time(text));
        }
    }
}
