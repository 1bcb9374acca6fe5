//! The only place that reads the time.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The time of day, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A point on the monotonic clock.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
}

/// A moment by which something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `duration` from now.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self(instant() + duration)
    }

    /// Whether it has come.
    #[must_use]
    pub fn has_passed(self) -> bool {
        instant() >= self.0
    }

    /// How long it is until then; zero afterwards.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(instant())
    }
}
