//! `holdfast verify`: reads backups back and checks every byte, and looks at the WAL between and behind them. Ends with 0 if all is sound, 1
//! if something is not.

use clap::Args;
use serde::Serialize;

use super::exit::{DONE, FAILED, Failure};
use super::output::{bytes, counted};
use super::running::watched;
use super::{Context, Outcome};
use crate::operations::verify::{Lost, Reading, VerifiedWal, verify_wal};
use crate::repository::{BackupEntry, BackupId, Damaged, Repository, ResourceKind, ResourceName};
use crate::resources::{self, Resource, Verified};

/// What `verify` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Only this one's backups; all of them by default
    resource: Option<ResourceName>,
    /// Only this backup
    #[arg(long, value_name = "ID")]
    backup: Option<BackupId>,
    /// Read all WAL between and behind the backups, too, and check every byte; without this, only what each object says of itself
    #[arg(long, conflicts_with = "backup")]
    deep: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    sound: bool,
    backups: Vec<Verified>,
    /// The WAL of each timeline that a backup leads to.
    wal: Vec<VerifiedWal>,
    /// Records that cannot be read.
    damaged: Vec<Damaged>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    if options.resource.is_some() {
        config.resource(options.resource.as_ref())?;
    }
    let repository = context.repository(&config).await?;
    let mut report = Report { sound: true, backups: Vec::new(), wal: Vec::new(), damaged: Vec::new() };
    for resource in resources::all(&config) {
        if options.resource.as_ref().is_none_or(|wanted| wanted == resource.name()) {
            verify_resource(context, &repository, resource.as_ref(), options, &mut report).await?;
        }
    }
    if let (Some(id), true) = (&options.backup, report.backups.is_empty() && report.damaged.is_empty()) {
        let hint = Some("'holdfast backups' lists what there is");
        return Err(Failure::new(format!("there is no backup {id}")).with_hint(hint));
    }
    let is_sound = report.backups.iter().all(Verified::is_sound) && report.wal.iter().all(VerifiedWal::is_sound);
    report.sound = report.damaged.is_empty() && is_sound;
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
    if resource.name().kind() == ResourceKind::Postgres && options.backup.is_none() {
        let reading = if options.deep { Reading::Content } else { Reading::Headers };
        let what = format!("{} WAL", resource.name());
        let found = watched(context, repository, &what, async |run| verify_wal(&run, resource.name(), reading).await).await?;
        report.wal.extend(found.wal);
        report.damaged.extend(found.damaged);
    }
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self.backups.iter().flat_map(lines).collect();
        lines.extend(self.wal.iter().flat_map(wal_lines));
        lines.extend(self.damaged.iter().map(|damaged| format!("DAMAGED  {damaged}\n         -> {}", damaged.hint())));
        if lines.is_empty() {
            lines.push("there are no backups to verify".to_owned());
        }
        if !self.sound {
            lines.push("fetch what is damaged from a copy of the repository, or take a new backup".to_owned());
        }
        lines.join("\n")
    }
}

fn wal_lines(wal: &VerifiedWal) -> Vec<String> {
    let word = if wal.is_sound() { "sound  " } else { "DAMAGED" };
    let read = match wal.read {
        Reading::Headers => format!("by the headers of {}; --deep reads every byte", counted(wal.objects, "object")),
        Reading::Content if wal.sealed => "what could be looked into: no identity at hand opens it all".to_owned(),
        Reading::Content => format!("{}, {} read", counted(wal.objects, "object"), bytes(wal.wal_bytes)),
    };
    let (from, to) = (wal.from, wal.to);
    let mut lines = vec![format!("{word}  {} WAL of timeline {} from {from} to {to}: {read}", wal.resource, wal.timeline)];
    lines.extend(wal.acknowledged_gaps.iter().map(|gap| format!("         gap {gap} is lost, as was acknowledged")));
    for damage in &wal.damage {
        lines.push(format!("         {}: {}; {}", damage.object, damage.detail, lost(&damage.lost)));
    }
    lines
}

fn lost(lost: &Lost) -> String {
    match (lost.to, &lost.backup) {
        (Some(to), Some(backup)) => {
            format!("not recoverable: what lies between {} and {to}, where backup {backup} is consistent", lost.from)
        }
        _ => format!("not recoverable: everything after {}", lost.from),
    }
}

fn lines(verified: &Verified) -> Vec<String> {
    let word = if verified.is_sound() { "sound  " } else { "DAMAGED" };
    let read = format!("{}, {} read", counted(verified.objects, "object"), bytes(verified.stored_bytes));
    let mut lines = vec![format!("{word}  {} {}: {read}", verified.resource, verified.backup)];
    lines.extend(verified.compared.iter().map(|compared| format!("         {compared}")));
    lines.extend(verified.damage.iter().map(|damage| format!("         {}: {}", damage.object, damage.detail)));
    lines
}
