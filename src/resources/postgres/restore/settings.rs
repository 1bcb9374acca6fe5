//! The settings of a restored cluster: how it recovers, and what keeps it quiet. Pure: from the plan and the old texts to the new.
//!
//! They go to `postgresql.auto.conf`, which wins over `postgresql.conf` and which `pg_verifybackup` does not compare.

mod existing;
mod shell;

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::plan::{Stop, WalPart};
use crate::pg::control::StandbySettings;
use crate::pg::recovery::{RecoverySettings, TargetTimeline, write_settings};
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::repository::ResourceName;

use existing::{Existing, without};
pub use shell::shell_word;

/// The program that PostgreSQL runs to get its WAL.
const SHIM: &str = "holdfast-restore-command";

/// How the server gets its WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreCommand {
    /// The shim, or `holdfast` itself.
    pub program: PathBuf,
    /// What comes before the common arguments.
    pub leading: Vec<String>,
    /// The configuration file; absolute.
    pub configuration: PathBuf,
    /// The resource.
    pub resource: ResourceName,
    /// The cluster.
    pub lineage: SystemId,
}

impl RestoreCommand {
    /// The shim beside this program; without one, this program itself.
    ///
    /// # Errors
    /// When the path of this program is not known.
    pub fn of_this_program(configuration: &Path, resource: &ResourceName, lineage: SystemId) -> Result<Self> {
        let own = std::env::current_exe().map_err(Error::NoProgram)?;
        let shim = own.with_file_name(SHIM);
        let (program, leading) = if shim.is_file() { (shim, vec![]) } else { (own, vec!["wal".to_owned(), "fetch".to_owned()]) };
        Ok(Self { program, leading, configuration: configuration.to_owned(), resource: resource.clone(), lineage })
    }

    /// The value of `restore_command`: words for the shell, in which PostgreSQL replaces `%f` and `%p` and reads `%%` as `%`.
    #[must_use]
    pub fn value(&self) -> String {
        let literal = |text: &str| shell_word(&text.replace('%', "%%"));
        let mut words = vec![literal(&self.program.display().to_string())];
        words.extend(self.leading.iter().map(|word| literal(word)));
        words.extend(["--config".to_owned(), literal(&self.configuration.display().to_string())]);
        words.extend(["--resource".to_owned(), literal(&self.resource.to_string())]);
        words.extend(["--lineage".to_owned(), self.lineage.to_string()]);
        words.extend(["%f".to_owned(), "\"%p\"".to_owned()]);
        words.join(" ")
    }
}

/// What the settings depend on.
#[derive(Debug, Clone)]
pub struct Wishes<'a> {
    /// Where to stop.
    pub stop: &'a Stop,
    /// The last of the WAL that is to be replayed.
    pub last_wal: Option<WalPart>,
    /// Where WAL comes from.
    pub restore_command: &'a RestoreCommand,
    /// What the server must not fall below.
    pub minimum: StandbySettings,
    /// Whether the cluster goes on archiving where the original did.
    pub keep_archiving: bool,
    /// The data directory.
    pub directory: &'a str,
}

