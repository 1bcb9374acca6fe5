//! The proof that a dump restores: on a scratch server of its own, which is gone afterwards.
//!
//! The scratch server's files are the database's content in the clear. They lie in the spool where one is configured, else in the
//! system's directory for temporary files, and only the server's user may read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::create::create_for_trial;
use super::error::{Error, Result};
use super::inventory::{Inventory, detail};
use super::load::{Loading, missing};
use super::source::Tools;
use crate::config::{self, Environment, SecretVariables};
use crate::pgwire::{ConnInfo, SqlConnection};
use crate::repository::BackupEntry;
use crate::resources::{self, Run};
use crate::sys::clock::Deadline;
use crate::sys::local_postgres::{self, Account, LocalPostgres, Programs, Stop};
use crate::sys::scratch::ScratchDirectory;

/// Its data directory, in the place.
const DATA: &str = "data";
/// The database that is filled.
const DATABASE: &str = "trial";
/// How long the server may take to start.
const STARTED_WITHIN: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(50);

/// What a trial has shown.
pub(super) enum Outcome {
    /// It restores; how many tables have the rows that were dumped, where they were counted.
    Restored { major: u32, tables: Option<usize> },
    /// It does not.
    Failed(resources::Error),
    /// It could not be tried here.
    LeftOut(String),
}

/// Restores a dump on a scratch server.
pub(super) async fn try_restore(run: &Run, section: &config::Dump, backup: &BackupEntry) -> resources::Result<Outcome> {
    let inventory = Inventory::read(&run.repository, backup).await?;
    let detail = detail(&run.repository, backup)?;
    let least = detail.program_major.max(detail.server_version / 10_000);
    let programs = match Programs::for_trials(least, section.programs.as_deref(), &config::program_directories()) {
        Ok(programs) => programs,
        Err(error) => return Ok(Outcome::LeftOut(error.to_string())),
    };
    run.progress.say("starting a scratch server");
    let scratch = match blocking({
        let (programs, spool, hidden) = (programs.clone(), section.spool.clone(), section.hidden.clone());
        move || Scratch::start(programs, spool.as_deref(), &hidden)
    })
    .await
    {
        Ok(scratch) => scratch,
        Err(Error::Programs(error @ local_postgres::Error::NoUser)) => return Ok(Outcome::LeftOut(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let tried = run.until_cancelled(scratch.restore(run, section, backup, &inventory)).await;
    let log = scratch.server.log_tail(20);
    blocking(move || {
        drop(scratch);
        Ok(())
    })
    .await?;
    if tried.is_err() && !run.cancelled.is_cancelled() {
        tracing::debug!("the end of the scratch server's log:\n{log}");
    }
    tried
}

/// A server that is stopped, and whose files are removed, when this is dropped. Starting and dropping it blocks.
struct Scratch {
    server: LocalPostgres,
    programs: Programs,
    info: ConnInfo,
    _directory: ScratchDirectory,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.server.stop(Stop::Immediate) {
            tracing::warn!("the scratch server was not stopped: {error}");
        }
    }
}

impl Scratch {
    fn start(programs: Programs, spool: Option<&Path>, hidden: &SecretVariables) -> Result<Self> {
        let parent = spool.map_or_else(std::env::temp_dir, Path::to_owned);
        let directory = ScratchDirectory::make(&parent, "trial", |left| stop(&programs, left));
        let directory = directory.map_err(Error::file("make a directory in", &parent))?;
        let place = directory.path();
        // As root, it is the server's user who has to enter it, and nobody else.
        let account = Account::for_directory(place)?;
        account.give(place).map_err(Error::file("give away", place))?;
        fs::set_permissions(place, fs::Permissions::from_mode(0o700)).map_err(Error::file("close", place))?;
        let server = LocalPostgres::new(programs.clone(), account, place.join(DATA)).without_variables(hidden.names());
        server.initdb(&["--no-sync"])?;
        let socket = place.display().to_string();
        let settings = [
            ("listen_addresses", ""),
            ("unix_socket_directories", socket.as_str()),
            ("port", "5432"),
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("archive_mode", "off"),
            ("autovacuum", "off"),
            ("shared_buffers", "32MB"),
            ("max_logical_replication_workers", "0"),
        ];
        server.start(&settings.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
        let text = format!("host='{socket}' port=5432 user=postgres dbname=postgres sslmode=disable");
        let info = ConnInfo::parse(&text, &Environment::default())?;
        Ok(Self { server, programs, info, _directory: directory })
    }

    async fn connect(&self) -> Result<SqlConnection> {
        let deadline = Deadline::after(STARTED_WITHIN);
        loop {
            match SqlConnection::connect(&self.info).await {
                Ok(sql) => return Ok(sql),
                Err(error) if deadline.has_passed() => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn restore(
        &self,
        run: &Run,
        section: &config::Dump,
        backup: &BackupEntry,
        inventory: &Inventory,
    ) -> resources::Result<Outcome> {
        let sql = self.connect().await?.with_deadline(section.timeout.0);
        if let Some(lacking) = self.lacking_extension(&sql, inventory).await? {
            return Ok(Outcome::LeftOut(format!(
                "the extension {lacking} is not installed for PostgreSQL {} here",
                self.major()
            )));
        }
        run.progress.say("restoring on a scratch server");
        for statement in missing(run, backup, &sql).await?.statements {
            sql.execute("making a role", &statement).await.map_err(Error::from)?;
        }
        let tools = Tools::new(self.programs.clone(), &self.info, &sql, section)?;
        let loading = Loading { run, section, backup, inventory, sql: &sql, info: &self.info, tools: &tools };
        Ok(match loading.fill(DATABASE, &create_for_trial(DATABASE, &inventory.database, self.major()), true).await {
            Ok(tables) => Outcome::Restored { major: self.major(), tables },
            Err(error) if run.cancelled.is_cancelled() => return Err(error),
            Err(error) => Outcome::Failed(error),
        })
    }

    const fn major(&self) -> u32 {
        self.programs.major()
    }

    async fn lacking_extension(&self, sql: &SqlConnection, inventory: &Inventory) -> Result<Option<String>> {
        const DOING: &str = "looking at the extensions that can be had";
        let statement = "SELECT min(wanted) AS lacking FROM unnest($1::text[]) AS wanted \
                         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name::text = wanted)";
        let row = sql.query_one(DOING, statement, &[&inventory.extensions]).await?;
        Ok(sql.get(DOING, &row, "lacking")?)
    }
}

/// Stops the server that a killed process has left running.
fn stop(programs: &Programs, place: &Path) {
    let stopped = Account::for_directory(place)
        .and_then(|account| LocalPostgres::new(programs.clone(), account, place.join(DATA)).stop(Stop::Immediate));
    if let Err(error) = stopped {
        tracing::debug!("the server in {} was not running: {error}", place.display());
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::Interrupted(panic.to_string()))?
}
