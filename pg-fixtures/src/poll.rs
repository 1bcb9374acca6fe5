//! Waiting for something to become true, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, which is returned; `None` when the deadline passes first.
pub fn try_for<T>(deadline: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Asks until it is true; whether it became so before the deadline.
pub fn try_until(deadline: Duration, mut question: impl FnMut() -> bool) -> bool {
    try_for(deadline, || question().then_some(())).is_some()
}

/// Asks until it is true.
///
/// # Panics
/// When the deadline passes first.
pub fn until(deadline: Duration, what: &str, question: impl FnMut() -> bool) {
    assert!(try_until(deadline, question), "not within {deadline:?}: {what}");
}
