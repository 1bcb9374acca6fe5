//! Whether a server wrote the WAL that is stored under its name: a copy of it (a clone, a restored copy, an old primary) has the same system
//! identifier and, until one of the two is promoted, the same timeline.

use super::agreement::{Agreement, Contradiction, Offer, Refusal};
use super::piece::{piece_bytes, piece_start, slice_of};
use crate::pg::{Lsn, SegmentName, SegmentNumber, TimelineId};
use crate::pgwire::{self, Failure, ReplicationConnection, WalEvent};
use crate::repository::{self, WalArchive, WalObject};
use crate::sys::buffer::{buffer, into_bytes};
use crate::sys::places::place_for;

/// What came of the comparison.
#[derive(Debug)]
pub enum Origin {
    /// Everything stored there holds what the server has.
    Same,
    /// It holds something else.
    Other(Contradiction),
    /// It could not be compared; why.
    Unknown(String),
}

/// Compares the WAL of a server that ends at `end`, as far back as its segment (of a large one the last piece) reaches, with what is stored
/// of it. It is enough to compare the end: two servers that went different ways write different records from there on, and each record names
/// the position of the one before it.
///
/// # Errors
/// When the server or the store fails.
pub async fn origin_of(
    archive: &WalArchive,
    mut connection: ReplicationConnection,
    timeline: TimelineId,
    end: Lsn,
) -> std::result::Result<Origin, OriginError> {
    let size = archive.segment_size();
    let last = Lsn(end.0.saturating_sub(1));
    let start = piece_start(last, size);
    let flushed = connection.identify_system().await?.flushed;
    let until = Lsn(flushed.0.min(start.0 + piece_bytes(size)));
    let _place = place_for(archive.room_for(until.bytes_since(start))).await;
    let plain = match received(connection, timeline, start, until).await {
        Err(error) if matches!(error.failure(), Failure::WalRemoved) => return Ok(Origin::Unknown(error.to_string())),
        received => received?,
    };
    let reached = Lsn(start.0 + plain.len() as u64);
    if reached < end {
        return Ok(Origin::Unknown(format!("the server sent its WAL up to {reached} only, and the backup ends at {end}")));
    }
    let segment = SegmentName::new(timeline, SegmentNumber::containing(last, size), size);
    let slice = slice_of(segment, &(start..reached), size);
    let range = slice.bytes.clone();
    let offer = Offer { object: WalObject::Slice(slice), segment, range, plain: into_bytes(plain), around: None };
    match Agreement::new(archive.clone()).compare_with_stored(&offer).await {
        Ok(()) => Ok(Origin::Same),
        Err(Refusal::Contradiction(found)) => Ok(Origin::Other(found)),
        Err(Refusal::Repository(error)) => Err(error.into()),
        Err(refusal @ (Refusal::Unreadable { .. } | Refusal::Moving(_))) => Ok(Origin::Unknown(refusal.to_string())),
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The server failed.
    #[error(transparent)]
    Server(#[from] pgwire::Error),
    /// The store failed.
    #[error(transparent)]
    Repository(#[from] repository::Error),
}

/// The server's WAL from `start` to `until`; less where its timeline ends before.
async fn received(connection: ReplicationConnection, timeline: TimelineId, start: Lsn, until: Lsn) -> pgwire::Result<Vec<u8>> {
    let wanted = usize::try_from(until.bytes_since(start)).unwrap_or(0);
    let mut plain = buffer(wanted);
    let mut stream = connection.start_replication(None, start, timeline).await?;
    while plain.len() < wanted {
        match stream.next().await? {
            WalEvent::XLogData { bytes, .. } => plain.extend_from_slice(&bytes[..bytes.len().min(wanted - plain.len())]),
            WalEvent::Keepalive { .. } => {}
            WalEvent::TimelineEnd { .. } | WalEvent::Closed => break,
        }
    }
    Ok(plain)
}
