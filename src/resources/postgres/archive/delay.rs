//! The loss window, measured: how long commits waited until they were stored. Pure.
//!
//! The time in a commit record is by the server's clock, so is the time at which a message was sent: from the latter comes the
//! difference to the clock here. Commits that arrived together count with the age of the oldest, so the figures err upwards.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pg::Lsn;
use crate::pg::records::Activity;

/// How many groups of commits wait to be stored before they are counted together.
const WAITING_MAX: usize = 20_000;
/// How many bins a doubling of the delay has: each is about 2 % wide.
const BINS_PER_DOUBLING: f64 = 32.0;
/// From 1 ms to more than an hour.
const BINS: usize = 22 * 32;
/// How long one histogram is filled; the last few are kept.
const SPAN: Duration = Duration::from_secs(60);
const SPANS: usize = 5;

/// Delays from commit to stored, over the last few minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DelaySummary {
    /// How many commits were counted.
    pub commits: u64,
    /// The median, in seconds.
    pub p50_seconds: f64,
    /// The 99th percentile, in seconds.
    pub p99_seconds: f64,
    /// The longest, in seconds.
    pub max_seconds: f64,
}

#[derive(Debug)]
struct Waiting {
    end: Lsn,
    committed: Timestamp,
    commits: u64,
}

#[derive(Debug)]
struct Histogram {
    begun: Timestamp,
    bins: Box<[u64; BINS]>,
    max: Duration,
}

/// Measures the delays of one stream.
#[derive(Debug, Default)]
pub(super) struct Delays {
    /// How far the server's clock is ahead of the one here, in microseconds.
    ahead: Option<i64>,
    /// What was committed before this is older than the archive.
    new_from: Option<Lsn>,
    /// What was committed before this is not counted: it is older than the archive, or was stored by an earlier stream.
    counted_from: Lsn,
    waiting: VecDeque<Waiting>,
    histograms: VecDeque<Histogram>,
}

impl Delays {
    /// Notes a message that the server sent at `sent`, by its clock. What took least time on the way tells most of the clocks.
    pub fn heard(&mut self, sent: Timestamp, now: Timestamp) {
        let ahead = sent.as_microsecond().saturating_sub(now.as_microsecond());
        // A millisecond less each time, so that a clock that was set is followed.
        self.ahead = Some(self.ahead.map_or(ahead, |known| ahead.max(known.saturating_sub(1000))));
    }

    /// Notes the commits of some WAL that has just arrived.
    pub fn arrived(&mut self, activity: &Activity) {
        let (Some(first), Some(last)) = (activity.first_commit, activity.last_commit) else { return };
        if last.end <= self.counted_from {
            return;
        }
        // The others of the group, which lie where counting begins, make no difference.
        let oldest = if first.end <= self.counted_from { last } else { first };
        let full = self.waiting.len() >= WAITING_MAX;
        match self.waiting.back_mut().filter(|_| full) {
            Some(group) => {
                group.end = last.end;
                group.commits += activity.commits;
            }
            None => {
                let group = Waiting { end: last.end, committed: oldest.time, commits: activity.commits };
                self.waiting.push_back(group);
            }
        }
    }

    /// Notes that everything up to `end` is stored.
    pub fn stored(&mut self, end: Lsn, now: Timestamp) {
        let server_now = now.as_microsecond().saturating_add(self.ahead.unwrap_or(0));
        while let Some(group) = self.waiting.pop_front_if(|group| group.end <= end) {
            let delay = server_now.saturating_sub(group.committed.as_microsecond());
            self.count(Duration::from_micros(u64::try_from(delay).unwrap_or(0)), group.commits, now);
        }
    }

    /// A new stream begins: what is not stored comes again. A stream begins with a segment, and so with commits that were `stored` before;
    /// behind a promotion they were under the name of another timeline. While nothing was ever stored, `new_from` is where the server's
    /// WAL ended when it was first asked: what was committed before that never waited for this archive.
    pub fn restart(&mut self, new_from: Option<Lsn>, stored: Lsn) {
        self.waiting.clear();
        self.new_from = self.new_from.or(new_from);
        self.counted_from = self.new_from.unwrap_or_default().max(stored);
        self.ahead = None;
    }

    fn count(&mut self, delay: Duration, commits: u64, now: Timestamp) {
        let current = |histogram: &&mut Histogram| now.duration_since(histogram.begun).unsigned_abs() < SPAN;
        let histogram = match self.histograms.back_mut().filter(current) {
            Some(histogram) => histogram,
            None => {
                while self.histograms.len() >= SPANS {
                    self.histograms.pop_front();
                }
                self.histograms.push_back(Histogram { begun: now, bins: Box::new([0; BINS]), max: Duration::ZERO });
                self.histograms.back_mut().expect("one was just added")
            }
        };
        histogram.bins[bin(delay)] += commits;
        histogram.max = histogram.max.max(delay);
    }

    /// The delays of the last few minutes; `None` if nothing was committed.
    pub fn summary(&self, now: Timestamp) -> Option<DelaySummary> {
        let span = SPAN * u32::try_from(SPANS).unwrap_or(1);
        let recent = |histogram: &&Histogram| now.duration_since(histogram.begun).unsigned_abs() < span;
        let recent: Vec<&Histogram> = self.histograms.iter().filter(recent).collect();
        let commits: u64 = recent.iter().flat_map(|histogram| histogram.bins.iter()).sum();
        let max = recent.iter().map(|histogram| histogram.max).max().filter(|_| commits > 0)?;
        let quantile = |share: f64| {
            let mut left = (commits as f64 * share).ceil();
            let reached = |index: &usize| {
                left -= recent.iter().map(|histogram| histogram.bins[*index]).sum::<u64>() as f64;
                left <= 0.0
            };
            (0..BINS).find(reached).map_or(max, upper_bound).min(max).as_secs_f64()
        };
        Some(DelaySummary { commits, p50_seconds: quantile(0.5), p99_seconds: quantile(0.99), max_seconds: max.as_secs_f64() })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a positive number of at most BINS after the clamp
fn bin(delay: Duration) -> usize {
    let milliseconds = (delay.as_secs_f64() * 1000.0).max(1.0);
    ((milliseconds.log2() * BINS_PER_DOUBLING) as usize).min(BINS - 1)
}

fn upper_bound(bin: usize) -> Duration {
    Duration::from_secs_f64(((bin + 1) as f64 / BINS_PER_DOUBLING).exp2() / 1000.0)
}

#[cfg(test)]
mod tests;
