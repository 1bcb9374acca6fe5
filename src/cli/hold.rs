//! `holdfast hold` and `holdfast release`: a backup that is kept whatever retention says, and the end of that.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Context, Failure, Outcome, exit};
use crate::config::Config;
use crate::operations::expire;
use crate::repository::{BackupId, Backups, Hold, Repository, ResourceName};
use crate::resources::postgres::restore::target::parse_time;
use crate::sys::{clock, host};

/// What `hold` takes.
#[derive(Args)]
pub(super) struct HoldOptions {
    /// The backup, as 'holdfast backups' lists it
    id: BackupId,
    /// Until when, as in '2027-01-31 00:00:00Z' [default: until it is released]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// What for, for whoever wonders later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What `release` takes.
#[derive(Args)]
pub(super) struct ReleaseOptions {
    /// The backup
    id: BackupId,
}

#[derive(Serialize)]
struct Held {
    resource: ResourceName,
    #[serde(flatten)]
    hold: Hold,
}

#[derive(Serialize)]
struct Released {
    id: BackupId,
    holds: usize,
}

pub(super) async fn hold(context: &Context, options: &HoldOptions) -> Outcome {
    let config = context.config()?;
    let repository = context.repository(&config).await?;
    let backups = find(&config, &repository, &options.id).await?;
    let HoldOptions { id, until, reason } = options;
    if until.is_some_and(|until| until <= clock::now()) {
        return Err(Failure::new("--until lies in the past").with_hint(Some("'holdfast release' ends a hold now")));
    }
    let hold = Hold { id: id.clone(), until: *until, reason: reason.clone(), made_at: clock::now(), made_on: host::name() };
    if !expire::hold(&repository, backups.resource(), &hold).await? {
        return Err(gone(id));
    }
    let held = Held { resource: backups.resource().clone(), hold };
    context.output.result(&held, |held| format!("backup {} of {} is {}", held.hold.id, held.resource, held.hold));
    Ok(exit::DONE)
}

pub(super) async fn release(context: &Context, options: &ReleaseOptions) -> Outcome {
    let config = context.config()?;
    let repository = context.repository(&config).await?;
    let backups = find(&config, &repository, &options.id).await?;
    let released = Released { id: options.id.clone(), holds: backups.release(&options.id).await? };
    context.output.result(&released, |released| match released.holds {
        0 => format!("backup {} was not held", released.id),
        _ => format!("backup {} is not held any more; 'holdfast expire --dry-run' shows what becomes of it", released.id),
    });
    Ok(exit::DONE)
}

/// The backups among which this one is.
async fn find(config: &Config, repository: &Repository, id: &BackupId) -> Result<Backups, Failure> {
    for resource in config.resources() {
        let backups = repository.backups(&resource);
        if backups.is_listed(id).await? {
            return Ok(backups);
        }
    }
    Err(gone(id))
}

fn gone(id: &BackupId) -> Failure {
    Failure::new(format!("there is no backup {id}")).with_hint(Some("'holdfast backups' lists them"))
}
