//! The file that is pushed, read piece by piece on threads that may wait.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Error, Result};
use crate::pg::page::SegmentError;
use crate::pg::{SegmentName, SegmentSize};
use crate::sys::buffer::{buffer, into_bytes};

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

    /// Reads exactly these bytes. One read at a time: the file has one position.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let file = Arc::clone(&self.file);
        blocking(&self.path, move || {
            let wanted = range.end - range.start;
            let mut bytes = buffer(usize::try_from(wanted).map_err(io::Error::other)?);
            (&*file).seek(io::SeekFrom::Start(range.start))?;
            (&*file).take(wanted).read_to_end(&mut bytes)?;
            if bytes.len() as u64 == wanted { Ok(into_bytes(bytes)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
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
