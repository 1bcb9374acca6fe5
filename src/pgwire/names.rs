//! A slot's name and a server's version, checked once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pg::{UnsupportedVersion, Version};

/// The name of a replication slot: 1 to 63 lower-case letters, digits and underscores (`ReplicationSlotValidateName`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName(String);

/// Text that no slot can be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' cannot name a replication slot: 1 to 63 lower-case letters, digits and underscores can")]
pub struct SlotNameError(pub String);

impl SlotName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SlotName {
    type Err = SlotNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let valid = (1..=63).contains(&text.len()) && text.bytes().all(fits);
        if valid { Ok(Self(text.to_owned())) } else { Err(SlotNameError(text.to_owned())) }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for SlotName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SlotName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a server says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    text: String,
    number: u32,
}

impl ServerVersion {
    /// Reads the parameter `server_version`: `15.20 (Debian 15.20-0+deb12u1)`, `19beta1`, `9.6.24`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |part: &str| part.bytes().take_while(u8::is_ascii_digit).count();
        let mut rest = text;
        let mut part = || {
            let length = digits(rest);
            let value = rest[..length].parse::<u32>().ok().filter(|value| *value < 10_000);
            rest = rest[length..].strip_prefix('.').unwrap_or("");
            value
        };
        let (major, second, third) = (part()?, part().unwrap_or(0), part().unwrap_or(0));
        let minor = if major >= 10 { second } else { second * 100 + third };
        Some(Self { text: text.to_owned(), number: major * 10_000 + minor })
    }

    /// As `server_version_num`: 150020.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Whether Holdfast handles it.
    ///
    /// # Errors
    /// It does not.
    pub fn require_supported(&self) -> Result<(), UnsupportedVersion> {
        Version::of_server(self.number).map(drop)
    }

    /// 15 for 15.20.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.number / 10_000
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_servers_print_them() {
        for (text, number) in
            [("15.20 (Debian 15.20-0+deb12u1)", 150_020), ("19beta1", 190_000), ("18.0", 180_000), ("9.6.24", 90_624)]
        {
            assert_eq!(ServerVersion::parse(text).map(|version| version.number()), Some(number), "{text}");
        }
        for text in ["", "devel", "é", ".5", "99999999999"] {
            assert_eq!(ServerVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_slot_name_needs_no_quoting() {
        assert!("holdfast_1".parse::<SlotName>().is_ok());
        for text in ["", "Holdfast", "a\"b", "a b", "a-b", "é", &"a".repeat(64)] {
            assert!(text.parse::<SlotName>().is_err(), "{text}");
        }
    }
}
