//! Whose file it is: by the control file of the data directory in which it lies, and by the segment's own header.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read::{SourceFile, blocking};
use super::{Error, Result};
use crate::pg::SystemId;
use crate::pg::WalFileName;
use crate::pg::control::{ControlFile, ControlFileError};
use crate::pg::page::{LONG_HEADER_BYTES, LongHeader};

/// How often a control file is read again that the server was writing at that moment.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The cluster that the file says it is of; `None` where nothing says so.
pub(super) async fn of_file(file: &SourceFile, name: WalFileName) -> Result<Option<SystemId>> {
    let directory = of_directory(file.path()).await?;
    let header = match name {
        WalFileName::Segment(_) | WalFileName::Partial(_) if file.length() >= LONG_HEADER_BYTES as u64 => {
            let bytes = file.read(0..LONG_HEADER_BYTES as u64).await?;
            LongHeader::parse(&bytes).map(|header| header.system_id)
        }
        _ => None,
    };
    // Where both are known the segment is checked against the directory's by `check_segment`, which says more.
    Ok(directory.or(header))
}

/// The cluster of the data directory whose `pg_wal` the file lies in.
pub(super) async fn of_directory(path: &Path) -> Result<Option<SystemId>> {
    let Some(control) = control_file_beside(path) else { return Ok(None) };
    for attempt in 1.. {
        let read = control.clone();
        let bytes = blocking(&control, move || match std::fs::read(read) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        });
        let Some(bytes) = bytes.await? else { return Ok(None) };
        match ControlFile::parse(&bytes) {
            Ok(file) => return Ok(Some(file.system_id)),
            Err(ControlFileError::Checksum { .. }) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
            Err(source) => return Err(Error::ControlFile { path: control, source }),
        }
    }
    Ok(None)
}

/// `pg_wal/NAME` lies beside `global/pg_control`.
fn control_file_beside(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    (folder.file_name()? == "pg_wal").then(|| folder.parent().map(|data| data.join("global/pg_control")))?
}
