//! What is stored of a segment before a hole, for a server that needs no more than that.
//!
//! A server that recovers to a target, and comes to the end of the WAL before it, fails: "recovery ended before configured recovery
//! target was reached" (`PerformWalRecovery` in `access/transam/xlogrecovery.c`; since PostgreSQL 13). So the beginning of a segment cannot pass for
//! the end of the WAL there. To every other server a segment with a hole in it is none.

use std::fs;
use std::path::Path;

use super::deliver::assemble_first;
use super::error::Result;
use crate::pg::SegmentName;
use crate::repository::WalArchive;
use crate::resources::postgres::archive::coverage::contiguous_end;
use crate::resources::postgres::restore::settings::has_target;

/// Puts the stored beginning of a segment at `destination`, filled up with zeros, if the server of the current directory recovers to a
/// target; false where it does not, or nothing is stored.
pub(super) async fn deliver(archive: &WalArchive, segment: SegmentName, destination: &Path) -> Result<bool> {
    if !recovers_to_a_target(Path::new(".")) {
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

/// Whether a server that is started in `directory` recovers to a target. What its command line says instead is not known here, nor what a
/// file says that `postgresql.auto.conf` overrides.
fn recovers_to_a_target(directory: &Path) -> bool {
    let is_there = |name: &str| directory.join(name).exists();
    let automatic = fs::read_to_string(directory.join("postgresql.auto.conf")).unwrap_or_default();
    is_there("recovery.signal") && !is_there("standby.signal") && has_target(&automatic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_counts_only_where_the_server_recovers_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let (path, write) = (directory.path(), |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap());
        write("postgresql.auto.conf", "recovery_target_lsn = '0/5000028'\n");
        assert!(!recovers_to_a_target(path), "it does not recover");
        write("recovery.signal", "");
        assert!(recovers_to_a_target(path));
        for text in ["", "recovery_target_timeline = '2'\n", "recovery_target_lsn = '0/5000028'\nrecovery_target_lsn = ''\n"] {
            write("postgresql.auto.conf", text);
            assert!(!recovers_to_a_target(path), "{text}");
        }
        write("postgresql.auto.conf", "recovery_target_xid = 753\n");
        write("standby.signal", "");
        assert!(!recovers_to_a_target(path), "a standby goes on for ever");
    }
}
