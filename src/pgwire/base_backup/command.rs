//! The command `BASE_BACKUP`, in the two spellings that servers understand.

use std::time::Duration;

use crate::pg::version::BaseBackupSyntax;

/// How the checkpoint before the backup is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checkpoint {
    /// At once, at the cost of a burst of writes.
    Fast,
    /// Over the usual time of a checkpoint (`checkpoint_completion_target` of `checkpoint_timeout`).
    #[default]
    Spread,
}

/// The checksums of files in the server's manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ManifestChecksum {
    /// PostgreSQL's default.
    #[default]
    Crc32c,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl ManifestChecksum {
    const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "CRC32C",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }
}

/// What kind of base backup to ask for. WAL is never part of it: it is stored by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupOptions {
    /// Goes into `backup_label`.
    pub label: String,
    /// How the checkpoint before it is made.
    pub checkpoint: Checkpoint,
    /// Whether the server estimates the size of everything first, and reports progress.
    pub progress: bool,
    /// Whether the server sends a manifest, and with which checksums.
    pub manifest: Option<ManifestChecksum>,
    /// Whether the server waits at the end until its own `archive_command` has stored the WAL.
    pub wait_for_archive: bool,
    /// Whether tablespaces come with a `tablespace_map` instead of symbolic links.
    pub tablespace_map: bool,
    /// The most to send, in kilobytes per second: 32 to 1048576.
    pub max_rate_kb: Option<u32>,
    /// How long the checkpoint and the estimate of the size may take.
    pub start_deadline: Duration,
    /// How long the server may send nothing at all while it sends the backup.
    pub silence_deadline: Duration,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            label: "holdfast".into(),
            checkpoint: Checkpoint::default(),
            progress: true,
            manifest: Some(ManifestChecksum::default()),
            wait_for_archive: false,
            tablespace_map: true,
            max_rate_kb: None,
            start_deadline: Duration::from_hours(2),
            silence_deadline: Duration::from_mins(10),
        }
    }
}

impl BackupOptions {
    /// The command in the spelling that the server understands (PostgreSQL documentation, "Streaming Replication Protocol", and that
    /// of 14).
    pub(super) fn command(&self, syntax: BaseBackupSyntax) -> String {
        match syntax {
            BaseBackupSyntax::Parenthesised => self.parenthesised(),
            BaseBackupSyntax::Words => self.words(),
        }
    }

    fn parenthesised(&self) -> String {
        let checkpoint = if self.checkpoint == Checkpoint::Fast { "fast" } else { "spread" };
        let mut options = vec![
            format!("LABEL {}", literal(&self.label)),
            format!("CHECKPOINT '{checkpoint}'"),
            format!("PROGRESS {}", self.progress),
            "WAL false".into(),
            format!("WAIT {}", self.wait_for_archive),
            format!("TABLESPACE_MAP {}", self.tablespace_map),
        ];
        options.extend(self.max_rate_kb.map(|rate| format!("MAX_RATE {rate}")));
        match self.manifest {
            Some(checksum) => options.push(format!("MANIFEST 'yes', MANIFEST_CHECKSUMS '{}'", checksum.name())),
            None => options.push("MANIFEST 'no'".into()),
        }
        format!("BASE_BACKUP ({})", options.join(", "))
    }

    fn words(&self) -> String {
        let word = |wanted: bool, word: &str| if wanted { format!(" {word}") } else { String::new() };
        let manifest = self.manifest.map(|checksum| format!(" MANIFEST 'yes' MANIFEST_CHECKSUMS '{}'", checksum.name()));
        let rate = self.max_rate_kb.map(|rate| format!(" MAX_RATE {rate}"));
        [
            format!("BASE_BACKUP LABEL {}", literal(&self.label)),
            word(self.progress, "PROGRESS"),
            word(self.checkpoint == Checkpoint::Fast, "FAST"),
            word(!self.wait_for_archive, "NOWAIT"),
            rate.unwrap_or_default(),
            word(self.tablespace_map, "TABLESPACE_MAP"),
            manifest.unwrap_or_default(),
        ]
        .concat()
    }
}

/// A string of the replication grammar: only the quote is special there (repl_scanner.l).
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_of_servers_gets_its_own_spelling() {
        let options = BackupOptions {
            label: "it's".into(),
            checkpoint: Checkpoint::Fast,
            max_rate_kb: Some(1024),
            ..BackupOptions::default()
        };
        assert_eq!(
            options.command(BaseBackupSyntax::Parenthesised),
            "BASE_BACKUP (LABEL 'it''s', CHECKPOINT 'fast', PROGRESS true, WAL false, WAIT false, TABLESPACE_MAP true, \
             MAX_RATE 1024, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C')"
        );
        assert_eq!(
            options.command(BaseBackupSyntax::Words),
            "BASE_BACKUP LABEL 'it''s' PROGRESS FAST NOWAIT MAX_RATE 1024 TABLESPACE_MAP MANIFEST 'yes' \
             MANIFEST_CHECKSUMS 'CRC32C'"
        );
    }
}
