//! The receiver of one cluster: streams its WAL into the repository, and begins anew whenever something ends that.
//!
//! It gives up nothing by itself: whatever is wrong with the server, the store or the configuration is reported, and tried again after
//! a pause. It remembers nothing between two streams; where to go on is found from the store and the slot each time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::delay::Delays;
use super::gap::is_removed;
use super::inflow::Inflow;
use super::known::Known;
use super::pause::Pause;
use super::report::{Report, State, Trouble};
use super::session::{End, Session};
use super::setup::{Plan, Task};
use super::slicing::SliceRule;
use super::slot::{self, Seen};
use super::{Error, Result};
use crate::config::Postgres;
use crate::pg::Lsn;
use crate::pgwire::{Failure, ReplicationConnection, WalStream};
use crate::repository::{self, Repository, ResourceName};
use crate::resources::postgres::{followed, source};
use crate::sys::clock;

/// How long the rest may take to be stored when the agent is asked to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// How long the goodbye to the server may take.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(2);
/// How long what is on its way may take to be stored, and taken back, when it contradicts what others stored.
const WITHDRAWAL_DEADLINE: Duration = Duration::from_secs(10);
/// A stream that lasted so long, or that stored anything, was a good one: the next failure is the first of a new run.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// How often it is looked whether another server was promoted.
const LOOK_FOR_PROMOTIONS: Duration = Duration::from_secs(15);

/// What came of an attempt to begin.
enum Begun {
    /// A stream.
    Streaming(Box<(Plan, Known, WalStream)>),
    /// Nothing yet, but the next attempt will find things better; with the connection, if it can be used again.
    Mended(Option<Box<ReplicationConnection>>),
}

/// Streams the WAL of one cluster into the repository.
#[derive(Debug)]
pub struct Receiver {
    task: Task,
    /// Kept from one stream to the next.
    delays: Mutex<Delays>,
    /// Up to where the stream that has just ended on an open connection was stored: what was compared with this very server.
    followed: Mutex<Option<Lsn>>,
}

impl Receiver {
    /// The receiver of a configured cluster.
    ///
    /// # Errors
    /// When the configuration cannot be used: the connection string, the slot's name.
    pub fn new(repository: Repository, resource: ResourceName, cluster: &Postgres, report: Report) -> Result<Self> {
        let info = source::conninfo(cluster)?;
        let rule = SliceRule { max_delay: cluster.max_delay.0, synchronous: cluster.synchronous };
        let task = Task { repository, resource, info, slot: cluster.slot.parse()?, rule, report };
        Ok(Self { task, delays: Mutex::default(), followed: Mutex::default() })
    }

