//! Replication slots as plain SQL shows them (documentation, view `pg_replication_slots`).

use std::fmt;

use tokio_postgres::Row;

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

/// Who streams from a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotHolder {
    /// Its server process.
    pub pid: i32,
    /// What it calls itself; none where it ended just now.
    pub application_name: Option<String>,
    /// The role that it logged in as.
    pub role: Option<String>,
    /// Where it connects from: none over a Unix socket, and where the role that asks may not see it.
    pub address: Option<String>,
}

impl fmt::Display for SlotHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.application_name.as_deref() {
            None | Some("") => f.write_str("a connection without a name (")?,
            Some(name) => write!(f, "'{name}' (")?,
        }
        self.role.iter().try_for_each(|role| write!(f, "role {role}, "))?;
        self.address.iter().try_for_each(|address| write!(f, "from {address}, "))?;
        write!(f, "server process {})", self.pid)
    }
}

/// A slot as the server sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotState {
    /// Whether it is a physical slot.
    pub physical: bool,
    /// Whether somebody streams from it.
    pub active: bool,
    /// Who does.
    pub holder: Option<SlotHolder>,
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
    /// The state of a slot; `None` if there is no such slot. Needs no privilege: names and roles of other sessions are shown to everybody
    /// (`pg_stat_get_activity` in `utils/adt/pgstatfuncs.c`).
    ///
    /// # Errors
    /// As `query`.
    pub async fn replication_slot(&self, name: &SlotName) -> Result<Option<SlotState>> {
        let doing = format!("looking up the slot {name}");
        let reason = if self.server_version().major() >= 17 { "invalidation_reason" } else { "NULL::text" };
        let statement = format!(
            "SELECT slot_type = 'physical' AS physical, active, restart_lsn::text AS restart_lsn, wal_status, safe_wal_size, \
             {reason} AS invalidation_reason, active_pid, application_name, usename::text AS role, \
             pg_catalog.host(client_addr) AS address FROM pg_catalog.pg_replication_slots \
             LEFT JOIN pg_catalog.pg_stat_activity ON pid = active_pid WHERE slot_name = $1::text"
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
            holder: self.slot_holder(&doing, row)?,
            restart_lsn: restart_lsn.map_err(|error| self.error(&doing, Failure::Protocol(format!("{error}"))))?,
            wal_status: self.get::<Option<&str>>(&doing, row, "wal_status")?.and_then(read_status),
            safe_wal_size: self.get(&doing, row, "safe_wal_size")?,
            invalidation_reason: self.get(&doing, row, "invalidation_reason")?,
        }))
    }

    fn slot_holder(&self, doing: &str, row: &Row) -> Result<Option<SlotHolder>> {
        let Some(pid) = self.get::<Option<i32>>(doing, row, "active_pid")? else { return Ok(None) };
        Ok(Some(SlotHolder {
            pid,
            application_name: self.get(doing, row, "application_name")?,
            role: self.get(doing, row, "role")?,
            address: self.get(doing, row, "address")?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_slot_is_shown_as_far_as_it_is_known() {
        let holder = |application_name: Option<&str>, address: Option<&str>| SlotHolder {
            pid: 7,
            application_name: application_name.map(str::to_owned),
            role: application_name.map(|_| "backup".to_owned()),
            address: address.map(str::to_owned),
        };
        let seen = holder(Some("pg_receivewal"), Some("10.0.0.2")).to_string();
        assert_eq!(seen, "'pg_receivewal' (role backup, from 10.0.0.2, server process 7)");
        assert_eq!(holder(None, None).to_string(), "a connection without a name (server process 7)");
    }
}
