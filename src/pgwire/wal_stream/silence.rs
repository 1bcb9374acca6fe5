//! When a server that sends nothing is asked for a sign of life, and when it is given up.
//!
//! An idle server sends a keepalive after half its `wal_sender_timeout` (60 s by default), but none at all where that is 0. So it is
//! asked, and only what comes, or does not, after the question counts: a caller that did not read for an hour does not find a
//! living server dead.

use std::time::{Duration, Instant};

/// After so much silence the server is asked.
const PROBE_AFTER: Duration = Duration::from_secs(20);
/// So long it may take to answer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub(super) struct Silence {
    heard: Instant,
    probed: Option<Instant>,
}

/// What to do about the silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Wait,
    Probe,
    /// After so long a silence.
    GiveUp(Duration),
}

impl Silence {
    pub(super) const fn begin(now: Instant) -> Self {
        Self { heard: now, probed: None }
    }

    /// Something has come.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Self::begin(now);
    }

    /// How long to wait before the next step. May be zero: what has arrived already is still to be read then.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let due = self.probed.map_or(self.heard + PROBE_AFTER, |probed| probed + GIVE_UP_AFTER);
        due.saturating_duration_since(now)
    }

    /// Nothing has come: the next step.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if !self.wait(now).is_zero() {
            return Step::Wait;
        }
        if self.probed.is_some() {
            return Step::GiveUp(now.saturating_duration_since(self.heard));
        }
        self.probed = Some(now);
        Step::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_asked_once_and_then_given_up() {
        let begin = crate::sys::clock::instant();
        let mut silence = Silence::begin(begin);
        assert_eq!(silence.step(begin + PROBE_AFTER / 2), Step::Wait);
        assert_eq!(silence.step(begin + PROBE_AFTER), Step::Probe);
        assert_eq!(silence.step(begin + PROBE_AFTER * 2), Step::Wait);
        let end = begin + PROBE_AFTER + GIVE_UP_AFTER;
        assert_eq!(silence.step(end), Step::GiveUp(PROBE_AFTER + GIVE_UP_AFTER));
    }

    #[test]
    fn a_caller_that_did_not_read_asks_before_it_gives_up() {
        let begin = crate::sys::clock::instant();
        let mut silence = Silence::begin(begin);
        let back = begin + Duration::from_secs(3600);
        assert_eq!(silence.wait(back), Duration::ZERO);
        assert_eq!(silence.step(back), Step::Probe);
        assert_eq!(silence.wait(back), GIVE_UP_AFTER);
        silence.heard(back);
        assert_eq!(silence.wait(back), PROBE_AFTER);
    }
}
