//! A Redis server as a resource among others.

use async_trait::async_trait;

use super::connection::Connection;
use super::error::{Error, Result as RedisResult};
use super::feed::Checking;
use super::restore::{self, RestoreRequest};
use super::server::Facts;
use super::tls::Certificates;
use super::transfer::Transfer;
use super::verify;
use crate::config;
use crate::repository::{BackupEntry, Detail, Draft, ObjectWriter, RedisBackup, RedisPosition, ResourceName, WriteLimits};
use crate::resources::redis::rdb::Checked;
use crate::resources::{BackedUp, Plan, Resource, RestoreOptions, RestorePlan, Result, Run, Verified, WantedRestore};

/// The object that holds the file; the extension of the compression follows.
const RDB: &str = "dump.rdb";

/// The data of a Redis server.
#[derive(Debug, Clone)]
pub struct Server {
    name: ResourceName,
    section: config::Redis,
}

/// A file on its way into the store.
struct Received {
    writer: ObjectWriter,
    checked: Checked,
    bytes: u64,
    position: Option<RedisPosition>,
}

impl Server {
    /// The server of a section.
    #[must_use]
    pub fn new(name: ResourceName, section: &config::Redis) -> Self {
        Self { name, section: section.clone() }
    }

    /// Connects and asks the server what it is. One that does not let itself be asked is unknown, and nothing worse.
    pub(super) async fn connect(&self) -> RedisResult<(Connection, Option<Facts>)> {
        let mut connection = Connection::open(&self.section.location()?, &Certificates::of(&self.section)).await?;
        match Facts::ask(&mut connection).await {
            Ok(facts) if facts.is_loading() => {
                Err(connection.refused(&[b"a backup"], "LOADING it is loading its data into memory".to_owned()))
            }
            Ok(facts) => Ok((connection, Some(facts))),
            Err(error) if error.is_refusal_of_command() => Ok((connection, None)),
            Err(error) => Err(error),
        }
    }

    async fn store(&self, run: &Run, draft: &Draft) -> RedisResult<(BackupEntry, Vec<String>)> {
        let (connection, facts) = self.connect().await?;
        let server = connection.server.clone();
        run.progress.say(format!("waiting for {server} to make the file"));
        let transfer = Transfer::begin(connection).await?;
        let received = receive(run, draft, transfer, &server).await?;
        let facts = facts.unwrap_or_default();
        let remarks = remarks(&facts, &received);
        let (detail, bytes) = (detail(&facts, &received), received.bytes);
        let objects = draft.finish_object(received.writer).await?;
        let detail = RedisBackup { rdb: objects[0].name.clone(), ..detail };
        Ok((draft.entry(objects.to_vec(), bytes, Detail::Redis(detail)), remarks))
    }
}

/// Takes the file as it comes: into the store, and past the check.
async fn receive(run: &Run, draft: &Draft, mut transfer: Transfer, server: &str) -> RedisResult<Received> {
    run.progress.say("");
    run.progress.expect(transfer.length().unwrap_or(0));
    let (mut writer, checking, mut bytes) = (draft.begin_object(RDB), Checking::begin(), 0);
    while let Some(piece) = transfer.next_piece().await? {
        writer.write(&piece).await?;
        bytes += piece.len() as u64;
        run.progress.done(piece.len() as u64);
        if !checking.take(piece).await {
            break;
        }
    }
    let position = Some(transfer.position.clone());
    // The server is done with us, whatever the check says.
    drop(transfer);
    let checked = checking.finish().await.map_err(Error::Interrupted)?;
    let checked = checked.map_err(|source| Error::Rdb { server: server.to_owned(), source })?;
    Ok(Received { writer, checked, bytes, position })
}

fn detail(facts: &Facts, received: &Received) -> RedisBackup {
    let Checked { header, counts, checksum, server_version, valkey_version } = &received.checked;
    let (mut server, mut version) = facts.version();
    if version.is_empty() {
        server = if valkey_version.is_some() || header.valkey { "valkey" } else { "redis" };
        version = valkey_version.clone().or_else(|| server_version.clone()).unwrap_or_default();
    }
    let counts = counts.as_ref().ok();
    RedisBackup {
        rdb: String::new(),
        server: server.to_owned(),
        server_version: version,
        rdb_version: u32::from(header.version),
        keys: counts.map(|counts| counts.keys),
        keys_with_expiry: counts.map(|counts| counts.with_expiry),
        databases: counts.map(|counts| counts.databases),
        module_values: counts.map(|counts| counts.module_values),
        position: received.position.clone(),
        checksum: *checksum,
    }
}

/// What whoever reads of the backup has to know.
fn remarks(facts: &Facts, received: &Received) -> Vec<String> {
    let mut remarks = warnings(facts);
    let checked = &received.checked;
    match &checked.counts {
        Err(unknown) => remarks.push(format!("{unknown}: how many keys there are is not known. The file is whole all the same")),
        Ok(counts) if counts.module_values > 0 => {
            let modules: Vec<&str> = counts.modules.iter().map(String::as_str).collect();
            remarks.push(format!("a server that loads it needs the modules of {}", modules.join(", ")));
        }
        Ok(_) => {}
    }
    if !checked.checksum {
        remarks.push("the server writes no checksum (rdbchecksum no): its structure was checked, and not each byte".to_owned());
    }
    remarks
}

/// What deserves a look before a backup is taken.
fn warnings(facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if facts.is_replica() {
        warnings.push("this is a replica: its data is as old as its replication is behind".to_owned());
    }
    if facts.is_cluster_node() {
        warnings.push("this is a node of a cluster: its own slots are backed up, and no others".to_owned());
    }
    warnings
}

#[async_trait]
impl Resource for Server {
    fn name(&self) -> &ResourceName {
        &self.name
    }

    async fn plan(&self) -> Result<Plan> {
        let (connection, facts) = self.connect().await?;
        let Some(facts) = facts else {
            let found = format!("{} can be reached, and does not let itself be asked (INFO)", connection.server);
            return Ok(Plan { found, plain_bytes: None, warnings: Vec::new() });
        };
        let (server, version) = facts.version();
        let (keys, databases) = (facts.keys(), facts.databases().len());
        let found = format!("{server} {version} at {}: {keys} keys in {databases} databases", connection.server);
        Ok(Plan { found, plain_bytes: None, warnings: warnings(&facts) })
    }

    async fn back_up(&self, run: &Run) -> Result<BackedUp> {
        let draft = run.begin(&self.name, WriteLimits::default()).await?;
        let made = run.until_cancelled(self.store(run, &draft)).await;
        run.conclude(draft, made).await
    }

    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified> {
        verify::verify(run, backup, self.section.scratch_server).await
    }

    async fn plan_restore(&self, run: &Run, backup: &BackupEntry, wanted: &WantedRestore) -> Result<Box<dyn RestorePlan>> {
        let request = match &wanted.options {
            RestoreOptions::Redis(request) => request.clone(),
            _ => RestoreRequest::default(),
        };
        run.until_cancelled(restore::plan(run, self, backup, wanted.to.clone(), &request)).await
    }
}

impl Server {
    pub(super) const fn section(&self) -> &config::Redis {
        &self.section
    }
}
