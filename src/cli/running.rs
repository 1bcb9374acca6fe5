//! What takes long, as it looks from outside: how far it is, and the signals that end it.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::output::Progress as Display;
use super::{Context, Failure};
use crate::repository::Repository;
use crate::resources::{self, Doing, Progress, Run};

/// How often the display follows.
const TICK: Duration = Duration::from_millis(100);
/// What is waited for longer than this is spoken of.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does something with a resource and shows how far it is. Ctrl-C and SIGTERM cancel it; it cleans up before it ends.
pub(super) async fn watched<T>(
    context: &Context,
    repository: &Repository,
    what: &str,
    work: impl AsyncFnOnce(Run) -> resources::Result<T>,
) -> Result<T, Failure> {
    let (progress, shown) = Progress::new();
    let run = Run { progress, ..Run::new(repository.clone()) };
    let cannot = |error: std::io::Error| Failure::new(format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let cancelled = run.cancelled.clone();
    let (mut shown, mut tick) = (Shown::new(context, what, shown), tokio::time::interval(TICK));
    let mut work = std::pin::pin!(work(run));
    loop {
        tokio::select! {
            done = &mut work => {
                shown.display.finish();
                return Ok(done?);
            }
            _ = tick.tick() => shown.follow(),
            _ = interrupt.recv() => cancelled.cancel(),
            _ = terminate.recv() => cancelled.cancel(),
        }
    }
}

/// What is on the screen.
struct Shown<'a> {
    context: &'a Context,
    display: Display,
    doing: watch::Receiver<Doing>,
    said: String,
    since: Duration,
}

impl<'a> Shown<'a> {
    fn new(context: &'a Context, what: &str, doing: watch::Receiver<Doing>) -> Self {
        let display = context.output.progress(what);
        Self { context, display, doing, said: String::new(), since: Duration::ZERO }
    }

    fn follow(&mut self) {
        let doing = self.doing.borrow_and_update().clone();
        self.display.set(doing.done_bytes, doing.total_bytes);
        if doing.what != self.said {
            (self.said, self.since) = (doing.what, Duration::ZERO);
        }
        let before = self.since;
        self.since += TICK;
        if before < PATIENCE && self.since >= PATIENCE && self.said.starts_with("waiting") {
            self.context.output.note(&self.said);
        }
    }
}
