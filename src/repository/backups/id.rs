//! What a backup is called.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id of a backup, such as `20261122T071500Z-0A00002800`: when it began, and something that sets it apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(String);

/// Text that cannot be a backup's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a backup id; 'holdfast backups' lists them")]
pub struct BackupIdError(String);

impl BackupId {
    /// The id of a backup begun at `started_at`; `mark` sets it apart from others of the same second.
    #[must_use]
    pub fn new(started_at: Timestamp, mark: u64) -> Self {
        Self(format!("{}-{mark:010X}", started_at.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// The second at which its backup was begun, by the clock of the host that took it, or by the store's where that was behind; none where it is
    /// no id that `new` makes.
    #[must_use]
    pub fn begun(&self) -> Option<Timestamp> {
        let (time, _) = self.0.split_once('-')?;
        DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(BackupIdError(text.to_owned())) }
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BackupId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_word() {
        for text in ["", "a/b", "..", "a b", "a.json"] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
        let id = BackupId::new("2026-11-22T07:15:00Z".parse().expect("a valid time"), 0x2800);
        assert_eq!(id.to_string(), "20261122T071500Z-0000002800");
        assert_eq!(id.begun(), Some("2026-11-22T07:15:00Z".parse().expect("a valid time")));
        assert_eq!(id.as_str().parse(), Ok(id));
    }
}
