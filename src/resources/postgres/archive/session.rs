//! One running stream: what the server sends is taken in, what is stored is reported, and the server is never left without an answer.
//!
//! While the store is behind nothing is read, so that memory stays bounded, and statuses are still sent, so that the server does not
//! take the agent for dead. A server that shuts down waits until its last WAL is flushed: if that cannot be stored soon,
//! the stream ends with `HoldingUp`, and what is in memory is stored when the store is back. A walsender whose client does not read
//! cannot even be ended by its server (the checkpointer, which ends it to give up a slot, would wait for it), so a stream that
//! has not been read from for long is ended too: `StoreBehind`.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::inflow::Inflow;
use super::report::{Report, State};
use super::setup::Plan;
use super::slot::Seen;
use super::{Error, Result};
use crate::pg::{Lsn, TimelineId};
use crate::pgwire::{Status, WalEvent, WalStream};
use crate::sys::{clock, fail_point};

/// How long a server may wait for an answer that says that all is flushed.
const URGENT_DEADLINE: Duration = Duration::from_millis(2500);
/// How long nothing may be read because nothing could be stored.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How often the report is brought up to date at most.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often, at most, a status is sent because something was stored, unless somebody waits for it: what is stored later than that
/// is told when the pause is over. Whoever looks at the slot sees this much more than the true delay.
const STATUS_PAUSE: Duration = Duration::from_millis(50);

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked to.
    Stopped,
    /// The timeline ended.
    Switched {
        /// The one that follows.
        next: TimelineId,
        /// Where it begins.
        switch: Lsn,
    },
    /// The server has shut down.
    ServerClosed,
}

/// What the server has asked to be flushed: what it had sent by then. What it sends later, as a server that runs does without end, is no part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Awaited(Option<(Lsn, Instant)>);

impl Awaited {
    /// The server asks. As long as an earlier question waits, this one changes nothing: a server that waits asks again.
    fn ask(&mut self, received: Lsn, stored: Lsn, now: Instant) {
        if stored < received {
            self.0.get_or_insert((received, now + URGENT_DEADLINE));
        }
    }

    fn answer(&mut self, stored: Lsn) {
        self.0 = self.0.filter(|(position, _)| stored < *position);
    }

    const fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// When the server has waited long enough.
    fn deadline(&self) -> Option<Instant> {
        self.0.map(|(_, deadline)| deadline)
    }
}

/// When what is due.
#[derive(Debug)]
struct Times {
    /// The next regular status.
    status: Instant,
    last_status: Instant,
    told: Instant,
    urgent: Awaited,
    /// Since when nothing is read and nothing has been stored.
    stalled: Option<Instant>,
}

/// A stream and what becomes of it.
#[derive(Debug)]
pub(super) struct Session<'a> {
    stream: &'a mut WalStream,
    inflow: &'a mut Inflow,
    plan: &'a Plan,
    report: &'a Report,
    seen: watch::Receiver<Seen>,
    synchronous: bool,
    server_end: Lsn,
    times: Times,
}

impl<'a> Session<'a> {
    /// A session of a stream that has just begun.
    pub fn new(
        stream: &'a mut WalStream,
        inflow: &'a mut Inflow,
        plan: &'a Plan,
        report: &'a Report,
        seen: watch::Receiver<Seen>,
    ) -> Self {
        let now = clock::instant();
        let times = Times { status: now, last_status: now, told: now, urgent: Awaited::default(), stalled: None };
        let synchronous = inflow.is_synchronous();
        Self { stream, inflow, plan, report, seen, synchronous, server_end: Lsn::INVALID, times }
    }

