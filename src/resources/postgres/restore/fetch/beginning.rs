//! What is stored of a segment before a hole, for a server that needs no more than that.
//!
//! A server that recovers to a target, and comes to the end of the WAL before it, fails: "recovery ended before configured recovery
//! target was reached" (`PerformWalRecovery` in `access/transam/xlogrecovery.c`; since PostgreSQL 13). So the beginning of a segment cannot pass for
//! the end of the WAL there. To every other server a segment with a hole in it is none.

use std::path::Path;

use super::deliver::assemble_first;
use super::error::Result;
use super::recovering::Recovering;
use crate::pg::SegmentName;
use crate::repository::WalArchive;
use crate::resources::postgres::archive::coverage::contiguous_end;

/// Puts the stored beginning of a segment at `destination`, filled up with zeros, if the server of the current directory recovers to a
/// target; false where it does not, or nothing is stored.
pub(super) async fn deliver(archive: &WalArchive, segment: SegmentName, destination: &Path) -> Result<bool> {
    if !Recovering::here().to_a_target {
        return Ok(false);
    }
    let stored = archive.slices(segment).await?;
    let ranges: Vec<_> = stored.iter().map(|slice| slice.bytes.clone()).collect();
    let end = contiguous_end(&ranges, 0);
    if end == 0 {
        return Ok(false);
    }
    tracing::warn!(%segment, bytes = end, "the segment is not whole, and WAL behind it is lost; its beginning is delivered to a server that recovers to a target");
    assemble_first(archive, segment, end, &stored, destination).await
}
