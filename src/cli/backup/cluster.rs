//! `holdfast backup postgres/NAME`: takes a base backup now.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::backups::{Line, Own, version};
use crate::cli::output::{Progress as Display, bytes, counted};
use crate::cli::{Context, Failure, Outcome, Output, exit};
use crate::config::{self, Config};
use crate::pgwire::Checkpoint;
use crate::repository::ResourceName;
use crate::resources::postgres::backup::{Failed, Phase, Progress, Report, Reporter, Request, take};
use crate::resources::postgres::{followed, source};

/// How often the display follows.
const TICK: Duration = Duration::from_millis(100);
/// What takes longer than this without moving the bar is spoken of.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `backup` takes for a cluster.
#[derive(Args, Default)]
#[command(next_help_heading = "PostgreSQL clusters")]
pub(super) struct ClusterOptions {
    /// How the server makes the checkpoint before it [default: fast]
    #[arg(long, value_enum)]
    checkpoint: Option<CheckpointSpeed>,
    /// What stands in the server's backup_label [default: holdfast]
    #[arg(long)]
    label: Option<String>,
    /// The most that the server may send, in kilobytes per second
    #[arg(long, value_name = "KB", value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    max_rate: Option<u32>,
    /// How long to wait for the backup's WAL while none arrives [default: 2m]
    #[arg(long, value_name = "TIME")]
    wal_timeout: Option<config::Duration>,
}

/// How a checkpoint is made.
#[derive(Clone, Copy, ValueEnum)]
enum CheckpointSpeed {
    /// At once, with a burst of writes.
    Fast,
    /// Over the usual time of a checkpoint.
    Spread,
}

/// The backup that was taken.
#[derive(Serialize)]
struct Taken {
    #[serde(flatten)]
    backup: Line,
    /// Bytes before compression, for each one stored.
    ratio: f64,
    /// Bytes before compression.
    bytes_per_s: f64,
    notices: Vec<String>,
}

pub(super) async fn run(context: &Context, config: &Config, resource: &ResourceName, options: &ClusterOptions) -> Outcome {
    let (resource, cluster) = config.cluster(Some(resource))?;
    let repository = context.repository(config).await?;
    let info = source::conninfo(cluster)?;
    let reached = followed::reach(&repository, &resource, &info, None).await?;
    let (reporter, progress) = Reporter::new();
    let cancelled = CancellationToken::new();
    let request = options.request();
    let taking = take(&repository, &resource, reached.connection, &request, reporter, &cancelled);
    let taken = watched(taking, progress, &cancelled, context.output, &resource).await?;
    match taken {
        Ok(report) => {
            context.output.result(&Taken::from(&report), Taken::text);
            Ok(exit::DONE)
        }
        Err(failed) => {
            failed.notices.iter().for_each(|notice| context.output.note(notice));
            let hint = failed.error.hint();
            Err(Failure::new(failed.to_string()).with_hint(hint))
        }
    }
}

impl ClusterOptions {
    fn request(&self) -> Request {
        let defaults = Request::default();
        let checkpoint = match self.checkpoint {
            Some(CheckpointSpeed::Spread) => Checkpoint::Spread,
            Some(CheckpointSpeed::Fast) | None => Checkpoint::Fast,
        };
        Request {
            label: self.label.clone().unwrap_or(defaults.label),
            checkpoint,
            max_rate_kb: self.max_rate,
            wal_patience: self.wal_timeout.map_or(defaults.wal_patience, |timeout| timeout.0),
            limits: defaults.limits,
        }
    }
}

/// Shows how far it is, until it is over. Ctrl-C and SIGTERM cancel it, and what was stored is removed.
async fn watched(
    taking: impl Future<Output = Result<Report, Failed>>,
    progress: watch::Receiver<Progress>,
    cancelled: &CancellationToken,
    output: Output,
    resource: &ResourceName,
) -> Result<Result<Report, Failed>, Failure> {
    let cannot = |error: std::io::Error| Failure::new(format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut shown = Shown::new(output, resource);
    let mut tick = tokio::time::interval(TICK);
    tokio::pin!(taking);
    loop {
        tokio::select! {
            taken = &mut taking => {
                shown.display.finish();
                return Ok(taken);
            }
            _ = tick.tick() => shown.show(*progress.borrow()),
            _ = interrupt.recv() => shown.cancel(cancelled),
            _ = terminate.recv() => shown.cancel(cancelled),
        }
    }
}

/// What is on the screen.
struct Shown {
    output: Output,
    display: Display,
    /// For how long the server's checkpoint, and then the WAL, has been waited for; `None` once that was said.
    waiting: [Option<Duration>; 2],
}

impl Shown {
    fn new(output: Output, resource: &ResourceName) -> Self {
        Self { output, display: output.progress(&resource.to_string()), waiting: [Some(Duration::ZERO); 2] }
    }

    fn show(&mut self, progress: Progress) {
        match progress.phase {
            Phase::Checkpoint => self.say_after_a_while(0, || "waiting for the server's checkpoint".to_owned()),
            Phase::Transfer => self.display.set(progress.received, progress.expected),
            Phase::Wal { reached, stop } => {
                self.display.finish();
                self.say_after_a_while(1, || {
                    format!("all files are stored; waiting for WAL up to {stop} (stored up to {reached})")
                });
            }
        }
    }

    fn say_after_a_while(&mut self, what: usize, line: impl FnOnce() -> String) {
        let Some(waited) = self.waiting[what] else { return };
        self.waiting[what] = Some(waited + TICK).filter(|waited| *waited < PATIENCE);
        if self.waiting[what].is_none() {
            self.output.note(&line());
        }
    }

    fn cancel(&self, cancelled: &CancellationToken) {
        self.display.finish();
        self.output.note("cancelled: removing what was stored");
        cancelled.cancel();
    }
}

impl From<&Report> for Taken {
    #[allow(clippy::cast_precision_loss)] // for people
    fn from(report: &Report) -> Self {
        let backup = Line::from(&report.entry);
        let (plain, stored) = (backup.plain_bytes as f64, backup.stored_bytes as f64);
        let bytes_per_s = plain / backup.duration_s.max(0.001);
        Self { ratio: plain / stored.max(1.0), bytes_per_s, notices: report.notices.clone(), backup }
    }
}

impl Taken {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // for people
    fn text(&self) -> String {
        let Line { id, resource, duration_s, plain_bytes, stored_bytes, own, .. } = &self.backup;
        let mut lines = self.notices.clone();
        let Own::Postgres { timeline, start_lsn, stop_lsn, server_version, files, .. } = own else { return lines.join("\n") };
        lines.push(format!("backup {id} of {resource}, PostgreSQL {}", version(*server_version)));
        lines.push(format!("  WAL       {start_lsn} to {stop_lsn} on timeline {timeline}, stored"));
        let (plain, stored) = (bytes(*plain_bytes), bytes(*stored_bytes));
        lines.push(format!("  size      {plain} in {}, {stored} stored ({:.1} to 1)", counted(*files, "file"), self.ratio));
        lines.push(format!("  duration  {duration_s:.1} s, {}/s", bytes(self.bytes_per_s as u64)));
        lines.join("\n")
    }
}
