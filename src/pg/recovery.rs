//! How a restored server is told where to stop, and which files no restored server may have.
//!
//! Sources: PostgreSQL's documentation of recovery targets, `guc-file.l` for the quoting, `basebackup.c` for the files.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

use super::{Lsn, TimelineId};

/// Where recovery ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value")]
pub enum RecoveryTarget {
    /// When there is no more WAL.
    #[default]
    EndOfWal,
    /// As soon as the backup is consistent.
    Immediate,
    /// At the last commit before (or, if not inclusive, the first at) this time.
    Time(Timestamp),
    /// At this position.
    Lsn(Lsn),
    /// At the commit of this transaction.
    Xid(u32),
    /// At the restore point of this name.
    Name(String),
}

impl RecoveryTarget {
    /// The setting and its value; `None` for the end of the WAL, which needs no setting.
    #[must_use]
    pub fn setting(&self) -> Option<(&'static str, String)> {
        match self {
            Self::EndOfWal => None,
            Self::Immediate => Some(("recovery_target", "immediate".to_owned())),
            Self::Time(time) => Some(("recovery_target_time", time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string())),
            Self::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            Self::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
            Self::Name(name) => Some(("recovery_target_name", name.clone())),
        }
    }
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfWal => f.write_str("the end of the archive"),
            Self::Immediate => f.write_str("the first consistent point"),
            Self::Time(time) => write!(f, "{time}"),
            Self::Lsn(lsn) => write!(f, "LSN {lsn}"),
            Self::Xid(xid) => write!(f, "transaction {xid}"),
            Self::Name(name) => write!(f, "restore point '{name}'"),
        }
    }
}

/// Which timeline recovery follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetTimeline {
    /// The latest that descends from the backup's.
    #[default]
    Latest,
    /// The backup's own.
    Current,
    /// This one.
    Id(TimelineId),
}

/// What the server does when it has reached the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetAction {
    /// Waits for a person to look, read-only.
    Pause,
    /// Begins a new timeline and takes writes.
    #[default]
    Promote,
    /// Stops.
    Shutdown,
}

/// A word that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{found}' is not one of: {allowed}")]
pub struct ParseTargetError {
    /// The word.
    pub found: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl FromStr for TargetTimeline {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        match (text, number(text)) {
            ("latest", _) => Ok(Self::Latest),
            ("current", _) => Ok(Self::Current),
            (_, Some(id)) if id > 0 => Ok(Self::Id(TimelineId(id))),
            _ => Err(ParseTargetError { found: text.to_owned(), allowed: "latest, current, the number of a timeline" }),
        }
    }
}

impl fmt::Display for TargetTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Current => f.write_str("current"),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl FromStr for TargetAction {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pause" => Ok(Self::Pause),
            "promote" => Ok(Self::Promote),
            "shutdown" => Ok(Self::Shutdown),
            _ => Err(ParseTargetError { found: text.to_owned(), allowed: "pause, promote, shutdown" }),
        }
    }
}

impl fmt::Display for TargetAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "pause",
            Self::Promote => "promote",
            Self::Shutdown => "shutdown",
        })
    }
}

/// Everything a server is told about its recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverySettings {
    /// The command that fetches a WAL file.
    pub restore_command: String,
    /// Where recovery ends.
    pub target: RecoveryTarget,
    /// Whether the target itself is included.
    pub inclusive: bool,
    /// Which timeline it follows.
    pub timeline: TargetTimeline,
    /// What happens at the target.
    pub action: TargetAction,
}

impl RecoverySettings {
    /// The settings by PostgreSQL's names, in the order in which they must be written.
    ///
    /// What the original's configuration says of other targets is cleared, because two targets are an error. So is clearing
    /// one when another is already set (`error_multiple_recovery_targets`): the target comes last.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        const TARGETS: [&str; 5] =
            ["recovery_target", "recovery_target_time", "recovery_target_lsn", "recovery_target_xid", "recovery_target_name"];
        let target = self.target.setting();
        let others = TARGETS.into_iter().filter(|name| target.as_ref().is_none_or(|(set, _)| set != name));
        let mut settings: Vec<_> = others.map(|name| (name, String::new())).collect();
        settings.push(("restore_command", self.restore_command.clone()));
        settings.push(("recovery_target_inclusive", if self.inclusive { "on" } else { "off" }.to_owned()));
        settings.push(("recovery_target_timeline", self.timeline.to_string()));
        settings.push(("recovery_target_action", self.action.to_string()));
        settings.extend(target);
        settings
    }
}

