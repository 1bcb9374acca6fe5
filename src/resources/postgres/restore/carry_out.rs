//! Carrying out a plan: the base backup, the settings, and last the control file.

use serde::Serialize;

use super::base::{self, Written};
use super::error::{Error, Result};
use super::plan::RestorePlan;
use super::protection::{end_protection, protect_backup};
use super::settings::{RestoreCommand, Wishes, files};
use super::site::Site;
use crate::pg::control::ControlFile;
use crate::repository::{Backups, LeaseName};

/// What the restored server runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Configuration {
    /// The original's files, which lay in the data directory.
    Original,
    /// Plain ones: the original's lay elsewhere, as Debian has them, and are not in a base backup.
    Plain,
}

/// A data directory that a server can be started in.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the server runs with.
    pub configuration: Configuration,
    /// The lease that keeps the backup for the recovery to come; none where the store cannot be written to.
    pub lease: Option<LeaseName>,
}

/// Restores a backup into a place that `survey` has found free, so that a server started there recovers to the plan's target. Retention
/// leaves the backup and its WAL alone meanwhile, and for a day afterwards.
///
/// # Errors
/// When an object is missing or damaged, or a file cannot be written. What was written then cannot be started.
pub async fn carry_out(
    plan: &RestorePlan,
    site: &Site,
    backups: &Backups,
    command: &RestoreCommand,
    keep_archiving: bool,
    written: &Written,
) -> Result<Restored> {
    let lease = protect_backup(backups, &plan.backup.id).await?;
    let restored = write(plan, site, backups, command, keep_archiving, written).await;
    let lease = end_protection(lease, restored.is_ok()).await;
    Ok(Restored { configuration: restored?, lease })
}

async fn write(
    plan: &RestorePlan,
    site: &Site,
    backups: &Backups,
    command: &RestoreCommand,
    keep_archiving: bool,
    written: &Written,
) -> Result<Configuration> {
    base::check_objects(backups, &plan.backup).await?;
    let unfinished = base::write(backups, &plan.backup, site, written).await?;
    let damaged = |detail: String| Error::Damaged { object: format!("global/pg_control of backup {}", plan.backup.id), detail };
    let control = ControlFile::parse(unfinished.control_file()).map_err(|error| damaged(error.to_string()))?;
    if control.system_id != plan.system_id {
        return Err(damaged(format!("it is of the cluster with system identifier {}", control.system_id)));
    }
    let directory = site.directory.display().to_string();
    let wishes = Wishes {
        stop: &plan.stop,
        last_wal: plan.wal.last().copied(),
        restore_command: command,
        minimum: control.settings,
        keep_archiving,
        directory: &directory,
    };
    let text = |name: &str| Ok::<_, Error>(unfinished.read(name)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    let (automatic, main) = (text("postgresql.auto.conf")?, text("postgresql.conf")?);
    for (name, content) in files(&wishes, automatic.as_deref(), main.as_deref()) {
        unfinished.replace(name, &content)?;
    }
    let finished = tokio::task::spawn_blocking(|| unfinished.finish()).await;
    finished.map_err(|panic| Error::Interrupted(panic.to_string()))??;
    Ok(if main.is_some() { Configuration::Original } else { Configuration::Plain })
}
