//! When a slice is due, and which stored slices are merged into a larger one. Pure.
//!
//! Slices are merged as the runs of a log-structured merge tree are: `RUN` slices of one level become one of the next, beside what
//! is received meanwhile, and are deleted. A segment that fills slowly thus never has many slices of a level, and no byte
//! is merged more often than there are levels.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::pg::Lsn;
use crate::pg::records::Activity;

/// How many slices of one level stand beside one another before they are merged into one of the next.
const RUN: usize = 16;
/// How many slices may be on their way at once where commits wait for them.
const SYNCHRONOUS_AT_ONCE: usize = 4;
/// A further one is sent after this part of the time that the store takes for one.
const SPREAD: u32 = 4;
/// A further slice is not sent sooner after the one before: what arrives within that time travels together.
const SPACING_MIN: Duration = Duration::from_millis(1);

/// A stored slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredSlice {
    /// The WAL in it.
    pub range: Range<Lsn>,
    /// 0 as it came, one more for each merge.
    pub level: u8,
    /// What happens in it.
    pub activity: Activity,
}

/// How many of the last slices are to be merged, if any: all of the last level where these are a run, with those of the next where
/// these become one by it.
pub(super) fn run_to_merge(stored: &[StoredSlice]) -> Option<usize> {
    let (mut merged, mut level) = (0, stored.last()?.level);
    loop {
        let rest = &stored[..stored.len() - merged];
        let run = rest.iter().rev().take_while(|slice| slice.level == level).count();
        if run + usize::from(merged > 0) < RUN {
            return Some(merged).filter(|merged| *merged > 0);
        }
        (merged, level) = (merged + run, level + 1);
    }
}

/// The slice that several become, in order.
pub(super) fn merged(slices: &[StoredSlice]) -> Option<StoredSlice> {
    let (first, last) = (slices.first()?, slices.last()?);
    let mut activity = Activity::default();
    slices.iter().for_each(|slice| activity.extend(slice.activity.clone()));
    Some(StoredSlice { range: first.range.start..last.range.end, level: first.level + 1, activity })
}

/// How long received WAL may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct SliceRule {
    /// The longest from the arrival of a byte until it is stored.
    pub max_delay: Duration,
    /// Whether it does not wait at all.
    pub synchronous: bool,
}

impl SliceRule {
    /// When bytes that arrived at `arrived` are to be sent to the store, which lately took `put` for a slice: early enough that
    /// they are stored in time also where it takes a little longer, and not before half of the time has passed.
    pub fn due(&self, arrived: Instant, put: Duration) -> Instant {
        if self.synchronous {
            return arrived;
        }
        arrived + (self.max_delay * 9 / 10).saturating_sub(put).max(self.max_delay / 2)
    }

    /// When a further slice may be sent while `under_way` are on their way, the last of them since `sent`; none before one of them is
    /// stored. They are spread over the time that the store takes for one, so that no commit waits for a whole one before its own.
    pub fn next(&self, under_way: usize, sent: Instant, put: Duration) -> Option<Instant> {
        match under_way {
            0 => Some(sent),
            SYNCHRONOUS_AT_ONCE.. => None,
            _ if self.synchronous => Some(sent + (put / SPREAD).max(SPACING_MIN)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(sizes: &[u64]) -> (Vec<StoredSlice>, u64) {
        let (mut stored, mut end, mut written) = (Vec::new(), 0, 0);
        for size in sizes {
            stored.push(StoredSlice { range: Lsn(end)..Lsn(end + size), level: 0, activity: Activity::default() });
            (end, written) = (end + size, written + size);
            if let Some(run) = run_to_merge(&stored) {
                let slice = merged(&stored.split_off(stored.len() - run)).unwrap();
                written += slice.range.end.bytes_since(slice.range.start);
                stored.push(slice);
            }
        }
        (stored, written)
    }

    proptest! {
        #[test]
        fn slices_always_cover_everything_once(sizes in prop::collection::vec(1_u64..9000, 1..3000)) {
            let (stored, _) = fill(&sizes);
            prop_assert_eq!(stored[0].range.start, Lsn(0));
            prop_assert_eq!(stored.last().map(|slice| slice.range.end), Some(Lsn(sizes.iter().sum())));
            prop_assert!(stored.windows(2).all(|pair| pair[0].range.end == pair[1].range.start && pair[0].level >= pair[1].level));
        }

        #[test]
        fn slices_stay_few_and_no_byte_is_stored_often(count in 1_usize..5000) {
            let (stored, written) = fill(&vec![1; count]);
            prop_assert!(stored.len() <= RUN * 4, "{} slices of {count}", stored.len());
            prop_assert!(written <= 4 * count as u64, "{written} bytes written of {count}");
        }
    }

    #[test]
    fn slices_that_came_while_others_were_merged_are_merged_with_the_next() {
        let slice = |level: u8, at: u64| StoredSlice { range: Lsn(at)..Lsn(at + 1), level, activity: Activity::default() };
        let stored: Vec<StoredSlice> = (0..40).map(|at| slice(0, at)).collect();
        assert_eq!(run_to_merge(&stored), Some(40));
        let levels = |counts: [u64; 3]| -> Vec<StoredSlice> {
            (0..).zip(counts).flat_map(|(level, count)| (0..count).map(move |at| slice(2 - level, at))).collect()
        };
        assert_eq!(run_to_merge(&levels([3, 14, 16])), Some(16));
        assert_eq!(run_to_merge(&levels([3, 15, 16])), Some(31), "the sixteenth of the next level");
        assert_eq!(run_to_merge(&levels([3, 15, 15])), None);
    }

    #[test]
    fn several_are_sent_at_once_where_commits_wait_and_only_there() {
        let sent = crate::sys::clock::instant();
        let (put, ms) = (Duration::from_millis(40), |ms| Some(sent + Duration::from_millis(ms)));
        let rule = SliceRule { max_delay: Duration::from_secs(1), synchronous: true };
        assert_eq!([0, 1, 3, 4].map(|under_way| rule.next(under_way, sent, put)), [ms(0), ms(10), ms(10), None]);
        assert_eq!(rule.next(1, sent, Duration::ZERO), ms(1));
        let rule = SliceRule { synchronous: false, ..rule };
        assert_eq!([0, 1].map(|under_way| rule.next(under_way, sent, put)), [ms(0), None]);
    }

    #[test]
    fn a_slice_is_sent_in_time_to_be_stored() {
        let rule = SliceRule { max_delay: Duration::from_secs(1), synchronous: false };
        let arrived = crate::sys::clock::instant();
        assert_eq!(rule.due(arrived, Duration::from_millis(100)), arrived + Duration::from_millis(800));
        assert_eq!(rule.due(arrived, Duration::from_secs(30)), arrived + Duration::from_millis(500));
        assert_eq!(SliceRule { synchronous: true, ..rule }.due(arrived, Duration::ZERO), arrived);
    }
}
