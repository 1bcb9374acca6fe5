//! A dumped database as a resource among others.

use async_trait::async_trait;

use super::archive::Dumping;
use super::error::Result as DumpResult;
use super::inventory::{INVENTORY, detail};
use super::restore::{self, RestoreRequest};
use super::snapshot::Snapshot;
use super::source::{self, Tools};
use super::trial::{self, Outcome};
use crate::config;
use crate::pgwire::{ConnInfo, SqlConnection};
use crate::repository::{BackupEntry, Detail, Draft, DumpBackup, ResourceName, WriteLimits};
use crate::resources::{BackedUp, Plan, Resource, RestoreOptions, RestorePlan, Result, Run, Verified, WantedRestore};

/// How many of the tables that may not be read are named.
const NAMED_MAX: usize = 10;

/// A database that is dumped.
#[derive(Debug, Clone)]
pub struct Database {
    name: ResourceName,
    section: config::Dump,
}

impl Database {
    /// The database of a section.
    #[must_use]
    pub fn new(name: ResourceName, section: &config::Dump) -> Self {
        Self { name, section: section.clone() }
    }

    fn tools(&self, info: &ConnInfo, sql: &SqlConnection) -> DumpResult<Tools> {
        let programs = source::programs(&self.section, sql.server_version().major())?;
        Tools::new(programs, info, sql, &self.section)
    }

    async fn store(&self, run: &Run, draft: &Draft) -> DumpResult<(BackupEntry, Vec<String>)> {
        let info = source::conninfo(&self.name, &self.section)?;
        let snapshot = Snapshot::take(&self.section, &info).await?;
        snapshot.lock().await?;
        run.progress.expect(snapshot.plain_bytes);
        let tools = self.tools(&info, snapshot.sql())?;
        let dumping = Dumping { section: &self.section, tools: &tools, draft, progress: &run.progress };
        let mut remarks = Vec::new();
        let globals = match self.section.globals {
            true => {
                let encrypted = !run.repository.encryption().recipients.is_empty();
                remarks.extend(without_passwords(snapshot.reads_passwords, encrypted));
                Some(dumping.globals(info.dbname(), snapshot.reads_passwords && encrypted).await?)
            }
            false => None,
        };
        let exclusions = snapshot.exclusions();
        let dumped = async { dumping.database(&snapshot.id, &exclusions).await };
        let (database, inventory) = tokio::try_join!(dumped, snapshot.inventory(self.section.count_rows))?;
        if snapshot.excluded() > 0 {
            remarks.push(format!("{} tables, views and sequences are left out, as configured", snapshot.excluded()));
        }
        let server_version = snapshot.server_version;
        snapshot.end().await?;
        let stored = draft.put_small(INVENTORY, "inventory", inventory.to_json()).await?;
        let detail = DumpBackup {
            archive: database.name(),
            format: self.section.format,
            globals: globals.as_ref().map(super::archive::Stored::name),
            inventory: stored.name.clone(),
            server_version,
            program_major: tools.major(),
            tables: inventory.tables.as_ref().map(|tables| tables.len() as u64),
        };
        let plain_bytes = database.plain_bytes + globals.as_ref().map_or(0, |globals| globals.plain_bytes);
        let globals = globals.into_iter().flat_map(|globals| globals.objects);
        let objects = database.objects.into_iter().chain(globals).chain([stored]).collect();
        Ok((draft.entry(objects, plain_bytes, Detail::Dump(detail)), remarks))
    }
}

/// Why the globals have no passwords, where they have none.
fn without_passwords(readable: bool, encrypted: bool) -> Option<String> {
    let why = match (readable, encrypted) {
        (true, true) => return None,
        (_, false) => "the repository is not encrypted",
        (false, true) => "the role may not read pg_authid",
    };
    Some(format!("the roles are stored without their passwords: {why}"))
}

/// What `pg_dump` will fail at.
fn unreadable(tables: &[String]) -> Option<String> {
    let named = tables.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match tables.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = "a dump will fail: grant it SELECT there and USAGE of the schemas (or pg_read_all_data), or leave them out";
    (!tables.is_empty()).then(|| format!("the role may not read {named}{more}; {what}"))
}

#[async_trait]
impl Resource for Database {
    fn name(&self) -> &ResourceName {
        &self.name
    }

    async fn plan(&self) -> Result<Plan> {
        let look = async {
            let info = source::conninfo(&self.name, &self.section)?;
            let snapshot = Snapshot::take(&self.section, &info).await?;
            let tools = self.tools(&info, snapshot.sql())?;
            Ok::<_, super::Error>((info, snapshot, tools))
        };
        let (info, snapshot, tools) = look.await?;
        let found = format!(
            "database {} of PostgreSQL {} at {}, with pg_dump {}",
            info.dbname(),
            snapshot.sql().server_version(),
            snapshot.sql().server(),
            tools.major()
        );
        let no_passwords = "the roles will be stored without their passwords: the role may not read pg_authid";
        let no_passwords = (self.section.globals && !snapshot.reads_passwords).then(|| no_passwords.to_owned());
        let warnings = no_passwords.into_iter().chain(unreadable(&snapshot.unreadable())).collect();
        let plain_bytes = Some(snapshot.plain_bytes);
        snapshot.end().await?;
        Ok(Plan { found, plain_bytes, warnings })
    }

    async fn back_up(&self, run: &Run) -> Result<BackedUp> {
        let draft = run.begin(&self.name, WriteLimits::default()).await?;
        let made = run.until_cancelled(self.store(run, &draft)).await;
        run.conclude(draft, made).await
    }

    /// Reads every byte back, and restores the dump on a scratch server where one can be had.
    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified> {
        let mut verified = Verified::begin(backup);
        verified.read_all(run, backup).await?;
        if !verified.is_sound() || verified.is_sealed() {
            return Ok(verified);
        }
        let archive = &detail(&run.repository, backup)?.archive;
        match trial::try_restore(run, &self.section, backup).await? {
            Outcome::Restored { major, tables: Some(tables) } => verified.compared.push(format!(
                "restored on a scratch server of PostgreSQL {major}: the rows of all {tables} tables are those that were dumped"
            )),
            Outcome::Restored { major, tables: None } => verified.compared.push(format!(
                "restored on a scratch server of PostgreSQL {major}; its rows were not counted when it was made (count_rows)"
            )),
            Outcome::LeftOut(why) => verified.compared.push(format!("not restored on trial: {why}")),
            Outcome::Failed(error) => {
                let key = run.repository.backups(&backup.resource).key(&backup.id, archive);
                verified.add_damage(key, format!("it does not restore: {error}"));
            }
        }
        Ok(verified)
    }

    async fn plan_restore(&self, run: &Run, backup: &BackupEntry, wanted: &WantedRestore) -> Result<Box<dyn RestorePlan>> {
        let request = match &wanted.options {
            RestoreOptions::Dump(request) => request.clone(),
            _ => RestoreRequest::default(),
        };
        let planned = restore::plan(run, &self.name, &self.section, backup, wanted.to.clone(), &request);
        Ok(Box::new(run.until_cancelled(planned).await?))
    }
}
