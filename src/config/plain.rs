//! Values that are written as text: durations and store URLs.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

/// A length of time, written as `500ms`, `1s`, `5m`, `2h`, `1d`; a day has 24 hours.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || format!("'{text}' is not a duration; write it as in 500ms, 1s, 5m, 2h or 1d");
        let span: jiff::Span = text.parse().map_err(|_| refused())?;
        let parsed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| refused())?;
        std::time::Duration::try_from(parsed).map(Self).map_err(|_| refused())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a repository lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreUrl {
    /// `file:///var/lib/holdfast`, or an absolute path.
    Directory(PathBuf),
    /// `s3://bucket/prefix`; the prefix may be empty and has no slash at its ends.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all keys begin with.
        prefix: String,
    },
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(format!("'{text}' names no bucket; write it as in s3://bucket/prefix"));
            }
            if bucket.contains('@') {
                return Err("the url holds user information; use access_key_id and secret_access_key".to_owned());
            }
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() });
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Directory(PathBuf::from(path)));
        }
        // It may be a URL with a password.
        let text = text.rsplit('@').next().unwrap_or_default();
        Err(format!("'{text}' is no store; write file:///absolute/path or s3://bucket/prefix"))
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A message that begins with the value gets the key before it.
        let with_key = |why: String| if why.starts_with('\'') { format!("url = {why}") } else { why };
        String::deserialize(deserializer)?.parse().map_err(|why| serde::de::Error::custom(with_key(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_password_is_refused_and_not_repeated() {
        for text in ["s3://key:hush@bucket/prefix", "ftp://user:hush@host/b"] {
            let message = text.parse::<StoreUrl>().expect_err("a wrong url");
            assert!(!message.contains("hush"), "{message}");
        }
    }

    #[test]
    fn urls_of_both_kinds() {
        for (text, shown) in [
            ("s3://b/p/q/", "s3://b/p/q"),
            ("s3://b", "s3://b"),
            ("file:///var/lib/holdfast", "file:///var/lib/holdfast"),
            ("/backups", "file:///backups"),
        ] {
            assert_eq!(text.parse::<StoreUrl>().map(|url| url.to_string()), Ok(shown.to_owned()));
        }
        for text in ["", "s3://", "backups", "file://backups", "gs://b"] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }
}
