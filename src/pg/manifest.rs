//! `backup_manifest`: read in pieces, one file at a time, so that memory does not grow with the number of files.
//!
//! Invariants: the manifest's own checksum is computed over the bytes as they came, never over anything written anew. What a
//! manifest says of a file counts only after `finish` has found that checksum right; until then it is hearsay.
//!
//! Sources: PostgreSQL's documentation, "Backup Manifest Format"; `common/parse_manifest.c`; `AddFileToBackupManifest` and
//! `SendBackupManifest` in `backup/backup_manifest.c`.

mod file;
mod split;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::checksum::{hex, unhex};
use super::{Lsn, SystemId, TimelineId};
pub use file::ManifestFile;
use split::{Splitter, Token};

/// What a manifest says of the whole backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// 1, or since PostgreSQL 17, 2.
    pub version: u32,
    /// The cluster; only in version 2.
    pub system_id: Option<SystemId>,
    /// How many files it lists.
    pub files: u64,
    /// How many bytes these have together.
    pub bytes: u64,
    /// The WAL that the backup needs to become consistent.
    pub wal_ranges: Vec<WalRange>,
    /// The SHA-256 of the manifest, which `finish` has compared.
    pub checksum: [u8; 32],
}

/// A stretch of WAL that the backup needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct WalRange {
    /// On which timeline.
    #[serde(rename = "Timeline")]
    pub timeline: TimelineId,
    /// From here.
    #[serde(rename = "Start-LSN")]
    pub start: Lsn,
    /// To here.
    #[serde(rename = "End-LSN")]
    pub end: Lsn,
}

/// A manifest that PostgreSQL's own programs would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON that a manifest is.
    #[error("the backup manifest is not valid at byte {offset}: {reason}")]
    Syntax {
        /// The offset of the byte.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// It ends too early.
    #[error("the backup manifest is truncated after {length} bytes")]
    Truncated {
        /// Its length.
        length: u64,
    },
    /// A version that this program does not know.
    #[error("the backup manifest has version {found}; versions 1 and 2 are known")]
    Version {
        /// Its version.
        found: u32,
    },
    /// A file that no backup has.
    #[error("the backup manifest lists {path:?}, which {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It was altered.
    #[error("the backup manifest was altered: its SHA-256 is {found} instead of {expected}")]
    Checksum {
        /// What it says itself.
        expected: String,
        /// What its content gives.
        found: String,
    },
}

/// More stretches of WAL than timelines that a backup could have seen.
const WAL_RANGES_MAX: usize = 1024;

/// Reads a manifest that arrives in pieces.
#[derive(Debug, Default)]
pub struct ManifestParser {
    splitter: Splitter,
    hasher: Sha256,
    /// Whether the checksum has begun, which is not part of what it covers.
    checksum_begun: bool,
    key: String,
    version: Option<u32>,
    system_id: Option<SystemId>,
    files: u64,
    bytes: u64,
    wal_ranges: Vec<WalRange>,
    checksum: Option<[u8; 32]>,
}

impl ManifestParser {
    /// Begins a manifest.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and hands every file that they complete to `sink`.
    ///
    /// # Errors
    /// Anything but `Truncated` and `Checksum`. The parser cannot go on after an error.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(ManifestFile)) -> Result<(), ManifestError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, token) = self.splitter.next(rest)?;
            let (here, behind) = rest.split_at(used);
            // The key of the checksum begins behind what the checksum covers. A key is hashed when it is known which it is.
            if !self.checksum_begun && !self.splitter.in_key() && !matches!(token, Some(Token::Key(_))) {
                self.hasher.update(here);
            }
            rest = behind;
            if let Some(token) = token {
                self.take(token, &mut sink)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, token: Token, sink: &mut impl FnMut(ManifestFile)) -> Result<(), ManifestError> {
        match token {
            Token::Key(raw) => {
                self.key = self.read(&raw)?;
                self.checksum_begun |= self.key == "Manifest-Checksum";
                if !self.checksum_begun {
                    self.hasher.update(&raw);
                }
                Ok(())
            }
            Token::Value(raw) => self.take_value(&raw),
            Token::Element(raw) if self.key == "Files" => {
                let file: ManifestFile = self.read::<file::Raw>(&raw)?.try_into()?;
                self.files += 1;
                self.bytes = self.bytes.saturating_add(file.size);
                sink(file);
                Ok(())
            }
            Token::Element(raw) if self.key == "WAL-Ranges" && self.wal_ranges.len() < WAL_RANGES_MAX => {
                let range = self.read(&raw)?;
                self.wal_ranges.push(range);
                Ok(())
            }
            Token::Element(_) => Err(self.syntax(format!("a list '{}', or one too long", self.key))),
        }
    }

    fn take_value(&mut self, raw: &[u8]) -> Result<(), ManifestError> {
        match self.key.as_str() {
            "PostgreSQL-Backup-Manifest-Version" => {
                let found = self.read(raw)?;
                self.version = Some(found);
                if (1..=2).contains(&found) { Ok(()) } else { Err(ManifestError::Version { found }) }
            }
            "System-Identifier" => {
                self.system_id = Some(SystemId(self.read(raw)?));
                Ok(())
            }
            "Manifest-Checksum" => {
                let digits: String = self.read(raw)?;
                let checksum = unhex(&digits).and_then(|bytes| bytes.try_into().ok());
                self.checksum = Some(checksum.ok_or_else(|| self.syntax("a checksum that is no SHA-256".to_owned()))?);
                Ok(())
            }
            other => Err(self.syntax(format!("an unknown field '{other}'"))),
        }
    }

    fn read<'a, T: Deserialize<'a>>(&self, json: &'a [u8]) -> Result<T, ManifestError> {
        serde_json::from_slice(json).map_err(|error| self.syntax(error.to_string()))
    }

    fn syntax(&self, reason: String) -> ManifestError {
        ManifestError::Syntax { offset: self.splitter.offset(), reason }
    }

    /// Ends the manifest, and checks that it is complete and unaltered.
    ///
    /// # Errors
    /// `Truncated`, `Checksum`.
    pub fn finish(self) -> Result<Manifest, ManifestError> {
        let truncated = ManifestError::Truncated { length: self.splitter.offset() };
        let (Some(version), Some(expected), true) = (self.version, self.checksum, self.splitter.is_complete()) else {
            return Err(truncated);
        };
        let found: [u8; 32] = self.hasher.finalize().into();
        if found != expected {
            return Err(ManifestError::Checksum { expected: hex(&expected), found: hex(&found) });
        }
        let Self { system_id, files, bytes, wal_ranges, .. } = self;
        Ok(Manifest { version, system_id, files, bytes, wal_ranges, checksum: expected })
    }
}

#[cfg(test)]
mod tests;
