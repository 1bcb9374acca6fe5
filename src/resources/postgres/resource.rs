//! A cluster as a resource among others: what all kinds can do, done with a cluster's own parts.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;

use super::backup::{self, Failed, Phase, Reporter, Request};
use super::restore::base::Written;
use super::restore::plan::RestorePlan as Route;
use super::restore::settings::RestoreCommand;
use super::restore::site::{Site, survey, tight_space};
use super::restore::target::Wanted;
use super::restore::{self, carry_out, make_plan};
use super::{followed, source, verify};
use crate::config::Postgres;
use crate::pg::version::Version;
use crate::pgwire::ReplicationConnection;
use crate::repository::{BackupEntry, ResourceName};
use crate::resources::{
    BackedUp, Doing, Error, Explained, Plan, Resource, RestoreOptions, RestorePlan, Restored, Result, Run, Verified,
    WantedRestore,
};

/// How often a restore's progress is passed on.
const TICK: std::time::Duration = std::time::Duration::from_millis(200);

/// A PostgreSQL cluster.
#[derive(Debug)]
pub struct Cluster {
    name: ResourceName,
    section: Postgres,
    configuration: PathBuf,
}

/// What is wanted of a cluster's restore, besides the directory.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// The moment.
    pub wanted: Wanted,
    /// Where tablespaces go: the old place and the new one.
    pub tablespace_map: Vec<(String, PathBuf)>,
    /// Whether the restored cluster archives where the original did.
    pub keep_archiving: bool,
}

/// A restore of a cluster that was planned.
#[derive(Debug, Serialize)]
struct Planned {
    plan: Route,
    site: Site,
    #[serde(skip)]
    command: RestoreCommand,
    #[serde(skip)]
    keep_archiving: bool,
}

impl Cluster {
    /// The cluster of a section; `configuration` is the file that it stands in, for the restored server's `restore_command`.
    #[must_use]
    pub fn new(name: ResourceName, section: &Postgres, configuration: &Path) -> Self {
        Self { name, section: section.clone(), configuration: configuration.to_owned() }
    }

    async fn look(&self) -> std::result::Result<String, source::Error> {
        let mut server = ReplicationConnection::connect(&source::conninfo(&self.section)?).await?;
        Version::of_server(server.server_version().number())?;
        let identity = server.identify_system().await?;
        let found = format!("PostgreSQL {} at {}, timeline {}", server.server_version(), server.server(), identity.timeline);
        server.close().await;
        Ok(found)
    }
}

#[async_trait]
impl Resource for Cluster {
    fn name(&self) -> &ResourceName {
        &self.name
    }

    async fn plan(&self) -> Result<Plan> {
        Ok(Plan { found: self.look().await?, plain_bytes: None, warnings: Vec::new() })
    }

    async fn back_up(&self, run: &Run) -> Result<BackedUp> {
        let info = source::conninfo(&self.section)?;
        let reached = followed::reach(&run.repository, &self.name, &info, None).await?;
        let (reporter, watched) = Reporter::new();
        let request = Request::default();
        let taking = backup::take(&run.repository, &self.name, reached.connection, &request, reporter, &run.cancelled);
        let taken = tokio::select! {
            taken = taking => taken,
            never = forward(watched, run) => match never {},
        };
        let report = taken?;
        Ok(BackedUp::Listed { entry: Box::new(report.entry), remarks: report.notices })
    }

    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified> {
        verify::verify(run, backup).await
    }

    async fn plan_restore(&self, run: &Run, backup: &BackupEntry, wanted: &WantedRestore) -> Result<Box<dyn RestorePlan>> {
        let request = match &wanted.options {
            RestoreOptions::Postgres(request) => RestoreRequest::clone(request),
            _ => RestoreRequest::default(),
        };
        let directory = wanted.to.as_ref().map(PathBuf::from).ok_or(restore::Error::NoDirectory)?;
        Ok(Box::new(self.planned(run, backup, &directory, request).await?))
    }
}

impl Cluster {
    async fn planned(
        &self,
        run: &Run,
        backup: &BackupEntry,
        directory: &Path,
        request: RestoreRequest,
    ) -> std::result::Result<Planned, restore::Error> {
        let wanted = Wanted { backup: Some(backup.id.clone()), ..request.wanted };
        let mut plan = make_plan(&run.repository, &self.name, &wanted).await?;
        let site = survey(&plan.backup, directory, &request.tablespace_map)?;
        plan.warnings.extend(tight_space(&plan.backup, &site.directory, &site.tablespaces, plan.wal_bytes));
        let command = RestoreCommand::of_this_program(&self.configuration, &self.name, plan.system_id)?;
        Ok(Planned { plan, site, command, keep_archiving: request.keep_archiving })
    }
}

#[async_trait]
impl RestorePlan for Planned {
    fn text(&self) -> String {
        self.plan.to_string()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("plans have string keys and no failing serializer")
    }

    async fn carry_out(self: Box<Self>, run: &Run, _: &mut (dyn std::io::Write + Send)) -> Result<Restored> {
        let (backups, written) = (run.repository.backups(&self.plan.backup.resource), Written::default());
        run.progress.expect(self.plan.plain_bytes);
        let work = carry_out(&self.plan, &self.site, &backups, &self.command, self.keep_archiving, &written);
        run.until_cancelled(watched(work, &written, run)).await?;
        let (directory, major) = (self.site.directory.display(), self.plan.backup.postgres().server_version / 10_000);
        let asked = &self.plan.asked;
        let text = format!("restored into {directory}; start PostgreSQL {major} there, and it recovers to {asked}");
        Ok(Restored::whole(text, self.json()))
    }
}

/// Passes on how much is written until the work is done.
async fn watched<T>(work: impl Future<Output = T>, written: &Written, run: &Run) -> T {
    let (mut ticks, mut told) = (tokio::time::interval(TICK), 0);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                let bytes = written.bytes();
                run.progress.done(bytes - told);
                told = bytes;
            }
        }
    }
}

/// Passes on how far a backup is, for as long as it runs.
async fn forward(mut watched: watch::Receiver<backup::Progress>, run: &Run) -> std::convert::Infallible {
    while watched.changed().await.is_ok() {
        let progress = *watched.borrow_and_update();
        let what = match progress.phase {
            Phase::Checkpoint => "waiting for the server's checkpoint".to_owned(),
            Phase::Transfer => String::new(),
            Phase::Wal { reached, stop } => format!("waiting for WAL up to {stop} (stored up to {reached})"),
        };
        let (total_bytes, done_bytes, stored_bytes) = (progress.expected, progress.received, progress.stored);
        run.progress.set(Doing { what, done_bytes, total_bytes, stored_bytes });
    }
    std::future::pending().await
}

impl Explained for source::Error {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.is_retryable(),
            Self::Repository(error) => error.is_retryable(),
            // A standby catches up by itself.
            Self::Superseded(_) => true,
            Self::Config(_) | Self::ConnInfo(_) | Self::SlotName(_) | Self::Version(_) => false,
        }
    }

    fn hint(&self) -> Option<String> {
        Self::hint(self)
    }
}

impl Explained for Failed {
    fn is_retryable(&self) -> bool {
        self.error.is_retryable()
    }

    fn hint(&self) -> Option<String> {
        self.error.hint()
    }
}

impl Explained for restore::Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Repository(error) if error.is_retryable())
    }

    fn hint(&self) -> Option<String> {
        Self::hint(self)
    }
}

impl From<restore::plan::Refusal> for Error {
    fn from(refusal: restore::plan::Refusal) -> Self {
        restore::Error::from(refusal).into()
    }
}
