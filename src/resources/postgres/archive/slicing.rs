//! When a slice is due, which bytes it holds, and which smaller slices it replaces. Pure.
//!
//! Slices are merged as the runs of a log-structured merge tree are: after `RUN` slices of one level the next one holds all of
//! their bytes too, and they are deleted. A segment that fills slowly thus never has more than `RUN` slices of a level, and no byte
//! is stored more often than there are levels.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::pg::Lsn;
use crate::pg::records::Activity;

/// How many slices of one level stand beside one another before they are merged into one of the next.
const RUN: usize = 15;

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

/// The next slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlicePlan {
    /// The WAL in it.
    pub range: Range<Lsn>,
    /// Its level.
    pub level: u8,
    /// How many of the last stored slices it replaces.
    pub replaces: usize,
}

/// The slice that stores `new`, which follows the last of `stored`.
pub(super) fn plan(stored: &[StoredSlice], new: Range<Lsn>) -> SlicePlan {
    let mut plan = SlicePlan { range: new, level: 0, replaces: 0 };
    loop {
        let rest = &stored[..stored.len() - plan.replaces];
        let run = rest.iter().rev().take_while(|slice| slice.level == plan.level).count();
        if run < RUN {
            return plan;
        }
        let first = &rest[rest.len() - run];
        plan = SlicePlan { range: first.range.start..plan.range.end, level: plan.level + 1, replaces: plan.replaces + run };
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(sizes: &[u64]) -> (Vec<StoredSlice>, u64) {
        let (mut stored, mut end, mut written) = (Vec::new(), 0, 0);
        for size in sizes {
            let plan = plan(&stored, Lsn(end)..Lsn(end + size));
            stored.truncate(stored.len() - plan.replaces);
            written += plan.range.end.bytes_since(plan.range.start);
            stored.push(StoredSlice { range: plan.range, level: plan.level, activity: Activity::default() });
            end += size;
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
    fn a_slice_is_sent_in_time_to_be_stored() {
        let rule = SliceRule { max_delay: Duration::from_secs(1), synchronous: false };
        let arrived = crate::sys::clock::instant();
        assert_eq!(rule.due(arrived, Duration::from_millis(100)), arrived + Duration::from_millis(800));
        assert_eq!(rule.due(arrived, Duration::from_secs(30)), arrived + Duration::from_millis(500));
        assert_eq!(SliceRule { synchronous: true, ..rule }.due(arrived, Duration::ZERO), arrived);
    }
}
