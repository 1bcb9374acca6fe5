//! The file that is pushed, read piece by piece on threads that may wait.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Error, Result};
use crate::pg::page::SegmentError;
use crate::pg::{SegmentName, SegmentSize};

/// An opened file. What is read comes from one and the same file, whatever happens to its name.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
}

impl SourceFile {
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let owned = path.to_owned();
        blocking(path, move || {
            let file = File::open(&owned)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is not a file"));
            }
            Ok(Self { path: owned, file: Arc::new(file), length: metadata.len() })
        })
        .await
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Reads exactly these bytes.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let file = Arc::clone(&self.file);
        blocking(&self.path, move || {
            let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(Bytes::from(bytes))
        })
        .await
    }

    pub(super) fn check_length(&self, name: SegmentName, size: SegmentSize) -> Result<()> {
        let (expected, found) = (size.bytes(), self.length);
        if expected == found { Ok(()) } else { Err(SegmentError::WrongSize { name, expected, found }.into()) }
    }

    pub(super) fn malformed(&self, detail: String) -> Error {
        Error::Malformed { path: self.path.clone(), detail }
    }
}

/// Runs a reader on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
    done.map_err(|source| Error::Read { path: path.to_owned(), source })
}
