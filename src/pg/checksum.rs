//! The checksums of files in a backup manifest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// The algorithms of `MANIFEST_CHECKSUMS`, with PostgreSQL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumAlgorithm {
    /// `NONE`
    None,
    /// `CRC32C`, the server's default.
    #[default]
    Crc32c,
    /// `SHA224`
    Sha224,
    /// `SHA256`
    Sha256,
    /// `SHA384`
    Sha384,
    /// `SHA512`
    Sha512,
}

impl ChecksumAlgorithm {
    const ALL: [(Self, &'static str); 6] = [
        (Self::None, "NONE"),
        (Self::Crc32c, "CRC32C"),
        (Self::Sha224, "SHA224"),
        (Self::Sha256, "SHA256"),
        (Self::Sha384, "SHA384"),
        (Self::Sha512, "SHA512"),
    ];
}

impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(algorithm, _)| algorithm == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// A name that is not one of PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a checksum algorithm; PostgreSQL has NONE, CRC32C, SHA224, SHA256, SHA384 and SHA512")]
pub struct ParseChecksumAlgorithmError(pub String);

impl FromStr for ChecksumAlgorithm {
    type Err = ParseChecksumAlgorithmError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(algorithm, _)| *algorithm).ok_or_else(|| ParseChecksumAlgorithmError(text.to_owned()))
    }
}

impl Serialize for ChecksumAlgorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChecksumAlgorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The checksum of one file, while its content passes.
#[derive(Clone)]
pub enum FileChecksum {
    /// Nothing is computed.
    None,
    /// So far.
    Crc32c(u32),
    /// So far.
    Sha224(Box<Sha224>),
    /// So far.
    Sha256(Box<Sha256>),
    /// So far.
    Sha384(Box<Sha384>),
    /// So far.
    Sha512(Box<Sha512>),
}

impl FileChecksum {
    /// Begins a file.
    #[must_use]
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::None => Self::None,
            ChecksumAlgorithm::Crc32c => Self::Crc32c(0),
            ChecksumAlgorithm::Sha224 => Self::Sha224(Box::default()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Box::default()),
            ChecksumAlgorithm::Sha384 => Self::Sha384(Box::default()),
            ChecksumAlgorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    /// Adds the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            Self::Sha224(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum's bytes, as the manifest has them: the CRC-32C with its lowest byte first. Empty for `NONE`.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32c(crc) => crc.to_le_bytes().to_vec(),
            Self::Sha224(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha384(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
    }
    text
}

/// The bytes that hexadecimal digits of either case mean; `None` if they are not pairs of digits.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
        let mut checksum = FileChecksum::new(algorithm);
        bytes.chunks(3).for_each(|piece| checksum.update(piece));
        hex(&checksum.finish())
    }

    #[test]
    fn the_crc_is_written_lowest_byte_first() {
        // The content of PG_VERSION of version 15, and its checksum as a server wrote it.
        assert_eq!(of(ChecksumAlgorithm::Crc32c, b"15\n"), "8a744722");
    }

    #[test]
    fn each_sha_is_what_coreutils_computes() {
        for bits in [224, 256, 384, 512] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), b"some content").unwrap();
            let output = std::process::Command::new(format!("sha{bits}sum")).arg(file.path()).output().unwrap();
            let expected = String::from_utf8(output.stdout).unwrap();
            let found = of(format!("SHA{bits}").parse().unwrap(), b"some content");
            assert_eq!(Some(found.as_str()), expected.split_whitespace().next());
        }
    }

    #[test]
    fn names_are_postgresqls() {
        for name in ["NONE", "CRC32C", "SHA224", "SHA256", "SHA384", "SHA512"] {
            assert_eq!(name.parse::<ChecksumAlgorithm>().map(|algorithm| algorithm.to_string()), Ok(name.to_owned()));
        }
        assert!("MD5".parse::<ChecksumAlgorithm>().is_err());
    }

    proptest! {
        #[test]
        fn hex_and_back(bytes: Vec<u8>, text: String) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
            if let Some(bytes) = unhex(&text) {
                prop_assert_eq!(hex(&bytes), text.to_ascii_lowercase());
            }
        }
    }
}
