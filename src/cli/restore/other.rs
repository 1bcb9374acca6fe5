//! `holdfast restore` for everything but clusters: the newest backup or the one that was named, planned and carried out by its kind.

use serde::Serialize;

use super::Options;
use crate::cli::exit::{DONE, Failure, USAGE};
use crate::cli::output::counted;
use crate::cli::running::watched;
use crate::cli::{Context, Outcome};
use crate::config::Config;
use crate::repository::{BackupEntry, BackupId, Repository, ResourceKind, ResourceName};
use crate::resources::{self, Resource, RestoreOptions, Restored, Run, WantedRestore, bucket, command, dump, files, redis};
use crate::sys::clock;

/// What `restore` did.
#[derive(Serialize)]
struct Report {
    resource: ResourceName,
    backup: BackupId,
    plan: serde_json::Value,
    restored: bool,
    result: Option<serde_json::Value>,
    #[serde(skip)]
    text: String,
}

pub(super) async fn run(context: &Context, config: &Config, name: &ResourceName, options: &Options) -> Outcome {
    let resource = resources::find(config, Some(name))?;
    let repository = context.repository(config).await?;
    let backup = choose(context, &repository, name, options.backup.as_ref()).await?;
    let wanted = WantedRestore { to: options.to.clone(), options: own(options, name.kind()) };
    // From here to the end: what retention removed while it is planned, or between the plan and the work, would look damaged.
    let restore = plan_and_restore(context, &repository, resource.as_ref(), &backup, &wanted, options.dry_run);
    Run::new(repository.clone()).while_protected(&backup, restore).await
}

async fn plan_and_restore(
    context: &Context,
    repository: &Repository,
    resource: &dyn Resource,
    backup: &BackupEntry,
    wanted: &WantedRestore,
    is_dry_run: bool,
) -> Outcome {
    let planned = watched(context, repository, "planning", async |run| resource.plan_restore(&run, backup, wanted).await).await;
    let planned = planned.map_err(|failure| if lacks_place(wanted) { failure.with_code(USAGE) } else { failure })?;
    let (plan, text) = (planned.json(), planned.text());
    let report = |restored, result, text| Report {
        resource: resource.name().clone(),
        backup: backup.id.clone(),
        plan,
        restored,
        result,
        text,
    };
    if is_dry_run || !planned.is_confirmed() {
        let why = if is_dry_run { "nothing was changed (--dry-run)" } else { "nothing was changed; add --apply to do this" };
        context.output.result(&report(false, None, format!("{text}\n{why}")), |report| report.text.clone());
        return Ok(DONE);
    }
    context.output.note(&text);
    let mut output = context.output.content();
    let restore = async |run: Run| planned.carry_out(&run, &mut output).await;
    let Restored { text, json, undone } = watched(context, repository, "restoring", restore).await?;
    if !output.is_used() {
        context.output.result(&report(true, Some(json), text), |report| report.text.clone());
    }
    if undone > 0 { Err(incomplete(backup, undone)) } else { Ok(DONE) }
}

/// What was left is not as it is in the backup: whoever takes it for restored is wrong.
fn incomplete(backup: &BackupEntry, undone: usize) -> Failure {
    let BackupEntry { id, resource, .. } = backup;
    let what = if resource.kind() == ResourceKind::Bucket { "object" } else { "path" };
    let left = counted(undone, what);
    Failure::new(format!(
        "backup {id} of {resource} is not restored completely: what had changed since the plan was made was left as it is, {left}"
    ))
    .with_hint(Some("the result names them; restore again to see how they differ from the backup"))
}

/// Whether the command line leaves out where to, and the kind has no place of its own.
fn lacks_place(wanted: &WantedRestore) -> bool {
    wanted.to.is_none()
        && match &wanted.options {
            RestoreOptions::Command(_) | RestoreOptions::Dump(_) => true,
            RestoreOptions::Redis(request) => request.into.is_none(),
            _ => false,
        }
}

/// The options of this kind.
fn own(options: &Options, kind: ResourceKind) -> RestoreOptions {
    let (files, bucket, redis) = (options.files.as_ref(), options.bucket.as_ref(), options.redis.as_ref());
    match kind {
        ResourceKind::Bucket => RestoreOptions::Bucket(bucket::RestoreRequest {
            apply: options.apply,
            delete_extra: options.delete_extra,
            prefix: bucket.and_then(|bucket| bucket.prefix.clone()),
            key: bucket.and_then(|bucket| bucket.key.clone()),
        }),
        ResourceKind::Files => RestoreOptions::Files(files::RestoreRequest {
            apply: options.apply,
            delete_extra: options.delete_extra,
            only: files.map(|files| files.only.clone()).unwrap_or_default(),
        }),
        ResourceKind::Redis => RestoreOptions::Redis(redis::RestoreRequest {
            apply: options.apply,
            into: redis.and_then(|redis| redis.into.clone()),
            into_password_file: redis.and_then(|redis| redis.into_password_file.clone()),
        }),
        ResourceKind::Command => RestoreOptions::Command(command::RestoreRequest { apply: options.apply }),
        ResourceKind::Dump => RestoreOptions::Dump(dump::RestoreRequest { apply: options.apply }),
        _ => RestoreOptions::None,
    }
}

/// The backup that was named, or the newest that can be read.
async fn choose(
    context: &Context,
    repository: &Repository,
    name: &ResourceName,
    wanted: Option<&BackupId>,
) -> Result<BackupEntry, Failure> {
    let backups = repository.backups(name);
    let see = Some(format!("'holdfast backups {name}' lists what there is"));
    if let Some(id) = wanted {
        return backups.get(id).await?.ok_or_else(|| Failure::new(format!("{name} has no backup {id}")).with_hint(see));
    }
    let listed = backups.list().await?;
    for damaged in &listed.damaged {
        context.output.note(&format!("DAMAGED: {damaged}\n  -> {}", damaged.hint()));
    }
    let now = clock::now();
    for ahead in listed.records.iter().filter(|entry| entry.is_of_the_future(now)) {
        let BackupEntry { id, started_at, .. } = ahead;
        context.output.note(&format!(
            "backup {id} says that it was begun at {started_at}, which lies in the future: the clock of its host was wrong"
        ));
    }
    let none = || Failure::new(format!("{name} has no backup")).with_hint(Some(format!("'holdfast backup {name}' takes one")));
    let newest = listed.records.into_iter().next_back().ok_or_else(none)?;
    if newest.is_of_the_future(now) {
        let doubt =
            format!("the newest backup of {name}, {}, lies in the future: it is not taken without being asked for", newest.id);
        return Err(Failure::new(doubt)
            .with_hint(Some(format!("choose one with --backup; 'holdfast backups {name}' lists what there is"))));
    }
    Ok(newest)
}