/// A file of the data directory with its new content.
pub type NewFile = (&'static str, Vec<u8>);

/// What a cluster must not do by itself, whatever its configuration says.
const QUIET: [(&str, &str); 5] = [
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("synchronous_standby_names", ""),
    // No subscription connects.
    ("max_logical_replication_workers", "0"),
    ("hot_standby", "on"),
];
const NOT_ARCHIVING: [(&str, &str); 3] = [("archive_mode", "off"), ("archive_command", ""), ("archive_library", "")];
/// Ours, and without a meaning to the server: a name with a dot may be set to anything. The restore command looks at it, so that WAL
/// which was there when the plan was made, and is not any more, does not pass for the end.
const PLANNED_END: &str = "holdfast.planned_end";
/// What else could lead recovery elsewhere.
const NO_COMMANDS: [(&str, &str); 2] = [("archive_cleanup_command", ""), ("recovery_end_command", "")];

/// The files to write. `automatic` and `main` are the contents of `postgresql.auto.conf` and `postgresql.conf`, as far as they are there.
#[must_use]
pub fn files(wishes: &Wishes<'_>, automatic: Option<&str>, main: Option<&str>) -> Vec<NewFile> {
    let existing = Existing::new(automatic, main);
    let mut settings = recovery(wishes);
    let archiving = if wishes.keep_archiving { &[][..] } else { &NOT_ARCHIVING };
    settings.extend(NO_COMMANDS.iter().chain(&QUIET).chain(archiving).map(|(name, value)| (*name, (*value).to_owned())));
    settings.extend(existing.too_low(&wishes.minimum).map(|(name, value)| (name, value.to_string())));
    let mut text = without(automatic.unwrap_or_default(), |name| {
        name == PLANNED_END || settings.iter().any(|(setting, _)| *setting == name)
    });
    text.push_str("# Written by holdfast restore.\n");
    text.push_str(&write_settings(settings.iter().map(|(name, value)| (*name, value.as_str()))));
    let mut files = vec![("postgresql.auto.conf", text.into_bytes()), ("recovery.signal", Vec::new())];
    files.extend(main_configuration(wishes, main));
    files
}

/// Whether a `postgresql.auto.conf` names a target of recovery.
#[must_use]
pub fn has_target(automatic: &str) -> bool {
    let existing = Existing::new(Some(automatic), None);
    let targets =
        ["recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid"];
    targets.iter().any(|name| !existing.automatic(name).is_empty())
}

/// Up to where the restore that wrote a `postgresql.auto.conf` was planned with stored WAL, and on which timeline.
#[must_use]
pub fn planned_end(automatic: &str) -> Option<(TimelineId, Lsn)> {
    let (timeline, end) = Existing::new(Some(automatic), None).automatic(PLANNED_END).split_once(' ')?;
    Some((TimelineId(timeline.parse().ok()?), end.parse().ok()?))
}

/// The settings that lead to the target.
fn recovery(wishes: &Wishes<'_>) -> Vec<(&'static str, String)> {
    let Stop { target, inclusive, timeline, action, read_ahead } = wishes.stop.clone();
    let timeline = timeline.map_or(TargetTimeline::Current, TargetTimeline::Id);
    let restore_command = wishes.restore_command.value();
    let mut settings = RecoverySettings { restore_command, target, inclusive, timeline, action }.settings();
    settings.extend(wishes.last_wal.map(|part| (PLANNED_END, format!("{} {}", part.timeline, part.end))));
    // A server that reads ahead asks for the WAL behind the target, and ends where that is missing.
    settings.extend((!read_ahead).then(|| ("recovery_prefetch", "off".to_owned())));
    settings
}

/// A server needs a `postgresql.conf`. Where the original's lay elsewhere (Debian), it gets a plain one; where the original's names a
/// data directory, that must not be the original's.
fn main_configuration(wishes: &Wishes<'_>, main: Option<&str>) -> Vec<NewFile> {
    match main {
        None => vec![
            ("postgresql.conf", plain_configuration(&wishes.minimum).into_bytes()),
            ("pg_hba.conf", PLAIN_ACCESS.to_vec()),
            ("pg_ident.conf", Vec::new()),
        ],
        Some(text) => {
            let existing = Existing::new(None, Some(text));
            let places = [("data_directory", wishes.directory), ("external_pid_file", "")];
            let wrong: Vec<String> = places
                .iter()
                .filter(|(name, _)| existing.main_has(name))
                .map(|(name, value)| write_settings([(*name, *value)]))
                .collect();
            let changed = format!("{text}\n# Written by holdfast restore.\n{}", wrong.concat());
            if wrong.is_empty() { vec![] } else { vec![("postgresql.conf", changed.into_bytes())] }
        }
    }
}

const PLAIN_ACCESS: &[u8] = b"# Written by holdfast restore: the original's was not in the data directory.\n\
local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n";

fn plain_configuration(minimum: &StandbySettings) -> String {
    let mut text = "# Written by holdfast restore: the original's was not in the data directory.\n".to_owned();
    for (name, value) in minimum.named() {
        text.push_str(&write_settings([(name, value.to_string().as_str())]));
    }
    text
}

#[cfg(test)]
mod tests;
