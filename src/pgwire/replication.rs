//! The commands of a physical replication connection.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::classify::Phase;
use super::connection::Connection;
use super::error::{Error, Failure, Result};
use super::{ResultSet, Row, ServerVersion, Stream};
use crate::pg::{Lsn, SegmentSize, SystemId, TimelineId};

/// A connection that was begun with `replication=true`.
#[derive(Debug)]
pub struct ReplicationConnection<S = Stream> {
    pub(super) connection: Connection<S>,
    version: ServerVersion,
}

/// What `IDENTIFY_SYSTEM` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SystemIdentity {
    /// Which cluster this is.
    pub system_id: SystemId,
    /// The timeline that the server is on.
    pub timeline: TimelineId,
    /// The end of the WAL: flushed on a primary, replayed on a standby.
    pub flushed: Lsn,
}

/// A timeline's history file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimelineHistoryFile {
    /// `00000002.history`
    pub name: String,
    /// Its bytes.
    pub content: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReplicationConnection<S> {
    /// Takes over a connection that has logged in.
    pub(super) fn new(connection: Connection<S>) -> Result<Self> {
        let reported = connection.parameter("server_version").unwrap_or_default();
        match ServerVersion::parse(reported) {
            Some(version) => Ok(Self { connection, version }),
            None => {
                let detail = format!("the server reports no version ('{}')", reported.escape_default());
                Err(connection.protocol_error("connecting", detail))
            }
        }
    }

    /// The server's address, for messages.
    #[must_use]
    pub fn server(&self) -> &str {
        self.connection.server()
    }

    /// The server's version.
    #[must_use]
    pub const fn server_version(&self) -> &ServerVersion {
        &self.version
    }

    pub(super) fn protocol_error(&self, doing: &str, detail: impl Into<String>) -> Error {
        self.connection.protocol_error(doing, detail)
    }

    pub(super) async fn run(&mut self, doing: &str, phase: Phase, command: &str) -> Result<Vec<ResultSet>> {
        self.connection.query(doing, phase, command).await
    }

    /// Runs a command that returns exactly one row.
    pub(super) async fn run_for_row(&mut self, doing: &str, phase: Phase, command: &str) -> Result<Row> {
        let results = self.run(doing, phase, command).await?;
        let row = results.into_iter().next().and_then(|result| result.rows.into_iter().next());
        row.ok_or_else(|| self.protocol_error(doing, "no row in the answer"))
    }

    /// Which cluster this is, on which timeline, and how far its WAL goes.
    ///
    /// # Errors
    /// What may befall any connection.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity> {
        const COMMAND: &str = "IDENTIFY_SYSTEM";
        let row = self.run_for_row(COMMAND, Phase::Command, COMMAND).await?;
        read_identity(&row).ok_or_else(|| self.protocol_error(COMMAND, format!("an answer that cannot be read: {row:?}")))
    }

    /// The value of a setting, as `SHOW` prints it. Settings that only superusers see need the role `pg_read_all_settings`.
    ///
    /// # Errors
    /// `Server` if there is no such setting, `PermissionDenied`, and what may befall any connection.
    pub async fn show(&mut self, setting: &str) -> Result<String> {
        let doing = format!("SHOW {setting}");
        let quoted = setting.replace('"', "\"\"");
        let row = self.run_for_row(&doing, Phase::Command, &format!("SHOW \"{quoted}\"")).await?;
        row.text(0).map(str::to_owned).ok_or_else(|| self.protocol_error(&doing, "a setting without a value"))
    }

    /// `wal_segment_size`.
    ///
    /// # Errors
    /// What may befall any connection.
    pub async fn wal_segment_size(&mut self) -> Result<SegmentSize> {
        let text = self.show("wal_segment_size").await?;
        let size = read_size(&text).and_then(|bytes| SegmentSize::try_from(bytes).ok());
        size.ok_or_else(|| self.protocol_error("SHOW wal_segment_size", format!("'{text}' is no segment size")))
    }

    /// The history file of a timeline. The first timeline has none, and is not asked for.
    ///
    /// # Errors
    /// `NoHistoryFile`, and what may befall any connection.
    pub async fn timeline_history(&mut self, timeline: TimelineId) -> Result<TimelineHistoryFile> {
        let doing = format!("TIMELINE_HISTORY {timeline}");
        if timeline <= TimelineId::FIRST {
            return Err(self.connection.error(&doing, Failure::NoHistoryFile));
        }
        let row = self.run_for_row(&doing, Phase::TimelineHistory, &doing).await?;
        let file = row.text(0).zip(row.bytes(1)).map(|(name, content)| (name.to_owned(), content.clone()));
        match file {
            Some((name, content)) if name == timeline.history_file_name() => Ok(TimelineHistoryFile { name, content }),
            _ => Err(self.protocol_error(&doing, "the answer is no history file of this timeline")),
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.connection.terminate().await;
    }
}

fn read_identity(row: &Row) -> Option<SystemIdentity> {
    Some(SystemIdentity {
        system_id: row.text(0)?.parse().ok()?,
        timeline: TimelineId(row.text(1)?.parse().ok()?),
        flushed: row.text(2)?.parse().ok()?,
    })
}

/// Reads a size as `SHOW` prints it: a number with one of the units B, kB, MB, GB (guc.c `memory_unit_conversion_table`).
fn read_size(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_show_prints_them() {
        assert_eq!(read_size("16MB"), Some(16 << 20));
        assert_eq!(read_size("1GB"), Some(1 << 30));
        for text in ["", "MB", "16 MB", "16mb", "é", "99999999999999999999"] {
            assert_eq!(read_size(text), None, "{text}");
        }
    }
}
