//! Chance that can be repeated.

use std::time::{Duration, SystemTime};

/// A generator whose seed is printed, so that a failure can be repeated.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// With the seed of `HOLDFAST_TEST_SEED`, or one of its own.
    ///
    /// # Panics
    /// When `HOLDFAST_TEST_SEED` is not a number.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default would hide that it is chance")]
    pub fn new() -> Self {
        let chosen = std::env::var("HOLDFAST_TEST_SEED").ok().map(|seed| seed.parse().expect("HOLDFAST_TEST_SEED is a number"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
        let seed = chosen.unwrap_or_else(|| u64::from(std::process::id()) ^ u64::from(now.subsec_nanos()) ^ now.as_secs() << 20);
        println!("HOLDFAST_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// A number from 0 to `limit` - 1.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A number from 0 to `count` - 1, for an index.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn choose(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).expect("less than a usize")
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }

    /// Lets time pass: the load works on, and the agent dies somewhere in it.
    pub fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        let length = milliseconds.end - milliseconds.start;
        std::thread::sleep(Duration::from_millis(milliseconds.start + self.below(length)));
    }

    /// Another one, for another thread.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.below(u64::MAX) | 1)
    }
}

/// How often everything is done: once, or as often as `HOLDFAST_TEST_ROUNDS` says.
///
/// # Panics
/// When that is not a number.
#[must_use]
pub fn rounds() -> u32 {
    std::env::var("HOLDFAST_TEST_ROUNDS").map_or(1, |rounds| rounds.parse().expect("HOLDFAST_TEST_ROUNDS is a number"))
}