    /// Streams until something ends it. `stop` may end it at any time.
    ///
    /// # Errors
    /// Those of the server, the repository, and `HoldingUp`.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<End> {
        loop {
            let now = clock::instant();
            self.inflow.start_uploads(now, self.times.urgent.is_some())?;
            self.tell(now);
            if now >= self.times.status {
                self.send_status(now).await?;
            }
            self.check_patience(now)?;
            let has_room = self.inflow.has_room();
            self.times.stalled = self.times.stalled.or(Some(now)).filter(|_| !has_room);
            let wake = self.wake(now);
            tokio::select! {
                () = stop.cancelled() => return Ok(End::Stopped),
                event = self.stream.next(), if has_room => {
                    if let Some(end) = self.take(event?).await? {
                        return Ok(end);
                    }
                }
                advanced = self.inflow.finished() => {
                    self.times.stalled = None;
                    if advanced? {
                        self.advanced().await?;
                    }
                }
                changed = self.seen.changed() => {
                    if changed.is_err() {
                        return Err(Error::Interrupted("nobody watches the slot".to_owned()));
                    }
                }
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    fn wake(&self, now: Instant) -> Instant {
        let tell = if self.inflow.is_settled() { now + Duration::from_secs(5) } else { now + TELL_EVERY };
        let stall = self.times.stalled.map(|since| since + STALL_MAX);
        let due = self.inflow.due().into_iter().chain(self.times.urgent.deadline()).chain(stall);
        due.fold(self.times.status.min(tell), Instant::min)
    }

    async fn take(&mut self, event: WalEvent) -> Result<Option<End>> {
        let now = clock::instant();
        match event {
            WalEvent::XLogData { server_end, sent, bytes, .. } => {
                self.server_end = self.server_end.max(server_end);
                self.inflow.delays().heard(sent, clock::now());
                self.inflow.take(&bytes, now);
            }
            WalEvent::Keepalive { server_end, sent, reply_requested } => {
                self.server_end = self.server_end.max(server_end);
                self.inflow.delays().heard(sent, clock::now());
                self.check_server_end(server_end)?;
                if reply_requested {
                    self.hurry(now).await?;
                }
            }
            WalEvent::TimelineEnd { next_timeline, start } => {
                return Ok(Some(End::Switched { next: next_timeline, switch: start }));
            }
            WalEvent::Closed => return Ok(Some(End::ServerClosed)),
        }
        Ok(None)
    }

    /// The server has sent everything, and more than that was stored before.
    fn check_server_end(&self, server: Lsn) -> Result<()> {
        let stored = self.inflow.known_end();
        if self.inflow.received() >= server && stored > server {
            return Err(Error::ServerBehind { timeline: self.plan.begin.timeline, stored, server });
        }
        Ok(())
    }

    /// The server wants an answer: it gets the truth now, and again as soon as what it has sent is stored.
    async fn hurry(&mut self, now: Instant) -> Result<()> {
        self.times.urgent.ask(self.inflow.received(), self.inflow.stored(), now);
        if self.times.urgent.is_some() {
            self.inflow.start_uploads(now, true)?;
        }
        self.send_status(now).await
    }

    async fn advanced(&mut self) -> Result<()> {
        let now = clock::instant();
        let awaited = self.synchronous || self.times.urgent.is_some();
        self.times.urgent.answer(self.inflow.stored());
        if awaited || now >= self.times.last_status + STATUS_PAUSE {
            return self.send_status(now).await;
        }
        self.times.status = self.times.status.min(self.times.last_status + STATUS_PAUSE);
        Ok(())
    }

    /// A server that is shutting down is not held up.
    fn check_patience(&self, now: Instant) -> Result<()> {
        let waits = self.times.urgent.deadline().is_some_and(|deadline| now >= deadline);
        let closing = !self.inflow.has_room() && self.seen.borrow().shutting_down;
        if waits || closing {
            return Err(Error::HoldingUp);
        }
        let stalled = self.times.stalled.is_some_and(|since| now >= since + STALL_MAX);
        if stalled { Err(Error::StoreBehind) } else { Ok(()) }
    }

    /// What may be reported: the end of the stored prefix, once that is not less than what was acknowledged before.
    fn flushed(&self) -> Lsn {
        let stored = self.inflow.stored();
        if stored >= self.plan.floor() { stored } else { Lsn::INVALID }
    }

    async fn send_status(&mut self, now: Instant) -> Result<()> {
        let status = Status { written: self.inflow.received(), flushed: self.flushed() };
        self.times.last_status = now;
        self.times.status = now + self.plan.status_every;
        let interrupted = |error: std::io::Error| Error::Interrupted(error.to_string());
        fail_point::reach("flush.before", || status.flushed.to_string()).map_err(interrupted)?;
        self.stream.send_status(status, false).await?;
        fail_point::reach("flush.after", || status.flushed.to_string()).map_err(interrupted)
    }

    /// Stores what is there and tells the server, because the agent is asked to stop.
    ///
    /// # Errors
    /// As `run`.
    pub async fn finish(&mut self) -> Result<()> {
        self.inflow.settle().await?;
        self.tell_at_once(clock::instant());
        self.send_status(clock::instant()).await
    }

    fn tell(&mut self, now: Instant) {
        if now >= self.times.told + TELL_EVERY {
            self.tell_at_once(now);
        }
    }

    fn tell_at_once(&mut self, now: Instant) {
        self.times.told = now;
        let (received, stored) = (self.inflow.received(), self.inflow.stored());
        let delay = self.inflow.delays().summary(clock::now());
        let state = if self.inflow.has_room() { State::Streaming } else { State::Stalled };
        let (server_end, floor) = (self.server_end, self.plan.goal);
        self.report.update(|status| {
            status.state = state;
            status.timeline = Some(self.plan.begin.timeline);
            status.received = Some(received);
            status.stored = Some(stored.max(floor));
            status.server_end = status.server_end.max(Some(server_end));
            status.delay = delay;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_when_what_was_sent_before_it_is_stored_whatever_was_sent_since() {
        let (mut awaited, now) = (Awaited::default(), clock::instant());
        awaited.ask(Lsn(100), Lsn(100), now);
        assert_eq!(awaited.deadline(), None, "nothing is to be waited for");
        awaited.ask(Lsn(200), Lsn(100), now);
        awaited.ask(Lsn(300), Lsn(150), now + Duration::from_secs(1));
        awaited.answer(Lsn(199));
        assert_eq!(awaited.deadline(), Some(now + URGENT_DEADLINE), "who asks again waits no longer than who asks once");
        // Under load, what is stored never reaches what was received meanwhile.
        awaited.answer(Lsn(200));
        assert!(!awaited.is_some());
        awaited.ask(Lsn(400), Lsn(200), now + Duration::from_secs(2));
        assert_eq!(awaited.deadline(), Some(now + Duration::from_secs(2) + URGENT_DEADLINE));
    }
}
