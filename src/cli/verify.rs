//! `holdfast verify`: reads backups back and checks every byte. Ends with 0 if all are sound, 1 if one is not.

use clap::Args;
use serde::Serialize;

use super::exit::{DONE, FAILED, Failure};
use super::output::bytes;
use super::running::watched;
use super::{Context, Outcome};
use crate::repository::{BackupEntry, BackupId, Damaged, Repository, ResourceName};
use crate::resources::{self, Resource, Verified};

/// What `verify` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Only this one's backups; all of them by default
    resource: Option<ResourceName>,
    /// Only this backup
    #[arg(long, value_name = "ID")]
    backup: Option<BackupId>,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    sound: bool,
    backups: Vec<Verified>,
    /// Catalog entries that cannot be read.
    damaged: Vec<Damaged>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    if options.resource.is_some() {
        config.resource(options.resource.as_ref())?;
    }
    let repository = context.repository(&config).await?;
    let mut report = Report { sound: true, backups: Vec::new(), damaged: Vec::new() };
    for resource in resources::all(&config) {
        if options.resource.as_ref().is_none_or(|wanted| wanted == resource.name()) {
            verify_resource(context, &repository, resource.as_ref(), options, &mut report).await?;
        }
    }
    if let (Some(id), true) = (&options.backup, report.backups.is_empty() && report.damaged.is_empty()) {
        let hint = Some("'holdfast backups' lists what there is");
        return Err(Failure::new(format!("there is no backup {id}")).with_hint(hint));
    }
    report.sound = report.damaged.is_empty() && report.backups.iter().all(Verified::is_sound);
    context.output.result(&report, Report::text);
    Ok(if report.sound { DONE } else { FAILED })
}

async fn verify_resource(
    context: &Context,
    repository: &Repository,
    resource: &dyn Resource,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let listed = resource.list(repository).await?;
    let wanted = |backup: &BackupEntry| options.backup.as_ref().is_none_or(|id| backup.id == *id);
    for backup in listed.records.iter().filter(|backup| wanted(backup)) {
        let what = format!("{} {}", backup.resource, backup.id);
        let verified = watched(context, repository, &what, async |run| resource.verify(&run, backup).await).await?;
        report.backups.push(verified);
    }
    let names = |damaged: &Damaged| options.backup.as_ref().is_none_or(|id| damaged.object.contains(id.as_str()));
    report.damaged.extend(listed.damaged.into_iter().filter(names));
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self.backups.iter().flat_map(lines).collect();
        lines.extend(self.damaged.iter().map(|damaged| format!("DAMAGED  {damaged}\n         -> {}", Damaged::HINT)));
        if lines.is_empty() {
            lines.push("there are no backups to verify".to_owned());
        }
        if !self.sound {
            lines.push("fetch what is damaged from a copy of the repository, or take a new backup".to_owned());
        }
        lines.join("\n")
    }
}

fn lines(verified: &Verified) -> Vec<String> {
    let word = if verified.is_sound() { "sound  " } else { "DAMAGED" };
    let read = format!("{} objects, {} read", verified.objects, bytes(verified.stored_bytes));
    let mut lines = vec![format!("{word}  {} {}: {read}", verified.resource, verified.backup)];
    lines.extend(verified.compared.iter().map(|compared| format!("         {compared}")));
    lines.extend(verified.damage.iter().map(|damage| format!("         {}: {}", damage.object, damage.detail)));
    lines
}
