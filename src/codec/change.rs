//! Whether content changed, seen by who may not read it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Error;

/// The work of new digests: 32 MiB of memory and about a tenth of a second.
const WORK_FACTOR: u8 = 15;
/// More work than this is refused: 256 MiB.
const WORK_FACTOR_MAX: u8 = 18;
/// scrypt's block size and parallelism, as everywhere.
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 1;

/// A salted, memory-hard digest of content that is stored encrypted, written `scrypt:15:SALT:DIGEST`.
///
/// It may stand in the clear: an agent without an identity sees by it whether the content is still the same. A plain hash would let anybody try
/// guesses (a password of ten letters in a known file) by the billion; with this each guess takes a tenth of a second, for each object anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeDigest {
    work_factor: u8,
    salt: [u8; 16],
    digest: [u8; 32],
}

impl ChangeDigest {
    /// The digest of `content`, with a salt of its own. CPU-heavy: it is meant to be.
    ///
    /// # Errors
    /// `Encrypt` when the system has no randomness.
    pub fn of(content: &[u8]) -> Result<Self, Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| Error::Encrypt { reason: error.to_string() })?;
        Self::salted(content, salt, WORK_FACTOR)
    }

    /// Whether it is of this content. CPU-heavy.
    ///
    /// # Errors
    /// `Encrypt` when it cannot be computed.
    pub fn is_of(&self, content: &[u8]) -> Result<bool, Error> {
        Ok(Self::salted(content, self.salt, self.work_factor)? == *self)
    }

    fn salted(content: &[u8], salt: [u8; 16], work_factor: u8) -> Result<Self, Error> {
        let refused = |error: &dyn fmt::Display| Error::Encrypt { reason: error.to_string() };
        let mut digest = [0; 32];
        let work = scrypt::Params::new(work_factor, BLOCK_SIZE, PARALLELISM, digest.len()).map_err(|error| refused(&error))?;
        scrypt::scrypt(content, &salt, &work, &mut digest).map_err(|error| refused(&error))?;
        Ok(Self { work_factor, salt, digest })
    }
}

impl fmt::Display for ChangeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
        write!(f, "scrypt:{}:{}:{}", self.work_factor, encode(&self.salt), encode(&self.digest))
    }
}

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a digest of the form scrypt:WORK:SALT:DIGEST")]
pub struct ParseChangeDigestError(String);

impl FromStr for ChangeDigest {
    type Err = ParseChangeDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.strip_prefix("scrypt:")?.split(':');
            let work_factor = parts.next()?.parse().ok().filter(|work| (1..=WORK_FACTOR_MAX).contains(work))?;
            let mut decode = || BASE64_STANDARD_NO_PAD.decode(parts.next()?).ok();
            let (salt, digest) = (decode()?.try_into().ok()?, decode()?.try_into().ok()?);
            parts.next().is_none().then_some(Self { work_factor, salt, digest })
        };
        parse().ok_or_else(|| ParseChangeDigestError(text.to_owned()))
    }
}

impl Serialize for ChangeDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChangeDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_output_is_recognised_and_a_changed_one_is_not() {
        let digest: ChangeDigest = ChangeDigest::of(b"password: hunter2").unwrap().to_string().parse().unwrap();
        assert!(digest.is_of(b"password: hunter2").unwrap());
        assert!(!digest.is_of(b"password: hunter3").unwrap());
    }

    #[test]
    fn equal_outputs_cannot_be_seen_to_be_equal() {
        assert_ne!(ChangeDigest::of(b"").unwrap(), ChangeDigest::of(b"").unwrap());
    }

    /// The third vector of RFC 7914, section 12, cut to our length: the first 32 of its 64 bytes need no other computation.
    #[test]
    fn it_is_scrypt() {
        let work = scrypt::Params::new(14, BLOCK_SIZE, PARALLELISM, 32).unwrap();
        let mut digest = [0; 32];
        scrypt::scrypt(b"pleaseletmein", b"SodiumChloride", &work, &mut digest).unwrap();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2");
    }

    #[test]
    fn other_text_is_refused_before_any_work() {
        for text in
            ["", "scrypt:15::", "scrypt:40:AAAAAAAAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "md5:1:2:3"]
        {
            assert!(text.parse::<ChangeDigest>().is_err(), "{text}");
        }
    }
}
