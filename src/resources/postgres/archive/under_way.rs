//! The slices that are on their way, and what happens in the WAL that is not stored yet. Pure.
//!
//! Several are on their way at once, and a store may finish them in any order, or, where this program is killed, only some of them. So
//! each begins at the end of what is stored, and holds again what those before it hold that are still on their way: whichever of
//! them are stored then, there is no hole between them, which would have to be taken for a loss.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::slicing::{SliceRule, StoredSlice};
use crate::pg::Lsn;
use crate::pg::records::Activity;

/// Beyond this size nothing is sent a second time: the next slice then waits for the one before it.
const REPEATED_MAX: u64 = 256 << 10;

/// What a slice is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It holds new WAL.
    New,
    /// It was stored before, and is compared.
    Compare,
    /// It holds smaller slices that are stored.
    Merge,
}

/// A slice on its way.
#[derive(Debug)]
pub(super) struct Sent {
    /// What is in it.
    pub slice: StoredSlice,
    /// Why.
    pub purpose: Purpose,
}

/// The slices on their way.
#[derive(Debug)]
pub(super) struct UnderWay {
    sent: Vec<Sent>,
    last: Instant,
    /// What happens behind what is stored, by where it ends, in the parts in which it was first sent.
    happened: VecDeque<(Lsn, Activity)>,
    /// How long slices take to be stored: the longest, the more forgotten the longer ago.
    put_time: Duration,
}

impl UnderWay {
    /// Nothing is on its way.
    pub const fn new(now: Instant) -> Self {
        Self { sent: Vec::new(), last: now, happened: VecDeque::new(), put_time: Duration::ZERO }
    }

    /// Whether something is compared or merged.
    pub fn has(&self, purpose: Purpose) -> bool {
        self.sent.iter().any(|sent| sent.purpose == purpose)
    }

    /// Whether nothing is on its way.
    pub const fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// When new WAL that arrived at `arrived` is due, with which `unstored` bytes are not stored; none before something is.
    pub fn due(&self, rule: SliceRule, arrived: Instant, unstored: u64) -> Option<Instant> {
        let count = self.sent.iter().filter(|sent| sent.purpose == Purpose::New).count();
        if count > 0 && unstored > REPEATED_MAX || self.has(Purpose::Compare) {
            return None;
        }
        Some(rule.next(count, self.last, self.put_time)?.max(rule.due(arrived, self.put_time)))
    }

    /// A slice of new WAL, of which `fresh` was not sent yet.
    pub fn new_slice(&mut self, range: Range<Lsn>, fresh: Activity, now: Instant) -> StoredSlice {
        self.last = now;
        self.happened.push_back((range.end, fresh));
        let activity = self.since(range.start, range.end);
        StoredSlice { range, level: 0, activity }
    }

    /// Notes that a slice was sent.
    pub fn send(&mut self, slice: StoredSlice, purpose: Purpose) {
        self.sent.push(Sent { slice, purpose });
    }

    /// Takes the slice that is stored now. What happens in it is only what happens past `stored`, where that ended before: the rest
    /// is told by those before it.
    pub fn take(&mut self, range: &Range<Lsn>, stored: Lsn, took: Duration) -> Option<Sent> {
        let index = self.sent.iter().position(|sent| sent.slice.range == *range)?;
        let mut sent = self.sent.remove(index);
        if sent.purpose == Purpose::New {
            self.put_time = took.max(self.put_time * 7 / 8);
            sent.slice.activity = self.since(stored, range.end);
            self.happened.retain(|(end, _)| *end > range.end);
        }
        Some(sent)
    }

    fn since(&self, start: Lsn, end: Lsn) -> Activity {
        let mut activity = Activity::default();
        let parts = self.happened.iter().filter(|(part, _)| start < *part && *part <= end);
        parts.for_each(|(_, part)| activity.extend(part.clone()));
        activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::records::RestorePoint;
    use crate::resources::postgres::archive::coverage::contiguous_end;
    use crate::sys::clock;
    use proptest::prelude::*;

    /// A restore point that ends in each slice, to tell the parts apart.
    fn fresh(end: u64) -> Activity {
        let point = RestorePoint { name: String::new(), lsn: Lsn(end), end: Lsn(end), time: clock::now() };
        Activity { restore_points: vec![point], ..Activity::default() }
    }

    fn points(slice: &StoredSlice) -> Vec<u64> {
        slice.activity.restore_points.iter().map(|point| point.lsn.0).collect()
    }

    proptest! {
        /// Slices are sent, and finish in any order; then the program is killed, and of those on their way some are stored.
        #[test]
        fn whichever_are_stored_there_is_no_hole_and_nothing_is_told_twice(
            steps in prop::collection::vec((1_u64..100, any::<prop::sample::Index>(), any::<bool>()), 1..12),
            landed in prop::collection::vec(any::<bool>(), 12),
        ) {
            let now = clock::instant();
            let mut under_way = UnderWay::new(now);
            let (mut stored, mut received, mut all, mut told) = (0, 0, Vec::new(), Vec::new());
            for (size, index, finishes) in steps {
                received += size;
                let slice = under_way.new_slice(Lsn(stored)..Lsn(received), fresh(received), now);
                prop_assert!(points(&slice).last() == Some(&received) && points(&slice)[0] > stored);
                under_way.send(slice, Purpose::New);
                if finishes {
                    let range = under_way.sent[index.index(under_way.sent.len())].slice.range.clone();
                    let sent = under_way.take(&range, Lsn(stored), Duration::ZERO).unwrap();
                    all.push(range.start.0..range.end.0);
                    told.extend(points(&sent.slice));
                    stored = stored.max(range.end.0);
                }
            }
            let expected = told.iter().copied().collect::<std::collections::BTreeSet<_>>();
            prop_assert!(told.iter().eq(&expected), "{:?}", told);
            let lost = under_way.sent.iter().zip(landed).filter(|(_, landed)| *landed);
            all.extend(lost.map(|(sent, _)| sent.slice.range.start.0..sent.slice.range.end.0));
            prop_assert_eq!(contiguous_end(&all, 0), all.iter().map(|range| range.end).max().unwrap_or(0));
            prop_assert!(contiguous_end(&all, 0) >= stored);
        }
    }
}
