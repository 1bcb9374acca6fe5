//! Reads PostgreSQL's `backup_manifest` as it arrives, and compares every file that it lists with what was sent.
//!
//! The server writes one file per line (`AddFileToBackupManifest` in backup_manifest.c), so that no more than a line is held.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::tally::Comparison;
use crate::pg::{Lsn, SystemId, TimelineId};

/// No line is longer: a path has at most 1024 bytes, twice as many in hexadecimal.
const LINE_BYTES_MAX: usize = 64 << 10;
/// What the last line begins with; the manifest's own checksum covers everything before it.
const CHECKSUM_LINE: &[u8] = b"\"Manifest-Checksum\": \"";

/// What the manifest says besides the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The cluster; from version 2 on (PostgreSQL 17).
    pub system_id: Option<SystemId>,
    /// The WAL that is needed.
    pub wal: Vec<WalRange>,
}

/// WAL that a backup needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct WalRange {
    /// On which timeline.
    #[serde(rename = "Timeline")]
    pub timeline: TimelineId,
    /// From where on.
    #[serde(rename = "Start-LSN")]
    pub start: Lsn,
    /// Up to where.
    #[serde(rename = "End-LSN")]
    pub end: Lsn,
}

/// One line of the list of files.
#[derive(Debug, Deserialize)]
struct ListedFile {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

/// A manifest on its way in.
pub struct ManifestReader {
    line: Vec<u8>,
    hash: Sha256,
    checksum: Option<String>,
    summary: Summary,
    files: Comparison,
}

impl ManifestReader {
    /// Begins a manifest, to be compared with `files`.
    pub fn new(files: Comparison) -> Self {
        Self { line: Vec::new(), hash: Sha256::new(), checksum: None, summary: Summary::default(), files }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() > LINE_BYTES_MAX {
                return Err("a line that is too long".into());
            }
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line)?;
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// Ends the manifest.
    ///
    /// # Errors
    /// When it is not complete or its own checksum is wrong.
    pub fn finish(self) -> Result<(Summary, Comparison), String> {
        let expected = self.checksum.ok_or("it has no checksum of its own")?;
        let found: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != expected {
            return Err(format!("its checksum is {found} instead of {expected}"));
        }
        Ok((self.summary, self.files))
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), String> {
        if self.checksum.is_some() {
            return Err("content after its end".into());
        }
        if let Some(rest) = line.strip_prefix(CHECKSUM_LINE) {
            let checksum = rest.strip_suffix(b"\"}\n").ok_or("an end that cannot be read")?;
            self.checksum = Some(String::from_utf8_lossy(checksum).into_owned());
            return Ok(());
        }
        self.hash.update(line);
        let content = line.trim_ascii();
        let content = content.strip_suffix(b",").unwrap_or(content);
        self.take_content(content).map_err(|detail| format!("line '{}': {detail}", content.escape_ascii()))
    }

    fn take_content(&mut self, line: &[u8]) -> Result<(), String> {
        let unreadable = |error: serde_json::Error| error.to_string();
        if line.starts_with(b"{ \"Path\"") || line.starts_with(b"{ \"Encoded-Path\"") {
            return self.take_file(serde_json::from_slice(line).map_err(unreadable)?);
        }
        if line.starts_with(b"{ \"Timeline\"") {
            self.summary.wal.push(serde_json::from_slice(line).map_err(unreadable)?);
            return Ok(());
        }
        if let Some(number) = line.strip_prefix(b"\"System-Identifier\": ") {
            self.summary.system_id = Some(serde_json::from_slice(number).map(SystemId).map_err(unreadable)?);
            return Ok(());
        }
        let version = line.strip_prefix(b"{ \"PostgreSQL-Backup-Manifest-Version\": ");
        let known =
            [&b"\"Files\": ["[..], b"]", b"\"WAL-Ranges\": [", b""].contains(&line) || matches!(version, Some(b"1" | b"2"));
        if known { Ok(()) } else { Err("it is not understood".into()) }
    }

    fn take_file(&mut self, file: ListedFile) -> Result<(), String> {
        let path = match (file.path, file.encoded_path) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(hex)) => from_hex(&hex).ok_or("a path that is not hexadecimal")?,
            _ => return Err("a file without one path".into()),
        };
        let crc32c = match (file.algorithm.as_deref(), file.checksum.as_deref().and_then(from_hex).as_deref()) {
            (Some("CRC32C"), Some(&[a, b, c, d])) => u32::from_le_bytes([a, b, c, d]),
            _ => return Err("a file without a CRC32C checksum".into()),
        };
        self.files.take(&path, file.size, crc32c);
        Ok(())
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
    hex.as_bytes().chunks(2).map(byte).collect()
}
