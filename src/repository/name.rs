//! Names of resources: `KIND/NAME`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What sort of thing is backed up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ResourceKind {
    /// A PostgreSQL cluster: base backups and WAL.
    Postgres,
    /// The objects of an S3 bucket.
    Bucket,
    /// The data of a Redis server.
    Redis,
    /// Trees of files.
    Files,
    /// The output of a program.
    Command,
    /// A logical dump of a PostgreSQL database.
    Dump,
}

impl ResourceKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Postgres, Self::Bucket, Self::Redis, Self::Files, Self::Command, Self::Dump];

    /// The kind as it stands in names, keys and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Bucket => "bucket",
            Self::Redis => "redis",
            Self::Files => "files",
            Self::Command => "command",
            Self::Dump => "dump",
        }
    }

    /// Whether a backup may need content that earlier backups have stored.
    #[must_use]
    pub const fn shares_content(self) -> bool {
        matches!(self, Self::Bucket)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One thing that is backed up, such as `postgres/main`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    kind: ResourceKind,
    name: String,
}

/// Text that names no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the name of a resource; it is written KIND/NAME, as in postgres/main (letters, digits, '-', '_' and '.')")]
pub struct ResourceNameError(pub String);

impl ResourceName {
    /// The resource of that kind and name.
    ///
    /// # Errors
    /// When the name is empty or has other characters than letters, digits, `-`, `_` and `.`.
    pub fn new(kind: ResourceKind, name: &str) -> Result<Self, ResourceNameError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = name.len() <= 100 && name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fits { Ok(Self { kind, name: name.to_owned() }) } else { Err(ResourceNameError(format!("{}/{name}", kind.as_str()))) }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Its name within the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ResourceName {
    type Err = ResourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/').and_then(|(kind, name)| Some((ResourceKind::parse(kind)?, name)));
        let (kind, name) = parts.ok_or_else(|| ResourceNameError(text.to_owned()))?;
        Self::new(kind, name)
    }
}

impl Serialize for ResourceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place() {
        for text in ["postgres/", "postgres/..", "postgres/a/b", "postgres/.a", "mysql/a", "main", "postgres/ä", "postgres/a b"]
        {
            assert!(text.parse::<ResourceName>().is_err(), "{text}");
        }
        assert_eq!("postgres/main-2.x_y".parse::<ResourceName>().map(|name| name.to_string()), Ok("postgres/main-2.x_y".into()));
    }

    #[test]
    fn every_kind_has_names() {
        for kind in ResourceKind::ALL {
            let name = ResourceName::new(kind, "a").expect("a name");
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }
}
