//! What stands in the clear in front of an encrypted object: the first stanza of its age header.
//!
//! ```text
//! age-encryption.org/v1
//! -> holdfast
//! (JSON in base64, 64 characters a line)
//! -> X25519 ...
//! ```

use std::collections::HashSet;

use age_core::format::{FileKey, Stanza};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::codec::envelope::{CHECK_BYTES, check_text};
use crate::codec::{Error, FORMAT, Hash, Part};

/// So many bytes from the beginning of an encrypted object, or all of it, hold the whole preface.
pub const PREFACE_BYTES: usize = 6 << 10;

/// What every age file begins with.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// The first stanza of an age file that is an object of ours.
const STANZA: &[u8] = b"-> holdfast\n";
/// The stanza's type.
const TAG: &str = "holdfast";
/// The JSON's size at most.
const JSON_BYTES_MAX: usize = 4096;
/// age breaks base64 into lines of this many characters; the last one is shorter.
const LINE_BYTES: usize = 64;

/// What is known of an encrypted object without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preface {
    /// The format of the object; see `FORMAT`.
    pub format: u32,
    /// What kind of object it is.
    pub kind: String,
    /// The last part of its key.
    pub name: String,
    /// Who can open it, as `Recipients::names` names them.
    pub recipients: Vec<String>,
    /// What is said of the content. Nothing where that could help to guess it.
    #[serde(flatten)]
    pub revealed: Option<Revealed>,
}

/// What is known of the content of an encrypted object without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revealed {
    /// Its size before compression, in bytes.
    pub size: u64,
    /// Its BLAKE3 hash. Whoever guesses the content right sees so by it: only for content that cannot be guessed.
    pub blake3: Hash,
    /// What else; its shape depends on the kind.
    pub about: serde_json::Value,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Whether an object is an age file.
#[must_use]
pub fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl Preface {
    /// Reads the preface from the first bytes of an object; `PREFACE_BYTES` of them, or the whole object, are enough.
    ///
    /// # Errors
    /// `NotAnEnvelope`, `Truncated`, `Altered`, `NewerFormat`, `Malformed`.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let foreign = Error::NotAnEnvelope { reason: "it is an age file without Holdfast's stanza" };
        let rest = bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(STANZA));
        let json = stanza_body(rest.ok_or(foreign)?, bytes.len())?;
        let (covered, recorded) = json.split_at(json.len().saturating_sub(CHECK_BYTES));
        let computed = check_text(covered);
        if recorded != computed.as_bytes() {
            let (expected, found) = (String::from_utf8_lossy(recorded).into_owned(), computed);
            return Err(Error::Altered { part: Part::Header, expected, found });
        }
        let FormatOnly { format } = serde_json::from_slice(&json).map_err(malformed)?;
        if format > FORMAT {
            return Err(Error::NewerFormat { found: format, known: FORMAT });
        }
        serde_json::from_slice(&json).map_err(malformed)
    }

    /// The JSON, which ends in its own checksum.
    fn json(&self) -> Result<Vec<u8>, Error> {
        let mut json = serde_json::to_vec(self).map_err(malformed)?;
        json.pop();
        let check = check_text(&json);
        json.extend_from_slice(check.as_bytes());
        let size = json.len();
        if size > JSON_BYTES_MAX {
            return Err(Error::TooLarge { part: Part::Header, size: size as u64, size_max: JSON_BYTES_MAX as u64 });
        }
        Ok(json)
    }

    /// As the first of an age file's recipients.
    pub(super) fn stanza(&self) -> Result<PrefaceStanza, Error> {
        self.json().map(PrefaceStanza)
    }
}

/// The decoded body of a stanza that begins at `rest`; `found` is how many bytes of the object there are.
fn stanza_body(rest: &[u8], found: usize) -> Result<Vec<u8>, Error> {
    let truncated = || Error::Truncated { expected: found as u64 + 1, found: found as u64 };
    let mut encoded: Vec<u8> = Vec::new();
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").ok_or_else(truncated)?;
        encoded.extend_from_slice(line);
        if encoded.len() > JSON_BYTES_MAX * 4 / 3 + 4 || line.len() > LINE_BYTES {
            return Err(malformed("it is too long"));
        }
        if line.len() < LINE_BYTES {
            return BASE64_STANDARD_NO_PAD.decode(encoded).map_err(malformed);
        }
    }
    Err(truncated())
}

#[allow(clippy::needless_pass_by_value)] // the signature that map_err calls
fn malformed(reason: impl ToString) -> Error {
    Error::Malformed { part: Part::Header, reason: reason.to_string() }
}

/// The preface where age expects someone to encrypt to: it takes no part in that, and gets its place under the header's MAC.
pub(super) struct PrefaceStanza(Vec<u8>);

impl age::Recipient for PrefaceStanza {
    fn wrap_file_key(&self, _: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let stanza = Stanza { tag: TAG.to_owned(), args: Vec::new(), body: self.0.clone() };
        Ok((vec![stanza], HashSet::new()))
    }
}
