//! The records of interest: ends of transactions, restore points, changes of settings, and switches.
//!
//! Sources: `XLogRecord` in PostgreSQL's `access/xlogrecord.h`, `xl_xact_commit` and what follows it in `access/xact.h`,
//! `ParseCommitRecord` and `ParseAbortRecord` in `rmgrdesc/xactdesc.c`, `xl_restore_point` and `xl_parameter_change` in
//! `access/xlog_internal.h`.

use jiff::Timestamp;

use crate::pg::bytes::{i64_at, u32_at};
use crate::pg::time::from_postgres;
use crate::pg::version::Version;

/// `SizeOfXLogRecord`.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// Enough of a commit, abort or restore point to hold what is wanted of it: 13 bytes of block headers and 72 of content.
const KEPT_BYTES: usize = 96;
/// Of the end of a prepared transaction, whose id comes last.
const KEPT_BYTES_PREPARED: usize = 8192;

/// What a record is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit { prepared: bool },
    Abort { prepared: bool },
    RestorePoint,
    Parameters,
    Switch,
    Other,
}

impl Kind {
    /// From `xl_info`, whose upper four bits are the operation, and `xl_rmid`: 0 is the WAL itself, 1 transactions.
    pub(super) const fn of(info: u8, resource_manager: u8) -> Self {
        match (resource_manager, info & 0xF0) {
            (0, 0x40) => Self::Switch,
            (0, 0x60) => Self::Parameters,
            (0, 0x70) => Self::RestorePoint,
            // The highest bit of a transaction's record says that there is more than a time (XLOG_XACT_HAS_INFO).
            (1, 0x00 | 0x80) => Self::Commit { prepared: false },
            (1, 0x30 | 0xB0) => Self::Commit { prepared: true },
            (1, 0x20 | 0xA0) => Self::Abort { prepared: false },
            (1, 0x40 | 0xC0) => Self::Abort { prepared: true },
            _ => Self::Other,
        }
    }

    /// How many bytes behind the record's header must be kept.
    pub(super) const fn kept_bytes(self) -> usize {
        match self {
            Self::Commit { prepared: true } | Self::Abort { prepared: true } => KEPT_BYTES_PREPARED,
            Self::Commit { prepared: false } | Self::Abort { prepared: false } | Self::RestorePoint | Self::Parameters => {
                KEPT_BYTES
            }
            Self::Switch | Self::Other => 0,
        }
    }
}

/// The record's own data, behind the headers of its parts. `None` if it refers to blocks, which none of ours does.
pub(super) fn main_data(body: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        at += match *body.get(at)? {
            0xFF => return body.get(at + 2..),
            0xFE => return body.get(at + 5..),
            0xFD => 3,
            0xFC => 5,
            _ => return None,
        };
    }
}

/// The time that the record's data begin with.
pub(super) fn time(data: &[u8]) -> Option<Timestamp> {
    i64_at(data, 0).map(from_postgres)
}

/// Whether the settings in `xl_parameter_change` have `wal_level = minimal`, which is 0. Five settings of four bytes stand before it.
pub(super) fn is_minimal(data: &[u8]) -> bool {
    u32_at(data, 20) == Some(0)
}

/// The name of a restore point: at most 63 bytes and a zero. What is no UTF-8 is shown as U+FFFD.
pub(super) fn restore_point_name(data: &[u8]) -> Option<String> {
    let name = data.get(8..)?;
    let name = name.get(..64).unwrap_or(name).split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The id of a prepared transaction, which stands behind all lists of variable length in the record of its commit or rollback
/// (`xl_xact_abort` has the same, but for the invalidation messages).
pub(super) fn prepared_xid(data: &[u8], version: &Version) -> Option<u32> {
    let info = u32_at(data, 8)?;
    let has = |bit: u32| info & (1 << bit) != 0;
    let list = |at: usize, item: usize| {
        let count = usize::try_from(u32_at(data, at)?).ok()?;
        count.checked_mul(item)?.checked_add(at + 4)
    };
    let mut at = 12;
    if has(0) {
        at += 8; // database and tablespace
    }
    // Subtransactions, relation files, dropped statistics, invalidation messages.
    for (bit, item) in [(1, 4), (2, 12), (8, version.dropped_stats_bytes), (3, 16)] {
        if has(bit) {
            at = list(at, item)?;
        }
    }
    if has(4) { u32_at(data, at) } else { None }
}
