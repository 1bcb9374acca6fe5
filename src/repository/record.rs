//! Records: small JSON objects that `jq` and people can read, each with a hash of itself, so that an altered one is noticed.
//!
//! Invariant: a record that cannot be read never passes for one that is not there, and never keeps the others from being read.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, Result};
use crate::codec::Hash;
use crate::storage::{Failure, ObjectKey};

/// The last line but one of a record: the hash of everything before that line, as `head -n -2 FILE | b3sum` gives it.
const CHECK_START: &str = "  \"check\": \"";
const CHECK_END: &str = "\"\n}\n";
const CHECK_BYTES: usize = CHECK_START.len() + 64 + CHECK_END.len();

/// A record that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// Its key.
    pub object: String,
    /// What is wrong with it.
    pub detail: String,
    /// It is not there at all, though `detail` shows that it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
}

impl Damaged {
    /// What to do about one that is there.
    pub const HINT: &str = "bring it back from a copy of the repository; where there is none, move it out of the repository";

    /// What to do about one that is not.
    pub(super) const MISSING_HINT: &str =
        "bring it back from a copy of the repository, or run 'holdfast init' while that cluster runs, which writes it anew";

    /// A record that must have been there once.
    pub(super) fn missing(key: &ObjectKey, detail: String) -> Self {
        Self { object: key.to_string(), detail, missing: true }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        if self.missing { Self::MISSING_HINT } else { Self::HINT }
    }

    /// Of what went wrong with reading a record, what is the record's fault; everything else is an error for all of them.
    ///
    /// # Errors
    /// The error itself, where it is not the object's fault.
    pub fn of(key: &ObjectKey, error: Error) -> Result<Self> {
        let object = key.to_string();
        match error {
            Error::Malformed { detail, .. } => Ok(Self { object, detail, missing: false }),
            Error::Codec { source, .. } => Ok(Self { object, detail: source.to_string(), missing: false }),
            error @ Error::Misplaced { .. } => Ok(Self { object, detail: error.to_string(), missing: false }),
            Error::Storage(error) => match error.failure {
                Failure::Corrupt(detail) => Ok(Self { object, detail, missing: false }),
                _ => Err(error.into()),
            },
            other => Err(other),
        }
    }
}

impl From<&Damaged> for Error {
    fn from(damaged: &Damaged) -> Self {
        let (object, detail) = (damaged.object.clone(), damaged.detail.clone());
        if damaged.missing { Self::Missing { object, detail } } else { Self::Malformed { object, detail } }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.missing { "is missing" } else { "cannot be read" };
        write!(f, "{} {what}: {}", self.object, self.detail)
    }
}

/// What a listing of records found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The records that are as they were stored.
    pub records: Vec<T>,
    /// Those that are not.
    pub damaged: Vec<Damaged>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { records: Vec::new(), damaged: Vec::new() }
    }
}

/// A record as it is stored: indented JSON, the check last, ending in a new line.
pub(super) fn seal<T: Serialize>(value: &T) -> Bytes {
    let mut text = serde_json::to_vec_pretty(value).expect("records have string keys and no failing serializer");
    text.truncate(text.len() - "\n}".len());
    text.extend_from_slice(b",\n");
    let check = Hash::of(&text);
    text.extend_from_slice(format!("{CHECK_START}{check}{CHECK_END}").as_bytes());
    text.into()
}

/// Reads a record and checks its hash; one without a hash is of an earlier version and is taken as it is.
///
/// # Errors
/// `Error::Malformed`.
pub(super) fn open(key: &ObjectKey, bytes: &[u8]) -> Result<Value> {
    let malformed = |detail: String| Error::Malformed { object: key.to_string(), detail };
    let json: Value = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if json.get("check").is_none() {
        return Ok(json);
    }
    let (covered, check) = bytes.split_at(bytes.len().saturating_sub(CHECK_BYTES));
    let found = Hash::of(covered);
    if check == format!("{CHECK_START}{found}{CHECK_END}").as_bytes() {
        return Ok(json);
    }
    Err(malformed("it was altered after it was stored: its last line but one is not the hash of what stands before".into()))
}

/// Turns a record's JSON into what it stands for.
///
/// # Errors
/// `Error::Malformed`.
pub(super) fn value<T: for<'de> Deserialize<'de>>(key: &ObjectKey, json: Value) -> Result<T> {
    serde_json::from_value(json).map_err(|error| Error::Malformed { object: key.to_string(), detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> ObjectKey {
        ObjectKey::new("postgres/main/backups/x.json").unwrap()
    }

    fn record() -> Value {
        serde_json::json!({ "format": 1, "name": "x", "list": [{ "start": "0/1", "size": 7 }], "empty": {} })
    }

    #[test]
    fn a_sealed_record_is_json_with_a_check_that_b3sum_confirms() {
        let sealed = seal(&record());
        let text = String::from_utf8(sealed.to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let covered: String = lines[..lines.len() - 2].iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(lines[lines.len() - 2], format!("  \"check\": \"{}\"", Hash::of(covered.as_bytes())));
        let mut opened = open(&key(), &sealed).unwrap();
        opened.as_object_mut().unwrap().remove("check");
        assert_eq!(opened, record());
    }

    #[test]
    fn a_record_of_an_earlier_version_opens_without_a_check() {
        let plain = serde_json::to_vec_pretty(&record()).unwrap();
        assert_eq!(open(&key(), &plain).unwrap(), record());
    }

    #[test]
    fn a_record_that_somebody_edited_or_cut_short_is_refused() {
        let text = String::from_utf8(seal(&record()).to_vec()).unwrap();
        let compact = serde_json::from_str::<Value>(&text).unwrap().to_string();
        for altered in [text.replace("\"size\": 7", "\"size\": 8"), compact, text[..text.len() / 2].to_owned(), String::new()] {
            assert!(matches!(open(&key(), altered.as_bytes()), Err(Error::Malformed { .. })), "{altered}");
        }
    }

    proptest! {
        #[test]
        fn no_flipped_bit_changes_what_a_record_says(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let sealed = seal(&record());
            let mut bytes = sealed.to_vec();
            bytes[position.index(sealed.len())] ^= 1 << bit;
            if let Ok(mut json) = open(&key(), &bytes) {
                // What is left is damage to the word "check" alone.
                let fields = json.as_object_mut().unwrap();
                fields.retain(|name, _| record().get(name).is_some());
                prop_assert_eq!(json, record());
            }
        }
    }
}
