//! Filling a new database from a dump, and comparing its rows with those that were dumped.

use futures_util::TryStreamExt;

use super::directory::{self, Spool};
use super::error::{Error, Result};
use super::globals::{Globals, Missing};
use super::inventory::{Inventory, detail, differences};
use super::snapshot::count_all;
use super::source::{Tools, database_argument, quoted};
use crate::config;
use crate::pgwire::{ConnInfo, SqlConnection};
use crate::repository::{BackupEntry, BackupObject, Content, DumpFormat};
use crate::resources::{self, Run};
use crate::sys::program::Program;

/// Globals are a few lines for each role; more than this is none.
const GLOBALS_BYTES_MAX: u64 = 64 << 20;

/// A dump that is being restored to a server.
pub(super) struct Loading<'a> {
    pub run: &'a Run,
    pub section: &'a config::Dump,
    pub backup: &'a BackupEntry,
    pub inventory: &'a Inventory,
    /// A connection to another database of the server.
    pub sql: &'a SqlConnection,
    /// How to reach the server.
    pub info: &'a ConnInfo,
    pub tools: &'a Tools,
}

impl Loading<'_> {
    /// Makes the database by the statement `create`, fills it and compares its rows; how many tables were compared. A database that
    /// could not be filled is removed.
    pub(super) async fn fill(&self, database: &str, create: &str, without_tablespaces: bool) -> resources::Result<Option<usize>> {
        self.sql.execute("making the database", create).await.map_err(Error::NotMade)?;
        let filled = self.run.until_cancelled(self.fill_made(database, without_tablespaces)).await;
        if let Err(error) = &filled {
            tracing::debug!(database, "removing it, because it could not be filled: {error}");
            let remove = format!("DROP DATABASE {} WITH (FORCE)", quoted(database));
            if let Err(error) = self.sql.execute("removing the database that could not be filled", &remove).await {
                tracing::warn!(database, "it could not be filled, and not be removed either: {error}");
            }
        }
        filled
    }

    async fn fill_made(&self, database: &str, without_tablespaces: bool) -> Result<Option<usize>> {
        let mut command = self.tools.command("pg_restore");
        command.arg("--exit-on-error").arg(database_argument("--dbname", database));
        if without_tablespaces {
            command.arg("--no-tablespaces");
        }
        let detail = detail(&self.run.repository, self.backup)?;
        let content = open(self.run, self.backup, &detail.archive).await?;
        match detail.format {
            DumpFormat::Custom => self.stream(command, content).await?,
            DumpFormat::Directory => {
                let spool = Spool::make(self.section)?;
                directory::unpack(content, spool.path(), &self.run.progress).await?;
                command.arg(format!("--jobs={}", self.section.jobs)).arg(spool.path());
                Program::alone(command, self.tools.terms("pg_restore"))?.finish().await?;
            }
        }
        self.compare(database).await
    }

    async fn stream(&self, command: tokio::process::Command, mut content: Content) -> Result<()> {
        let mut restore = Program::write_to(command, self.tools.terms("pg_restore"))?;
        while let Some(piece) = content.try_next().await? {
            restore.write(&piece).await?;
            self.run.progress.done(piece.len() as u64);
        }
        restore.finish().await?;
        Ok(())
    }

    async fn compare(&self, database: &str) -> Result<Option<usize>> {
        let Some(tables) = &self.inventory.tables else { return Ok(None) };
        self.run.progress.say("comparing rows");
        let restored = SqlConnection::connect(&self.info.clone().with_dbname(database)).await?;
        let restored = restored.with_deadline(self.section.timeout.0);
        restored.execute("preparing to count", "SET row_security = off; SET statement_timeout = 0; SET search_path = ''").await?;
        let differences = differences(tables, &count_all(&restored, tables).await?);
        if differences.is_empty() { Ok(Some(tables.len())) } else { Err(Error::Differs(differences)) }
    }
}

/// What of the roles and tablespaces of a dump a server lacks.
pub(super) async fn missing(run: &Run, backup: &BackupEntry, sql: &SqlConnection) -> Result<Missing> {
    let Some(name) = &detail(&run.repository, backup)?.globals else { return Ok(Missing::default()) };
    if object(run, backup, name)?.plain_bytes > GLOBALS_BYTES_MAX {
        let object = run.repository.backups(&backup.resource).key(&backup.id, name);
        return Err(Error::Content { object, detail: "it is too large for the globals of a server".to_owned() });
    }
    let mut content = open(run, backup, name).await?;
    let mut text = Vec::new();
    while let Some(piece) = content.try_next().await? {
        text.extend_from_slice(&piece);
    }
    let names = async |statement: &str| -> Result<Vec<String>> {
        const DOING: &str = "looking at the server's roles and tablespaces";
        let rows = sql.query(DOING, statement, &[]).await?;
        Ok(rows.iter().map(|row| sql.get(DOING, row, "name")).collect::<std::result::Result<_, _>>()?)
    };
    let roles = names("SELECT rolname::text AS name FROM pg_catalog.pg_roles").await?;
    let tablespaces = names("SELECT spcname::text AS name FROM pg_catalog.pg_tablespace").await?;
    Ok(Globals::read(&String::from_utf8_lossy(&text)).missing(&roles, &tablespaces))
}

/// The content of one of the objects of a backup, checked as it is read.
pub(super) async fn open(run: &Run, backup: &BackupEntry, name: &str) -> Result<Content> {
    let object = object(run, backup, name)?;
    let backups = run.repository.backups(&backup.resource);
    let frames = backups.get_frames(&backup.id, name).await?;
    Ok(backups.read_whole(&backup.id, object, &frames))
}

/// An object that the catalog must list.
pub(super) fn object<'a>(run: &Run, backup: &'a BackupEntry, name: &str) -> Result<&'a BackupObject> {
    let key = || run.repository.backups(&backup.resource).key(&backup.id, name);
    let found = backup.object(name);
    found.ok_or_else(|| Error::Content { object: key(), detail: "the catalog entry does not list it".to_owned() })
}
