//! Physical replication slots through the replication protocol.

use tokio::io::{AsyncRead, AsyncWrite};

use super::classify::Phase;
use super::error::Result;
use super::{ReplicationConnection, Row, SlotName};
use crate::pg::{Lsn, TimelineId};
use crate::sys::fail_point;

/// Whether a new slot holds WAL back at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservedWal {
    /// From the last checkpoint's redo position on (`RESERVE_WAL`).
    FromLastCheckpoint,
    /// Only from the first position on that a receiver reports.
    Nothing,
}

/// How long a new slot lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotKind {
    /// Until it is dropped.
    Permanent,
    /// As long as the connection that created it.
    Temporary,
}

/// Where a slot stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotPosition {
    /// The oldest WAL that it holds back; `None` if it holds back nothing, not yet or no longer. Not aligned to a segment.
    pub restart_lsn: Option<Lsn>,
    /// The timeline of that position.
    pub restart_timeline: Option<TimelineId>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReplicationConnection<S> {
    /// Creates a physical slot.
    ///
    /// # Errors
    /// `SlotExists`, `NoFreeSlot`, `WalLevelMinimal`, `NoReplicationPrivilege`, and what may befall any connection.
    pub async fn create_physical_slot(&mut self, name: &SlotName, kind: SlotKind, reserved: ReservedWal) -> Result<()> {
        let temporary = if kind == SlotKind::Temporary { " TEMPORARY" } else { "" };
        let reserve = match (reserved, self.server_version().major()) {
            (ReservedWal::Nothing, _) => "",
            (ReservedWal::FromLastCheckpoint, ..=14) => " RESERVE_WAL",
            (ReservedWal::FromLastCheckpoint, _) => " (RESERVE_WAL true)",
        };
        let command = format!("CREATE_REPLICATION_SLOT \"{name}\"{temporary} PHYSICAL{reserve}");
        let doing = format!("CREATE_REPLICATION_SLOT {name}");
        let reach = |point| fail_point::reach(point, || name.to_string());
        reach("slot.before").map_err(|error| self.protocol_error(&doing, error.to_string()))?;
        self.run(&doing, Phase::Slot, &command).await?;
        reach("slot.after").map_err(|error| self.protocol_error(&doing, error.to_string()))
    }

    /// Where a physical slot stands, `None` if there is no such slot. Needs PostgreSQL 15; before, ask
    /// `SqlConnection::replication_slot`.
    ///
    /// # Errors
    /// `SlotIsLogical`, and what may befall any connection.
    pub async fn read_slot(&mut self, name: &SlotName) -> Result<Option<SlotPosition>> {
        let doing = format!("READ_REPLICATION_SLOT {name}");
        let row = self.run_for_row(&doing, Phase::Slot, &format!("READ_REPLICATION_SLOT \"{name}\"")).await?;
        read_position(&row).map_err(|detail| self.protocol_error(&doing, detail))
    }

    /// Drops a slot that nobody uses.
    ///
    /// # Errors
    /// `SlotMissing`, `SlotInUse`, and what may befall any connection.
    pub async fn drop_slot(&mut self, name: &SlotName) -> Result<()> {
        let command = format!("DROP_REPLICATION_SLOT \"{name}\"");
        self.run(&format!("DROP_REPLICATION_SLOT {name}"), Phase::Slot, &command).await.map(drop)
    }
}

/// A missing slot is a row of NULLs (walsender.c `ReadReplicationSlot`).
fn read_position(row: &Row) -> std::result::Result<Option<SlotPosition>, String> {
    if row.bytes(0).is_none() {
        return Ok(None);
    }
    let restart_lsn = row.text(1).map(|text| text.parse::<Lsn>().map_err(|e| e.to_string())).transpose()?;
    let restart_timeline = row.text(2).map(|text| text.parse().map(TimelineId).map_err(|_| text.to_owned())).transpose()?;
    Ok(Some(SlotPosition { restart_lsn, restart_timeline }))
}
