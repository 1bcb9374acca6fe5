//! Whether what was received belongs together.

use super::error::{Error, Result};
use super::receive::Received;
use crate::pg::SystemId;
use crate::pg::label::BackupLabel;
use crate::pg::manifest::WalRange;
use crate::repository::PackArchive;

/// The file that the server sends last, so that it is not older than anything else (`perform_base_backup` in basebackup.c).
const LAST_FILE: &[u8] = b"global/pg_control";

/// Refuses a backup whose parts contradict one another or are not all there. The files are compared elsewhere.
pub fn check(received: &Received, system_id: SystemId) -> Result<()> {
    let ((start, timeline), (stop, end_timeline)) = (received.start, received.end);
    if timeline != end_timeline {
        return Err(Error::TimelineChanged { start: timeline, end: end_timeline });
    }
    if let Some(other) = received.manifest.system_id.filter(|other| *other != system_id) {
        return Err(Error::Manifest { detail: format!("it is of the cluster {other}, not {system_id}") });
    }
    let needed = WalRange { timeline, start, end: stop };
    if received.manifest.wal_ranges != [needed] {
        let listed = &received.manifest.wal_ranges;
        return Err(Error::Manifest { detail: format!("it asks for other WAL than {start} to {stop}: {listed:?}") });
    }
    all_sent(received)
}

fn all_sent(received: &Received) -> Result<()> {
    let archives = received.tablespaces.iter().map(|tablespace| PackArchive::Tablespace(tablespace.oid));
    for archive in archives.chain([PackArchive::Base]) {
        if !received.sent.bytes.contains_key(&archive) {
            return Err(Error::Incomplete(format!("{archive} was not sent")));
        }
    }
    if received.sent.last_base_file != LAST_FILE {
        return Err(Error::Incomplete("global/pg_control was not sent last".into()));
    }
    label(received)
}

/// A cluster that starts without its label, or with another's, is corrupt.
fn label(received: &Received) -> Result<()> {
    let label = BackupLabel::parse(&received.sent.backup_label).map_err(|error| Error::Incomplete(error.to_string()))?;
    let ((start, timeline), incremental) = (received.start, label.incremental_from.is_some());
    if (label.start, label.timeline, incremental) == (start, timeline, false) {
        return Ok(());
    }
    Err(Error::Incomplete(format!("its backup_label begins at {} on timeline {}, not at {start}", label.start, label.timeline)))
}
