//! What an ErrorResponse means: its SQLSTATE together with what was being done. The text is never looked at.

use super::error::Failure;

/// What was being done when the server reported an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Logging in for replication.
    StartReplicationSession,
    /// Logging in for plain SQL.
    StartSqlSession,
    /// Any command or query.
    Command,
    /// `CREATE_REPLICATION_SLOT`, `READ_REPLICATION_SLOT`, `DROP_REPLICATION_SLOT`
    Slot,
    /// `TIMELINE_HISTORY`
    TimelineHistory,
    /// `START_REPLICATION`, before the server went into copy mode.
    StartReplication,
    /// In copy mode, before the first message.
    StreamStart,
    /// In copy mode, later.
    Streaming,
}

/// The failure that an SQLSTATE stands for (PostgreSQL documentation, appendix A; src/backend/replication/walsender.c, slot.c).
pub(super) fn classify(phase: Phase, sqlstate: &str) -> Failure {
    session(phase, sqlstate)
        .or_else(|| match phase {
            Phase::StartReplicationSession | Phase::StartSqlSession | Phase::Command => None,
            Phase::Slot => slot(sqlstate),
            Phase::TimelineHistory => (sqlstate == "58P01").then_some(Failure::NoHistoryFile),
            Phase::StartReplication | Phase::StreamStart | Phase::Streaming => stream(phase, sqlstate),
        })
        .unwrap_or(Failure::Server)
}

/// What can come at any time, and while logging in.
fn session(phase: Phase, sqlstate: &str) -> Option<Failure> {
    let sql = phase == Phase::StartSqlSession;
    let plain = sql || phase == Phase::Command;
    Some(match sqlstate {
        "28P01" => Failure::WrongPassword,
        "28000" => Failure::LoginRefused,
        "3D000" => Failure::NoSuchDatabase,
        "42501" if plain => Failure::PermissionDenied,
        "42501" => Failure::NoReplicationPrivilege,
        "53300" if plain => Failure::TooManyConnections,
        "53300" => Failure::TooManyWalSenders,
        "57P03" => Failure::ServerStarting,
        "57P01" | "57P02" => Failure::ServerShuttingDown,
        _ => return None,
    })
}

fn slot(sqlstate: &str) -> Option<Failure> {
    Some(match sqlstate {
        "42704" => Failure::SlotMissing,
        "42710" => Failure::SlotExists,
        "55006" => Failure::SlotInUse,
        "53400" => Failure::NoFreeSlot,
        "0A000" => Failure::SlotIsLogical,
        "55000" => Failure::WalLevelMinimal,
        _ => return None,
    })
}

/// walsender.c `StartReplication`: a position outside the history is refused before copy mode, one ahead of the end of WAL after
/// it has begun; both without an SQLSTATE of their own.
fn stream(phase: Phase, sqlstate: &str) -> Option<Failure> {
    Some(match (sqlstate, phase) {
        ("42704", _) => Failure::SlotMissing,
        ("55006", _) => Failure::SlotInUse,
        ("55000", _) => Failure::SlotLost,
        ("58P01", _) => Failure::WalRemoved,
        ("XX000", Phase::StartReplication) => Failure::NotInHistory,
        ("XX000", Phase::StreamStart) => Failure::AheadOfServer,
        _ => return None,
    })
}
