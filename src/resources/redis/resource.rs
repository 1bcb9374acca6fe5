//! A Redis server as a resource among others.

use async_trait::async_trait;

use super::backup;
use super::connection::Connection;
use super::error::Result as RedisResult;
use super::restore::{self, RestoreRequest};
use super::server::Facts;
use super::tls::Certificates;
use super::verify;
use crate::config;
use crate::repository::{BackupEntry, ResourceName, WriteLimits};
use crate::resources::{BackedUp, Plan, Resource, RestoreOptions, RestorePlan, Result, Run, Verified, WantedRestore};

/// The data of a Redis server.
#[derive(Debug, Clone)]
pub struct Server {
    name: ResourceName,
    section: config::Redis,
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
        Ok(Plan { found, plain_bytes: None, warnings: backup::warnings(&facts) })
    }

    async fn back_up(&self, run: &Run) -> Result<BackedUp> {
        let draft = run.begin(&self.name, WriteLimits::default()).await?;
        let made = run.until_cancelled(backup::store(self, run, &draft)).await;
        run.conclude(draft, made).await
    }

    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified> {
        verify::verify(run, backup, &self.section).await
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
