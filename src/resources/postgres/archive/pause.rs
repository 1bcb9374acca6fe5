//! Growing pauses between attempts. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// The pauses of one run of failures: each twice as long as the one before, up to a limit.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    /// How long to wait after another failure.
    pub fn next(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        pause
    }

    /// Whether the failure that is to be paused after deserves a line in the log: the first does, then ever fewer do.
    pub const fn is_worth_a_line(&self) -> bool {
        self.failures == 0 || self.failures.is_power_of_two()
    }

    /// Something worked.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew() {
        let mut pause = Pause::default();
        let lengths: Vec<u128> = (0..7).map(|_| pause.next().as_millis()).collect();
        assert_eq!(lengths, [200, 400, 800, 1600, 3200, 5000, 5000]);
        (0..100).for_each(|_| assert!(pause.next() <= LONGEST));
        pause.reset();
        assert_eq!(pause.next(), FIRST);
    }
}
