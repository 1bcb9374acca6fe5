//! `holdfast restore postgres/NAME`: brings a cluster back to a moment. The plan first, then the work.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Options;
use crate::cli::exit::{DONE, FAILED, Failure, USAGE};
use crate::cli::{Context, Outcome, signals};
use crate::config::Config;
use crate::pg::Lsn;
use crate::pg::recovery::{RecoveryTarget, TargetAction, TargetTimeline};
use crate::repository::{Repository, ResourceName};
use crate::resources::postgres::restore::base::Written;
use crate::resources::postgres::restore::plan::RestorePlan;
use crate::resources::postgres::restore::protection::end_recovery;
use crate::resources::postgres::restore::settings::RestoreCommand;
use crate::resources::postgres::restore::site::{Site, survey, tight_space};
use crate::resources::postgres::restore::start::{End, Recovered, StartOptions, start, stop};
use crate::resources::postgres::restore::target::{Wanted, parse_time};
use crate::resources::postgres::restore::{self, Configuration, Restored, carry_out, make_plan};
use crate::sys::local_postgres::{self, Programs};

/// How often progress is shown.
const PROGRESS_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// What `restore` takes for a cluster.
#[derive(Args, Default)]
#[command(next_help_heading = "PostgreSQL clusters")]
#[command(group(ArgGroup::new("recovery target").args(["target_time", "target_lsn", "target_xid", "target_name", "target"])))]
pub(super) struct ClusterOptions {
    /// Stop behind the last commit at or before a time, as in '2026-11-22 14:30:00+01' or '2026-11-22 14:30:00 Europe/Berlin'
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    target_time: Option<Timestamp>,
    /// Stop at a position in the WAL, as in 16/B374D848
    #[arg(long, value_name = "LSN")]
    target_lsn: Option<Lsn>,
    /// Stop behind the commit, or the rollback, of a transaction
    #[arg(long, value_name = "XID")]
    target_xid: Option<u32>,
    /// Stop at a restore point made with pg_create_restore_point
    #[arg(long, value_name = "NAME")]
    target_name: Option<String>,
    /// Stop as soon as the cluster is consistent
    #[arg(long, value_name = "immediate", value_parser = ["immediate"])]
    target: Option<String>,
    /// Leave out what lies exactly at the target
    #[arg(long)]
    target_exclusive: bool,
    /// The timeline to follow: latest, current (the backup's) or a number
    #[arg(long, value_name = "TIMELINE", default_value_t = TargetTimeline::Latest)]
    target_timeline: TargetTimeline,
    /// What the server does at the target: promote, pause or shutdown
    #[arg(long, value_name = "ACTION", default_value_t = TargetAction::Promote)]
    target_action: TargetAction,
    /// Put a tablespace elsewhere; needed for each
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_mapping)]
    tablespace_map: Vec<(String, PathBuf)>,
    /// Let the restored cluster archive where the original did
    #[arg(long)]
    keep_archiving: bool,
    /// Start the server and wait until it has recovered
    #[arg(long)]
    start: bool,
    /// The port of the started server [default: as configured in the restored cluster, or a free one where that is in use]
    #[arg(long, value_name = "PORT", requires = "start")]
    port: Option<u16>,
    /// The directory of the started server's Unix socket [default: as configured in the restored cluster]
    #[arg(long, value_name = "DIR", requires = "start")]
    socket_directory: Option<PathBuf>,
    /// Where PostgreSQL's programs are [default: where packages install them]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

impl ClusterOptions {
    /// Where tablespaces go.
    pub(super) fn new_places(&self) -> impl Iterator<Item = &Path> {
        self.tablespace_map.iter().map(|(_, new)| new.as_path())
    }
}

/// Said where the original's configuration lay outside its data directory.
const PLAIN_CONFIGURATION: &str = "\nWARNING: the original's postgresql.conf was not in its data directory, so it is not in the backup; a plain one was written (the default \
    port, plain pg_hba.conf, no shared_preload_libraries, default memory settings): bring the original's back, from a files backup for \
    instance, before the cluster takes over";

/// What `restore` did.
#[derive(Serialize)]
struct Report {
    plan: RestorePlan,
    site: Site,
    restored: bool,
    configuration: Option<Configuration>,
    recovered: Option<Recovered>,
    next: String,
}