    /// Runs until it is asked to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut pause = Pause::default();
        let mut connection = None;
        while !stop.is_cancelled() {
            let (begun, last_stored) = (clock::instant(), self.last_stored_at());
            let attempt = tokio::select! {
                attempt = self.attempt(connection.take(), stop) => attempt,
                // Nothing has been received yet where this can win: a running stream stops by itself.
                () = stopped_for(stop, STOP_DEADLINE + GOODBYE_DEADLINE * 2) => break,
            };
            match attempt {
                Ok(open) => {
                    connection = open;
                    pause.reset();
                }
                Err(error) => {
                    if begun.elapsed() >= GOOD_AFTER || self.last_stored_at() > last_stored {
                        pause.reset();
                    }
                    self.complain(&error, &pause);
                    tokio::select! {
                        () = sleep(pause.next()) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        self.task.report.update(|status| status.state = State::Stopped);
    }

    fn last_stored_at(&self) -> Option<Timestamp> {
        self.task.report.status().last_stored_at
    }

    fn complain(&self, error: &Error, pause: &Pause) {
        let hint = error.hint();
        if pause.is_worth_a_line() {
            tracing::warn!(resource = %self.task.resource, hint, "no WAL is received, trying again: {error}");
        }
        self.task.report.update(|status| {
            status.state = State::Waiting;
            status.trouble = Some(Trouble::now(error.to_string(), hint));
        });
    }

    /// From a connection to the end of its stream. Returns the connection where it can be used again.
    async fn attempt(
        &self,
        open: Option<ReplicationConnection>,
        stop: &CancellationToken,
    ) -> Result<Option<ReplicationConnection>> {
        self.task.report.update(|status| status.state = State::Starting);
        let begun = tokio::select! {
            begun = self.begin(open) => begun?,
            () = stop.cancelled() => return Ok(None),
        };
        match begun {
            Begun::Streaming(begun) => {
                let (plan, known, stream) = *begun;
                self.receive(plan, known, stream, stop).await
            }
            Begun::Mended(connection) => Ok(connection.map(|connection| *connection)),
        }
    }

    /// Finds out where to go on and begins there; or mends what is in the way of that.
    async fn begin(&self, open: Option<ReplicationConnection>) -> Result<Begun> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|_| open.is_some());
        let (connection, plan) = self.reach(open, followed).await?;
        let known = self.task.known(&plan).await?;
        match self.task.stream(connection, &plan).await {
            Ok(stream) => Ok(Begun::Streaming(Box::new((plan, known, stream)))),
            Err(Error::Server(error)) if matches!(error.failure(), Failure::SlotLost) => self.replace_slot(&plan).await,
            Err(Error::Server(error)) if is_removed(&error) => {
                self.task.record_gap(&plan, plan.goal, error).await?;
                Ok(Begun::Mended(None))
            }
            Err(error) => Err(error),
        }
    }

    /// Reaches a server that may be followed, and finds out where to go on there.
    async fn reach(&self, open: Option<ReplicationConnection>, followed: Option<Lsn>) -> Result<(ReplicationConnection, Plan)> {
        let Task { repository, resource, info, .. } = &self.task;
        let mut reached = followed::reach(repository, resource, info, open).await?;
        let plan = self.task.plan(&mut reached, followed).await?;
        Ok((reached.connection, plan))
    }

    /// Receives what a stream brings, to its end.
    async fn receive(
        &self,
        plan: Plan,
        known: Known,
        mut stream: WalStream,
        stop: &CancellationToken,
    ) -> Result<Option<ReplicationConnection>> {
        let mut delays = std::mem::take(&mut *self.delays.lock().unwrap_or_else(PoisonError::into_inner));
        delays.restart(plan.new_from, plan.goal);
        let mut inflow =
            Inflow::new(&plan.archive, plan.begin, known, self.task.rule, &self.task.report, delays).following(plan.follows);
        if let Some(end) = plan.end() {
            inflow.ends_at(end);
        }
        self.task.report.update(|status| status.trouble = None);
        let end = self.stream(&mut stream, &mut inflow, &plan, stop).await;
        *self.delays.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(inflow.delays());
        self.after(end, stream, inflow, plan, stop).await
    }

    /// Streams, and watches the slot meanwhile.
    async fn stream(&self, stream: &mut WalStream, inflow: &mut Inflow, plan: &Plan, stop: &CancellationToken) -> Result<End> {
        let (seen, watched) = watch::channel(Seen::default());
        let watching = slot::watch(plan.info.clone(), self.task.slot.clone(), self.task.report.clone(), seen);
        let mut session = Session::new(stream, inflow, plan, &self.task.report, watched);
        let end = tokio::select! {
            end = session.run(stop) => end?,
            () = watching => return Err(Error::Interrupted("nobody watches the slot".to_owned())),
            error = overtaken(plan) => return Err(error),
        };
        if end == End::Stopped {
            self.finish(session).await?;
        }
        Ok(end)
    }

    /// What follows the end of a stream. That what was received contradicts what others stored can show in either: while it ran, or when
    /// the rest is stored.
    async fn after(
        &self,
        end: Result<End>,
        stream: WalStream,
        mut inflow: Inflow,
        plan: Plan,
        stop: &CancellationToken,
    ) -> Result<Option<ReplicationConnection>> {
        let followed = self.follow_up(end, stream, &mut inflow, &plan, stop).await;
        if let Err(error) = &followed {
            self.withdraw(&mut inflow, &plan, error).await;
        }
        followed
    }

    async fn follow_up(
        &self,
        end: Result<End>,
        stream: WalStream,
        inflow: &mut Inflow,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<Option<ReplicationConnection>> {
        let resource = &self.task.resource;
        match end {
            Ok(End::Stopped) => goodbye(stream).await,
            Ok(End::Switched { next, switch }) => {
                tracing::info!(%resource, timeline = %plan.begin.timeline, %next, %switch, "the timeline ends");
                inflow.ends_at(switch);
                inflow.settle().await?;
                *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(inflow.stored_before(switch));
                return Ok(Some(stream.into_connection()?));
            }
            Ok(End::ServerClosed) => {
                tracing::info!(%resource, "the server has shut down");
                self.rescue(inflow, plan, stop).await?;
            }
            Err(Error::Server(error)) if is_removed(&error) => {
                drop(stream);
                // Of what came before that the server may have nothing any more.
                self.rescue(inflow, plan, stop).await?;
                self.task.record_gap(plan, plan.goal.max(inflow.stored()), error).await?;
            }
            Err(error @ Error::StoreBehind) => {
                tracing::warn!(%resource, "{error}");
                drop(stream);
                self.rescue(inflow, plan, stop).await?;
            }
            Err(error @ (Error::Server(_) | Error::HoldingUp | Error::Interrupted(_))) => {
                drop(stream);
                self.complain(&error, &Pause::default());
                self.rescue(inflow, plan, stop).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Where the error says that others stored something else: what is still on its way comes to its end, and is taken back then, and the
    /// conflict is recorded.
    async fn withdraw(&self, inflow: &mut Inflow, plan: &Plan, error: &Error) {
        let contradicts = matches!(error, Error::Contradiction(_) | Error::Repository(repository::Error::Conflict { .. }));
        if contradicts && timeout(WITHDRAWAL_DEADLINE, inflow.come_to_rest()).await.is_err() {
            tracing::warn!(resource = %self.task.resource, "what was sent to the store last was not finished, and not taken back");
        }
        self.task.note_conflict(plan, error).await;
    }

    async fn replace_slot(&self, plan: &Plan) -> Result<Begun> {
        let mut connection = ReplicationConnection::connect(&plan.info).await?;
        slot::replace(&mut connection, &self.task.slot).await?;
        Ok(Begun::Mended(Some(Box::new(connection))))
    }

    /// Stores the rest and tells the server so.
    ///
    /// # Errors
    /// That the rest is refused. That it cannot be stored now, or that the server does not hear of it, is no reason not to stop in good order.
    async fn finish(&self, mut session: Session<'_>) -> Result<()> {
        let resource = &self.task.resource;
        match timeout(STOP_DEADLINE, session.finish()).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ (Error::Contradiction(_) | Error::NotJoined(_) | Error::Repository(_)))) => return Err(error),
            Ok(Err(error)) => tracing::warn!(%resource, "while stopping: {error}"),
            Err(_) => {
                tracing::warn!(%resource, "what was received last cannot be stored now; it was not acknowledged, the slot holds it");
            }
        }
        Ok(())
    }

    /// The stream is broken, and what was received last may be the only copy that is left: it is stored, however long that takes.
    /// Meanwhile the slot is watched.
    async fn rescue(&self, inflow: &mut Inflow, plan: &Plan, stop: &CancellationToken) -> Result<()> {
        if inflow.is_settled() {
            return Ok(());
        }
        self.task.report.update(|status| status.state = State::Stalled);
        let (seen, _watched) = watch::channel(Seen::default());
        let settled = tokio::select! {
            settled = inflow.settle() => settled,
            () = slot::watch(plan.info.clone(), self.task.slot.clone(), self.task.report.clone(), seen) => Ok(()),
            () = stopped_for(stop, STOP_DEADLINE) => Ok(()),
        };
        let stored = inflow.stored();
        self.task.report.update(|status| status.stored = status.stored.max(Some(stored)));
        settled
    }
}

/// Waits until another server's promotion shows in the store: then this one is not the primary any more, whatever it says.
async fn overtaken(plan: &Plan) -> Error {
    loop {
        sleep(LOOK_FOR_PROMOTIONS).await;
        match plan.archive.newest_history().await {
            Ok(newest) => {
                if let Some(superseded) = followed::overtaken(&plan.server, plan.chain.newest(), newest) {
                    return superseded.into();
                }
            }
            Err(error) => tracing::debug!("the store cannot be asked for promotions: {error}"),
        }
    }
}

/// Ends a stream in good order, if the server is there to hear it.
async fn goodbye(stream: WalStream) {
    if let Ok(Ok(connection)) = timeout(GOODBYE_DEADLINE, stream.stop()).await {
        connection.close().await;
    }
}

async fn stopped_for(stop: &CancellationToken, duration: Duration) {
    stop.cancelled().await;
    sleep(duration).await;
}
