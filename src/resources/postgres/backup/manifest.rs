//! PostgreSQL's `backup_manifest` as it arrives: every file that it lists is compared with what was sent.

use std::os::unix::ffi::OsStrExt;

use super::tally::Comparison;
use crate::pg::checksum::ChecksumAlgorithm;
use crate::pg::manifest::{Manifest, ManifestFile, ManifestParser};

/// A manifest on its way in.
pub struct ManifestReader {
    parser: ManifestParser,
    files: Comparison,
    /// A file that cannot be compared.
    incomparable: Option<String>,
}

impl ManifestReader {
    /// Begins a manifest, to be compared with `files`.
    pub fn new(files: Comparison) -> Self {
        Self { parser: ManifestParser::new(), files, incomparable: None }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Self { parser, files, incomparable } = self;
        let compare = |file: ManifestFile| match crc32c(&file) {
            Some(crc32c) => files.take(file.path.as_os_str().as_bytes(), file.size, crc32c),
            None => *incomparable = Some(format!("{} has a checksum of type {}", file.path.display(), file.algorithm)),
        };
        parser.feed(bytes, compare).map_err(|error| error.to_string())?;
        incomparable.take().map_or(Ok(()), Err)
    }

    /// Ends the manifest.
    ///
    /// # Errors
    /// When it is not complete or its own checksum is wrong.
    pub fn finish(self) -> Result<(Manifest, Comparison), String> {
        let manifest = self.parser.finish().map_err(|error| error.to_string())?;
        Ok((manifest, self.files))
    }
}

/// The checksum that was asked for; the manifest has its lowest byte first.
fn crc32c(file: &ManifestFile) -> Option<u32> {
    let bytes = file.checksum.as_slice().try_into().ok().map(u32::from_le_bytes);
    bytes.filter(|_| file.algorithm == ChecksumAlgorithm::Crc32c)
}