/// The lines of a configuration file that make these settings.
#[must_use]
pub fn write_settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    settings.into_iter().map(|(name, value)| format!("{name} = {}\n", quote_setting(value))).collect()
}

/// A value between quotes, as a line of `postgresql.conf` or `postgresql.auto.conf` wants it.
#[must_use]
pub fn quote_setting(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for character in value.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// Directories whose content a base backup leaves out, and that a restored cluster has empty.
pub const EMPTY_DIRECTORIES: [&str; 7] =
    ["pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];

/// Files at the top of the data directory that belong to a running server, or to the backup itself.
const OMITTED_FILES: [&str; 7] = [
    "postmaster.pid",
    "postmaster.opts",
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
    "backup_label",
    "tablespace_map",
    "backup_manifest",
];

/// Whether a base backup leaves out the file at `path`, relative to the data directory. The files of unlogged and
/// temporary tables, which are left out as well, cannot be told by their path alone.
#[must_use]
pub fn is_omitted(path: &str) -> bool {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let top = path.split('/').next().unwrap_or(path);
    let temporary = file.starts_with("pgsql_tmp") || directory.split('/').any(|part| part.starts_with("pgsql_tmp"));
    let cache = file.starts_with("pg_internal.init");
    let emptied = !directory.is_empty() && (EMPTY_DIRECTORIES.contains(&top) || top == "pg_wal");
    temporary || cache || emptied || (directory.is_empty() && OMITTED_FILES.contains(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_target_is_set_and_the_others_are_cleared() {
        let time = "2026-11-22T08:30:00.123456Z".parse().unwrap();
        for (target, expected) in [
            (RecoveryTarget::EndOfWal, None),
            (RecoveryTarget::Immediate, Some("immediate")),
            (RecoveryTarget::Time(time), Some("2026-11-22 08:30:00.123456+00")),
            (RecoveryTarget::Lsn(Lsn(0x16_0000_0028)), Some("16/28")),
            (RecoveryTarget::Xid(744), Some("744")),
            (RecoveryTarget::Name("before it".into()), Some("before it")),
        ] {
            let (restore_command, inclusive) = ("x %f %p".to_owned(), false);
            let (timeline, action) = (TargetTimeline::Id(TimelineId(3)), TargetAction::Pause);
            let settings = RecoverySettings { restore_command, target, inclusive, timeline, action }.settings();
            let cleared = settings.iter().take_while(|(_, value)| value.is_empty()).count();
            assert_eq!(cleared + usize::from(expected.is_some()), 5, "{settings:?}");
            if let Some(expected) = expected {
                assert_eq!(settings.last().map(|(_, value)| value.as_str()), Some(expected));
            }
            assert!(settings.contains(&("recovery_target_timeline", "3".to_owned())));
            assert!(settings.contains(&("recovery_target_inclusive", "off".to_owned())));
        }
    }

    #[test]
    fn a_value_is_quoted_for_the_configuration_file() {
        assert_eq!(quote_setting(r"it's a \ back"), r"'it''s a \\ back'");
        assert_eq!(quote_setting("two\nlines"), r"'two\nlines'");
    }

    #[test]
    fn words_are_postgresqls() {
        for text in ["latest", "current", "7"] {
            assert_eq!(text.parse::<TargetTimeline>().map(|timeline| timeline.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("0x1F".parse(), Ok(TargetTimeline::Id(TimelineId(31))));
        assert!("0".parse::<TargetTimeline>().is_err() && "newest".parse::<TargetTimeline>().is_err());
        for text in ["pause", "promote", "shutdown"] {
            assert_eq!(text.parse::<TargetAction>().map(|action| action.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_a_base_backup_leaves_out() {
        for path in [
            "postmaster.pid",
            "pg_replslot/s/state",
            "base/5/pg_internal.init",
            "base/pgsql_tmp/x",
            "pg_wal/000000010000000000000001",
        ] {
            assert!(is_omitted(path), "{path}");
        }
        for path in ["PG_VERSION", "pg_replslot", "base/5/1259", "global/pg_control", "pg_wal", "base/postmaster.pid"] {
            assert!(!is_omitted(path), "{path}");
        }
    }
}
