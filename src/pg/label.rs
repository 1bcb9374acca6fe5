//! The files that describe a base backup: `backup_label`, `tablespace_map` and the backup history file (`.backup`).
//!
//! Sources: `build_backup_content` in PostgreSQL's `access/transam/xlogbackup.c`, `read_backup_label` and
//! `read_tablespace_map` in `access/transam/xlogrecovery.c`.

use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Lsn, SegmentName, TimelineId};

/// What a base backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay begins.
    pub start: Lsn,
    /// The segment in which that is.
    pub start_segment: SegmentName,
    /// Where the checkpoint's record begins that the backup began with.
    pub checkpoint: Lsn,
    /// `streamed` or `pg_start_backup`.
    pub method: String,
    /// Whether a standby made it.
    pub from_standby: bool,
    /// When it began, in the server's `log_timezone`, as the server wrote it.
    pub start_time: String,
    /// The label that it was given.
    pub label: String,
    /// The timeline on which it began.
    pub timeline: TimelineId,
    /// What an incremental backup was made against: the start of the backup before it, and its timeline.
    /// A server refuses to start with this.
    pub incremental_from: Option<(Lsn, TimelineId)>,
}

/// A backup history file: a label, and where and when the backup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHistory {
    /// What the label said.
    pub label: BackupLabel,
    /// Where it ended.
    pub stop: Lsn,
    /// When it ended, as the server wrote it.
    pub stop_time: String,
    /// The timeline on which it ended.
    pub stop_timeline: TimelineId,
}

/// A file without a line that it must have, or with one that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A line is missing.
    #[error("the {file} has no valid line '{name}'")]
    Line {
        /// Which file.
        file: &'static str,
        /// What the line begins with.
        name: &'static str,
    },
    /// A line of a tablespace map is no number and path.
    #[error("line {line} of the tablespace_map is not a tablespace's number and path")]
    Tablespace {
        /// The line, from 1 on.
        line: usize,
    },
}

/// The lines of a file, looked up by what they begin with.
struct Lines<'a> {
    file: &'static str,
    content: &'a str,
}

impl<'a> Lines<'a> {
    fn find(&self, name: &'static str) -> Option<&'a str> {
        let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':').map(str::trim);
        self.content.lines().find_map(value)
    }

    fn text(&self, name: &'static str) -> Result<&'a str, LabelError> {
        self.find(name).ok_or(LabelError::Line { file: self.file, name })
    }

    fn parse<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, LabelError> {
        self.text(name)?.parse().map_err(|_| LabelError::Line { file: self.file, name })
    }

    /// `0/2000028 (file 000000010000000000000002)`
    fn location(&self, name: &'static str) -> Result<(Lsn, SegmentName), LabelError> {
        let parse = |text: &str| {
            let (lsn, file) = text.strip_suffix(')')?.split_once(" (file ")?;
            Some((lsn.parse().ok()?, file.parse().ok()?))
        };
        parse(self.text(name)?).ok_or(LabelError::Line { file: self.file, name })
    }

    fn label(&self) -> Result<BackupLabel, LabelError> {
        let (start, start_segment) = self.location("START WAL LOCATION")?;
        let incremental_from = match self.find("INCREMENTAL FROM LSN") {
            None => None,
            Some(_) => Some((self.parse("INCREMENTAL FROM LSN")?, TimelineId(self.parse("INCREMENTAL FROM TLI")?))),
        };
        Ok(BackupLabel {
            start,
            start_segment,
            checkpoint: self.parse("CHECKPOINT LOCATION")?,
            method: self.text("BACKUP METHOD")?.to_owned(),
            from_standby: self.text("BACKUP FROM")? == "standby",
            start_time: self.text("START TIME")?.to_owned(),
            label: self.text("LABEL")?.to_owned(),
            timeline: TimelineId(self.parse("START TIMELINE")?),
            incremental_from,
        })
    }
}

impl BackupLabel {
    /// Reads a `backup_label`.
    ///
    /// # Errors
    /// A line is missing or means nothing.
    pub fn parse(content: &[u8]) -> Result<Self, LabelError> {
        let content = String::from_utf8_lossy(content);
        Lines { file: "backup_label", content: &content }.label()
    }
}

/// As the server writes it, and reads it when it starts.
impl fmt::Display for BackupLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "START WAL LOCATION: {} (file {})", self.start, self.start_segment)?;
        writeln!(f, "CHECKPOINT LOCATION: {}", self.checkpoint)?;
        writeln!(f, "BACKUP METHOD: {}", self.method)?;
        writeln!(f, "BACKUP FROM: {}", if self.from_standby { "standby" } else { "primary" })?;
        writeln!(f, "START TIME: {}", self.start_time)?;
        writeln!(f, "LABEL: {}", self.label)?;
        writeln!(f, "START TIMELINE: {}", self.timeline)?;
        if let Some((lsn, timeline)) = self.incremental_from {
            writeln!(f, "INCREMENTAL FROM LSN: {lsn}\nINCREMENTAL FROM TLI: {timeline}")?;
        }
        Ok(())
    }
}

