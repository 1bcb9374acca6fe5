//! One file of a backup manifest.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::ManifestError;
use crate::pg::checksum::{ChecksumAlgorithm, unhex};

/// A file that the backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Relative to the data directory; in a tablespace, below `pg_tblspc/OID`. It never leads out of the data directory.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// When it was last changed, as the server wrote it: `2026-11-22 07:05:25 GMT`.
    pub modified: String,
    /// The checksum's algorithm; `None` if the server computed none.
    pub algorithm: ChecksumAlgorithm,
    /// The checksum's bytes, to be compared with `FileChecksum::finish`.
    pub checksum: Vec<u8>,
}

/// As it stands in the JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(rename = "Path")]
    path: Option<String>,
    /// For a name that is no UTF-8, or with `MANIFEST 'force-encode'`: its bytes in hexadecimal.
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Last-Modified", default)]
    modified: String,
    #[serde(rename = "Checksum-Algorithm", default = "no_checksum")]
    algorithm: ChecksumAlgorithm,
    #[serde(rename = "Checksum", default)]
    checksum: String,
}

const fn no_checksum() -> ChecksumAlgorithm {
    ChecksumAlgorithm::None
}

impl TryFrom<Raw> for ManifestFile {
    type Error = ManifestError;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let shown = raw.path.as_ref().or(raw.encoded_path.as_ref()).cloned().unwrap_or_default();
        let error = |reason| ManifestError::Path { path: shown.clone(), reason };
        let path = match (raw.path, raw.encoded_path) {
            (Some(path), None) => PathBuf::from(path),
            (None, Some(digits)) => {
                let bytes = unhex(&digits).ok_or_else(|| error("is not hexadecimal"))?;
                OsString::from_vec(bytes).into()
            }
            _ => return Err(error("has not exactly one of Path and Encoded-Path")),
        };
        if !stays_inside(&path) {
            return Err(error("does not lie in the data directory"));
        }
        let checksum = unhex(&raw.checksum).ok_or_else(|| error("has a checksum that is not hexadecimal"))?;
        Ok(Self { path, size: raw.size, modified: raw.modified, algorithm: raw.algorithm, checksum })
    }
}

fn stays_inside(path: &Path) -> bool {
    let plain = |component: Component<'_>| matches!(component, Component::Normal(name) if !name.as_encoded_bytes().contains(&0));
    path.components().next().is_some() && path.components().all(plain)
}
