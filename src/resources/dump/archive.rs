//! Making a dump: `pg_dump` into the store, read to its end by `pg_restore` on the way, and the server's globals.

use super::directory::{self, Spool};
use super::error::{Error, Result};
use super::source::{Tools, database_argument};
use crate::config;
use crate::repository::{BackupObject, Draft, DumpFormat};
use crate::resources::Progress;
use crate::sys::program::Program;

/// The objects; the extension of the compression follows.
const CUSTOM: &str = "database.dump";
const DIRECTORY: &str = "database.tar";
const GLOBALS: &str = "globals.sql";

/// What is dumped, and how.
pub(super) struct Dumping<'a> {
    pub section: &'a config::Dump,
    pub tools: &'a Tools,
    pub draft: &'a Draft,
    pub progress: &'a Progress,
}

/// An object with the index beside it, and the size of its content in bytes.
pub(super) struct Stored {
    pub objects: [BackupObject; 2],
    pub plain_bytes: u64,
}

impl Stored {
    fn of(objects: [BackupObject; 2]) -> Self {
        let plain_bytes = objects[0].plain_bytes;
        Self { objects, plain_bytes }
    }

    /// The name of the object.
    pub(super) fn name(&self) -> String {
        self.objects[0].name.clone()
    }
}

impl Dumping<'_> {
    /// Dumps the database as it is in a snapshot; `exclusions` are arguments for `pg_dump`.
    pub(super) async fn database(&self, snapshot: &str, exclusions: &[String]) -> Result<Stored> {
        let mut command = self.tools.command("pg_dump");
        command.args(["--compress=0", &format!("--snapshot={snapshot}")]).args(exclusions);
        match self.section.format {
            DumpFormat::Custom => {
                command.arg("--format=custom");
                self.stream(command).await
            }
            DumpFormat::Directory => {
                let spool = Spool::make(self.section)?;
                let jobs = self.section.jobs.get();
                command.arg(format!("--jobs={jobs}")).arg("--format=directory").arg("--file").arg(spool.path());
                self.directory(command, &spool).await
            }
        }
    }

    /// What `pg_dump` writes goes to the store, and to a `pg_restore` that reads it to its end.
    async fn stream(&self, command: tokio::process::Command) -> Result<Stored> {
        let mut dump = Program::read_from(command, self.tools.terms("pg_dump"))?;
        let mut check = Program::write_to(self.check(), self.tools.terms("pg_restore"))?;
        let mut writer = self.draft.begin_object(CUSTOM);
        while let Some(piece) = dump.next_piece().await? {
            writer.write(&piece).await?;
            check.write(&piece).await?;
            self.progress.done(piece.len() as u64);
        }
        dump.finish().await?;
        check.finish().await.map_err(Error::NotWhole)?;
        Ok(Stored::of(self.draft.finish_object(writer).await?))
    }

    async fn directory(&self, command: tokio::process::Command, spool: &Spool) -> Result<Stored> {
        Program::alone(command, self.tools.terms("pg_dump"))?.finish().await?;
        let mut check = self.check();
        check.arg(spool.path());
        Program::alone(check, self.tools.terms("pg_restore"))?.finish().await.map_err(Error::NotWhole)?;
        let mut writer = self.draft.begin_object(DIRECTORY);
        directory::pack(spool.path(), &mut writer, self.progress).await?;
        Ok(Stored::of(self.draft.finish_object(writer).await?))
    }

    /// A `pg_restore` that reads everything and restores nothing.
    fn check(&self) -> tokio::process::Command {
        let mut command = self.tools.command("pg_restore");
        command.arg("--file=/dev/null");
        command
    }

    /// Dumps roles and tablespaces; without the hashes of passwords where these may not be read, or would lie in the clear.
    pub(super) async fn globals(&self, database: &str, with_passwords: bool) -> Result<Stored> {
        let mut command = self.tools.command("pg_dumpall");
        command.arg("--globals-only").arg(database_argument("--database", database));
        if !with_passwords {
            command.arg("--no-role-passwords");
        }
        let mut dump = Program::read_from(command, self.tools.terms("pg_dumpall"))?;
        let mut writer = self.draft.begin_object(GLOBALS);
        while let Some(piece) = dump.next_piece().await? {
            writer.write(&piece).await?;
        }
        dump.finish().await?;
        Ok(Stored::of(self.draft.finish_object(writer).await?))
    }
}