impl BackupHistory {
    /// Reads a backup history file.
    ///
    /// # Errors
    /// A line is missing or means nothing.
    pub fn parse(content: &[u8]) -> Result<Self, LabelError> {
        let content = String::from_utf8_lossy(content);
        let lines = Lines { file: "backup history file", content: &content };
        Ok(Self {
            label: lines.label()?,
            stop: lines.location("STOP WAL LOCATION")?.0,
            stop_time: lines.text("STOP TIME")?.to_owned(),
            stop_timeline: TimelineId(lines.parse("STOP TIMELINE")?),
        })
    }
}

/// One tablespace: its number, and the directory that `pg_tblspc/NUMBER` leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    /// The tablespace's OID.
    pub oid: u32,
    /// Where its files are.
    pub path: PathBuf,
}

/// Reads a `tablespace_map`: a line `OID PATH` each, with a backslash before every backslash and line end in the path.
///
/// # Errors
/// A line that is not a number and a path.
pub fn parse_tablespace_map(content: &[u8]) -> Result<Vec<Tablespace>, LabelError> {
    let mut lines = vec![Vec::new()];
    let mut escaped = false;
    for byte in content {
        match byte {
            b'\n' | b'\r' if !escaped => lines.push(Vec::new()),
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            other => lines.last_mut().expect("there is always a line").push(*other),
        }
        escaped = false;
    }
    let filled = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
    filled.map(|(line, text)| parse_tablespace(&text).ok_or(LabelError::Tablespace { line })).collect()
}

fn parse_tablespace(line: &[u8]) -> Option<Tablespace> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let oid = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let path = line[space + 1..].to_vec();
    let valid = !path.is_empty() && !path.contains(&0);
    valid.then(|| Tablespace { oid, path: std::ffi::OsString::from_vec(path).into() })
}

/// Writes a `tablespace_map`.
#[must_use]
pub fn write_tablespace_map(tablespaces: &[Tablespace]) -> Vec<u8> {
    let mut content = Vec::new();
    for tablespace in tablespaces {
        content.extend_from_slice(format!("{} ", tablespace.oid).as_bytes());
        for byte in tablespace.path.as_os_str().as_bytes() {
            if matches!(byte, b'\\' | b'\n' | b'\r') {
                content.push(b'\\');
            }
            content.push(*byte);
        }
        content.push(b'\n');
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000080\n\
        BACKUP METHOD: streamed\n\
        BACKUP FROM: standby\n\
        START TIME: 2026-11-22 07:05:25 UTC\n\
        LABEL: nightly: full\n\
        START TIMELINE: 3\n";

    #[test]
    fn a_label_is_read_and_written_as_the_server_does() {
        let label = BackupLabel::parse(LABEL.as_bytes()).unwrap();
        assert_eq!((label.start, label.checkpoint, label.timeline), (Lsn(0x200_0028), Lsn(0x200_0080), TimelineId(3)));
        assert_eq!((label.from_standby, label.label.as_str()), (true, "nightly: full"));
        assert_eq!(label.to_string(), LABEL);
        let incremental = format!("{LABEL}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n");
        let label = BackupLabel::parse(incremental.as_bytes()).unwrap();
        assert_eq!(label.incremental_from, Some((Lsn(0x100_0028), TimelineId(1))));
        assert_eq!(label.to_string(), incremental);
    }

    #[test]
    fn a_history_file_also_says_where_the_backup_ended() {
        let content = LABEL.replace("CHECKPOINT", "STOP WAL LOCATION: 0/02000100 (file 000000010000000000000002)\nCHECKPOINT")
            + "STOP TIME: 2026-11-22 07:05:26 UTC\nSTOP TIMELINE: 3\n";
        let history = BackupHistory::parse(content.as_bytes()).unwrap();
        assert_eq!((history.stop, history.stop_timeline), (Lsn(0x200_0100), TimelineId(3)));
        assert!(BackupHistory::parse(LABEL.as_bytes()).is_err());
    }

    #[test]
    fn a_missing_line_is_named() {
        for name in ["START WAL LOCATION", "CHECKPOINT LOCATION", "START TIMELINE"] {
            let error = BackupLabel::parse(LABEL.replace(name, "X").as_bytes()).unwrap_err();
            assert_eq!(error, LabelError::Line { file: "backup_label", name });
        }
    }

    proptest! {
        #[test]
        fn a_tablespace_map_is_read_as_it_was_written(map in prop::collection::vec((any::<u32>(), "[^\0]{1,40}"), 0..5)) {
            let tablespaces: Vec<_> = map.into_iter().map(|(oid, path)| Tablespace { oid, path: path.into() }).collect();
            prop_assert_eq!(parse_tablespace_map(&write_tablespace_map(&tablespaces)), Ok(tablespaces));
        }

        #[test]
        fn arbitrary_bytes_never_panic(content: Vec<u8>) {
            prop_assert!(BackupLabel::parse(&content).is_err());
            prop_assert!(BackupHistory::parse(&content).is_err());
            parse_tablespace_map(&content).ok();
        }
    }
}