pub(super) async fn run(
    context: &Context,
    config: &Config,
    resource: &ResourceName,
    common: &Options,
    options: &ClusterOptions,
) -> Outcome {
    let nowhere = || Failure::from(restore::Error::NoDirectory).with_code(USAGE);
    let to = PathBuf::from(common.to.as_ref().ok_or_else(nowhere)?);
    let wanted = wanted(common, options);
    needs_target(&wanted)?;
    let mut plan = make_plan(&context.repository_now(config).await?, resource, &wanted).await?;
    let site = survey(&plan.backup, &to, &options.tablespace_map).map_err(restore::Error::from)?;
    plan.warnings.extend(tight_space(&plan.backup, &site.directory, &site.tablespaces, plan.wal_bytes));
    let programs = programs(options, &plan);
    if common.dry_run {
        let next = "nothing was changed (--dry-run)".to_owned();
        return Ok(report(context, &Report { plan, site, restored: false, configuration: None, recovered: None, next }));
    }
    context.output.note(&plan.to_string());
    context.output.note(&site_text(&site));
    let programs = match (programs, options.start) {
        (Ok(programs), _) => Some(programs),
        (Err(error), true) => return Err(error.into()),
        (Err(error), false) => {
            context.output.note(&format!("warning    {error}"));
            None
        }
    };
    // What is a long work waits for a store that is away for a while.
    let (repository, asked) = (context.repository(config).await?, signals::stop()?);
    let Restored { configuration, lease } =
        write(context, config, &repository, (&plan, &site), resource, options, &asked).await?;
    let recovered = match programs {
        Some(programs) if options.start => Some(recover(context, &plan, &site, programs, options, &asked).await?),
        _ => None,
    };
    if recovered.as_ref().is_some_and(|recovered| recovered.end == End::Promoted) {
        end_recovery(&repository.leases(resource), lease.as_ref()).await;
    }
    let mut next = next_steps(&plan, &site, recovered.as_ref(), options);
    if configuration == Configuration::Plain {
        next.push_str(PLAIN_CONFIGURATION);
    }
    let configuration = Some(configuration);
    Ok(report(context, &Report { plan, site, restored: true, configuration, recovered, next }))
}

/// Nobody waits for the server any more: it must not go on by itself and take writes.
async fn given_up(site: &Site, programs: Programs) -> Failure {
    let directory = site.directory.display().to_string();
    let failure = Failure::new(format!("cancelled while the server in {directory} recovered"));
    match stop(site, programs).await {
        Ok(()) => failure.with_hint(Some("it was stopped; started again it goes on to the target")),
        Err(error) => {
            failure.with_hint(Some(format!("it could not be stopped, and goes on ({error}): 'pg_ctl stop -D {directory}'")))
        }
    }
}

fn report(context: &Context, report: &Report) -> u8 {
    context.output.result(report, |report| {
        if report.restored {
            report.next.clone()
        } else {
            format!("{}\n{}\n{}", report.plan, site_text(&report.site), report.next)
        }
    });
    match &report.recovered {
        Some(recovered) if !recovered.differences.is_empty() => FAILED,
        _ => DONE,
    }
}

fn wanted(common: &Options, options: &ClusterOptions) -> Wanted {
    let time = options.target_time.map(RecoveryTarget::Time);
    let lsn = || options.target_lsn.map(RecoveryTarget::Lsn);
    let xid = || options.target_xid.map(RecoveryTarget::Xid);
    let name = || options.target_name.clone().map(RecoveryTarget::Name);
    let immediate = || options.target.as_ref().map(|_| RecoveryTarget::Immediate);
    Wanted {
        target: time.or_else(lsn).or_else(xid).or_else(name).or_else(immediate).unwrap_or_default(),
        exclusive: options.target_exclusive,
        timeline: options.target_timeline,
        action: options.target_action,
        backup: common.backup.clone(),
    }
}

/// Without a target there is no place at which the server could stop: PostgreSQL would ignore the wish and take writes.
fn needs_target(wanted: &Wanted) -> Result<(), Failure> {
    let option = match (&wanted.target, wanted.action, wanted.exclusive) {
        (RecoveryTarget::EndOfWal, TargetAction::Promote, true) => "--target-exclusive",
        (RecoveryTarget::EndOfWal, TargetAction::Pause | TargetAction::Shutdown, _) => "--target-action",
        _ => return Ok(()),
    };
    let failure = Failure::new(format!("{option} needs a target: recovery to the end of the WAL ends with promotion"));
    let hint = "add --target-time, --target-lsn, --target-xid, --target-name or --target immediate";
    Err(failure.with_hint(Some(hint)).with_code(USAGE))
}

fn programs(options: &ClusterOptions, plan: &RestorePlan) -> Result<Programs, local_postgres::Error> {
    let major = plan.backup.postgres().server_version / 10000;
    match &options.programs {
        Some(directory) => Ok(Programs::in_directory(directory.clone(), major)),
        None => Programs::find(Some(major)),
    }
}

