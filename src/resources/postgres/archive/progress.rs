//! The contiguous stored prefix: the only position that is ever reported as flushed. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::pg::Lsn;

/// What is stored from some position on, in whatever order the parts became durable.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    end: Lsn,
    /// Stored ranges behind a hole, by their starts.
    beyond: BTreeMap<Lsn, Lsn>,
}

impl Progress {
    /// Nothing is stored at or past `start` yet, and nothing before it matters.
    pub const fn from(start: Lsn) -> Self {
        Self { end: start, beyond: BTreeMap::new() }
    }

    /// The end of the contiguous stored prefix.
    pub const fn end(&self) -> Lsn {
        self.end
    }

    /// Notes that `range` is durable. True if the prefix became longer.
    pub fn stored(&mut self, range: &Range<Lsn>) -> bool {
        let before = self.end;
        let known = self.beyond.entry(range.start).or_insert(range.end);
        *known = (*known).max(range.end);
        while let Some(first) = self.beyond.first_entry().filter(|first| *first.key() <= self.end) {
            self.end = self.end.max(first.remove());
        }
        self.end > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_behind_a_hole_is_ever_reported(ranges in prop::collection::vec((0_u64..200, 1_u64..20), 0..60)) {
            let mut progress = Progress::from(Lsn(0));
            let mut stored = [false; 256];
            for (start, length) in ranges {
                let advanced = progress.end();
                let longer = progress.stored(&(Lsn(start)..Lsn(start + length)));
                (start..start + length).for_each(|byte| stored[usize::try_from(byte).unwrap()] = true);
                let expected = stored.iter().take_while(|byte| **byte).count() as u64;
                prop_assert_eq!(progress.end(), Lsn(expected));
                prop_assert_eq!(longer, Lsn(expected) > advanced);
            }
        }
    }
}
