//! Replication slots as plain SQL shows them (documentation, view `pg_replication_slots`).

use super::{Result, SqlConnection};
use crate::pg::Lsn;
use crate::pgwire::{Failure, SlotName};

/// Whether the WAL that a slot holds back is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalStatus {
    /// It is, within `max_wal_size`.
    Reserved,
    /// It is, beyond `max_wal_size`.
    Extended,
    /// It is about to be removed.
    Unreserved,
    /// It is gone: the slot is of no more use.
    Lost,
}

/// A slot as the server sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotState {
    /// Whether it is a physical slot.
    pub physical: bool,
    /// Whether somebody streams from it.
    pub active: bool,
    /// The oldest WAL that it holds back.
    pub restart_lsn: Option<Lsn>,
    /// Whether that WAL is still there; `None` before the slot holds anything back.
    pub wal_status: Option<WalStatus>,
    /// How many bytes may still be written before the slot is in danger; `None` without `max_slot_wal_keep_size`.
    pub safe_wal_size: Option<i64>,
    /// Why the slot is of no more use, since PostgreSQL 17.
    pub invalidation_reason: Option<String>,
}

impl SqlConnection {
    /// The state of a slot; `None` if there is no such slot. Needs no privilege.
    ///
    /// # Errors
    /// As `query`.
    pub async fn replication_slot(&self, name: &SlotName) -> Result<Option<SlotState>> {
        let doing = format!("looking up the slot {name}");
        let reason = if self.server_version().major() >= 17 { "invalidation_reason" } else { "NULL::text" };
        let statement = format!(
            "SELECT slot_type = 'physical' AS physical, active, restart_lsn::text AS restart_lsn, wal_status, safe_wal_size, \
             {reason} AS invalidation_reason FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text"
        );
        let rows = self.query(&doing, &statement, &[&name.as_str()]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let restart_lsn: Option<&str> = self.get(&doing, row, "restart_lsn")?;
        let restart_lsn = restart_lsn.map(str::parse).transpose();
        Ok(Some(SlotState {
            physical: self.get(&doing, row, "physical")?,
            active: self.get(&doing, row, "active")?,
            restart_lsn: restart_lsn.map_err(|error| self.error(&doing, Failure::Protocol(format!("{error}"))))?,
            wal_status: self.get::<Option<&str>>(&doing, row, "wal_status")?.and_then(read_status),
            safe_wal_size: self.get(&doing, row, "safe_wal_size")?,
            invalidation_reason: self.get(&doing, row, "invalidation_reason")?,
        }))
    }
}

fn read_status(text: &str) -> Option<WalStatus> {
    Some(match text {
        "reserved" => WalStatus::Reserved,
        "extended" => WalStatus::Extended,
        "unreserved" => WalStatus::Unreserved,
        "lost" => WalStatus::Lost,
        _ => return None,
    })
}