async fn write(
    context: &Context,
    config: &Config,
    repository: &Repository,
    (plan, site): (&RestorePlan, &Site),
    resource: &ResourceName,
    options: &ClusterOptions,
    asked: &CancellationToken,
) -> Result<Restored, Failure> {
    let command = RestoreCommand::of_this_program(&config.path, resource, plan.system_id)?;
    let (backups, written) = (repository.backups(resource), Written::default());
    let progress = context.output.progress("restoring");
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    let work = carry_out(plan, site, &backups, &command, options.keep_archiving, &written);
    tokio::pin!(work);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = ticks.tick() => progress.set(written.bytes(), plan.plain_bytes),
            () = asked.cancelled() => {
                progress.finish();
                let hint = "what was written is no cluster, and no server starts on it: remove it, and restore again";
                return Err(Failure::new(format!("cancelled while restoring into {}", site.directory.display())).with_hint(Some(hint)));
            }
        }
    };
    progress.finish();
    Ok(result?)
}

async fn recover(
    context: &Context,
    plan: &RestorePlan,
    site: &Site,
    programs: Programs,
    options: &ClusterOptions,
    asked: &CancellationToken,
) -> Result<Recovered, Failure> {
    let progress = context.output.progress("recovering");
    let start_options = StartOptions { port: options.port, socket_directory: options.socket_directory.clone() };
    let show = |replay: &restore::start::Replay| progress.set(replay.done_bytes, plan.wal_bytes);
    let recovered = tokio::select! {
        recovered = start(plan, site, programs.clone(), &start_options, show) => recovered,
        () = asked.cancelled() => {
            progress.finish();
            return Err(given_up(site, programs).await);
        }
    };
    progress.finish();
    Ok(recovered?)
}

fn site_text(site: &Site) -> String {
    let mut text = format!("into       {}", site.directory.display());
    for (oid, place) in &site.tablespaces {
        text.push_str(&format!("\n           tablespace {oid} into {}", place.display()));
    }
    text
}

fn next_steps(plan: &RestorePlan, site: &Site, recovered: Option<&Recovered>, options: &ClusterOptions) -> String {
    let Some(recovered) = recovered else {
        return format!(
            "restored into {}; start PostgreSQL {} there, and it recovers to {}",
            site.directory.display(),
            plan.backup.postgres().server_version / 10000,
            plan.asked
        );
    };
    let mut lines = vec![match recovered.end {
        End::Promoted => "recovered: the server takes writes".to_owned(),
        End::Paused => "recovered to the target: the server waits there, read-only; look at it, then 'SELECT pg_wal_replay_resume()' to promote".to_owned(),
        End::ShutDown => "recovered to the target and shut down; started again it goes on behind the target only with another recovery_target_action".to_owned(),
    }];
    if !recovered.differences.is_empty() {
        lines.insert(0, "RECOVERY DID NOT END WHERE THE PLAN SAYS: do not use this cluster before you know why".to_owned());
        lines.extend(recovered.differences.iter().map(|difference| format!("NOT AS PLANNED: {difference}")));
    }
    if let (End::Paused, RecoveryTarget::Time(_), Some(commit)) = (recovered.end, &plan.asked, &plan.located.before) {
        lines.push(format!(
            "a query that waits for ever waits for a lock of the transaction that comes next (a DROP TABLE, for example): with --target-lsn {} \
             instead of the time the server stops right behind the last commit",
            commit.lsn
        ));
    }
    lines.extend(recovered.lsn.map(|lsn| format!("replayed up to {lsn}")));
    lines.extend(recovered.stopped.clone());
    lines.extend(recovered.last_transaction.as_ref().map(|time| format!("last transaction at {time}")));
    lines.extend(recovered.new_timeline.map(|timeline| format!("now on timeline {timeline}")));
    if let (Some(port), Some(socket)) = (recovered.port, &recovered.socket_directory) {
        lines.push(format!("connect with: psql -h {} -p {port}", socket.display()));
    }
    lines.push(format!("its log is {}", recovered.log.display()));
    if !options.keep_archiving {
        lines.push(
            "it does not archive, and subscriptions do not connect: see postgresql.auto.conf before it takes over".to_owned(),
        );
    }
    lines.join("\n")
}

fn parse_mapping(text: &str) -> Result<(String, PathBuf), String> {
    let (old, new) = text.split_once('=').ok_or_else(|| format!("'{text}' is not OLD=NEW"))?;
    Ok((old.to_owned(), PathBuf::from(new)))
}

impl From<restore::Error> for Failure {
    fn from(error: restore::Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}

impl From<local_postgres::Error> for Failure {
    fn from(error: local_postgres::Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}
