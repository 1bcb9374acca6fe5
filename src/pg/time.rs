//! PostgreSQL's `timestamptz`: microseconds since the beginning of the year 2000, UTC.

use jiff::Timestamp;

/// 2000-01-01 00:00:00 UTC, in microseconds of the Unix epoch (`POSTGRES_EPOCH_JDATE` in PostgreSQL's source).
const EPOCH_US: i64 = 946_684_800_000_000;

/// The moment `microseconds` after the epoch; the first or last that can be expressed, if that lies further off.
#[must_use]
pub fn from_postgres(microseconds: i64) -> Timestamp {
    let beyond = if microseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    microseconds.checked_add(EPOCH_US).and_then(|unix| Timestamp::from_microsecond(unix).ok()).unwrap_or(beyond)
}

/// The microseconds from the epoch to `time`, rounded towards the epoch of Unix.
#[must_use]
pub fn to_postgres(time: Timestamp) -> i64 {
    time.as_microsecond() - EPOCH_US
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_epoch_is_the_year_2000() {
        assert_eq!(from_postgres(0).to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(from_postgres(-1).to_string(), "1999-12-31T23:59:59.999999Z");
    }

    proptest! {
        #[test]
        fn any_number_is_some_moment(microseconds: i64) {
            let time = from_postgres(microseconds);
            prop_assert!(time == Timestamp::MIN || time == Timestamp::MAX || to_postgres(time) == microseconds);
        }
    }
}
