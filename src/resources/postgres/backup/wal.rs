//! Waits until the WAL that a backup needs is in the repository.

use std::ops::Range;
use std::time::Duration;

use super::error::{Error, Result};
use super::progress::{Phase, Reporter};
use crate::pg::{Lsn, TimelineId};
use crate::repository::WalArchive;
use crate::resources::postgres::archive::coverage::stored_through;
use crate::sys::clock::Deadline;

/// How often the repository is asked.
const POLL: Duration = Duration::from_millis(250);

/// Waits until everything in `needed` is stored. Gives up when nothing was added for `patience`.
pub async fn wait(
    archive: &WalArchive,
    timeline: TimelineId,
    needed: Range<Lsn>,
    patience: Duration,
    progress: &Reporter,
) -> Result<()> {
    let (stop, mut reached) = (needed.end, needed.start);
    let mut deadline = Deadline::after(patience);
    loop {
        let coverage = stored_through(archive, timeline, reached..stop).await?;
        if coverage.end >= stop {
            return Ok(());
        }
        if coverage.end > reached {
            reached = coverage.end;
            deadline = Deadline::after(patience);
        }
        progress.phase(Phase::Wal { reached, stop });
        if deadline.has_passed() {
            return Err(Error::WalMissing { timeline, reached, stop, waited: patience, hole: coverage.resumes.is_some() });
        }
        tokio::time::sleep(POLL).await;
    }
}
