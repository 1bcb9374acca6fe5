//! Whether the records of consecutive pieces of WAL follow one another: recovery takes a record that names another one before it than it
//! has read for the end of the WAL. Pure.

use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, SegmentNumber};
use crate::resources::postgres::restore::error::{Error, Result};

/// The last record that was passed.
#[derive(Debug, Default)]
pub(super) struct Joints {
    last: Option<(SegmentName, SegmentNumber, Lsn)>,
}

impl Joints {
    /// Passes the next piece, which lies in a segment. Behind a hole, on another timeline, and where a header does not say, nothing is known.
    ///
    /// # Errors
    /// When its first record follows another one than the last of the piece before.
    pub(super) fn follow(&mut self, name: SegmentName, number: SegmentNumber, activity: &Activity) -> Result<()> {
        let before = self.last.take().filter(|(last, at, _)| last.timeline() == name.timeline() && at.next() == number);
        self.last = activity.last_record.map(|lsn| (name, number, lsn));
        match (activity.first_record, before) {
            (Some(first), Some((_, _, stored))) if first.previous.is_some_and(|named| named != stored) => {
                Err(Error::Broken { segment: name, at: first.lsn, named: first.previous.unwrap_or_default(), stored })
            }
            // No record begins in it: the next follows what this one follows.
            (None, Some((_, _, stored))) if activity.last_record.is_none() => {
                self.last = Some((name, number, stored));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::records::FirstRecord;
    use crate::pg::{SegmentSize, TimelineId};

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    /// A segment whose first record follows the one at `previous`, and whose last record is at `last`.
    fn pass(joints: &mut Joints, timeline: u32, number: u64, previous: Option<u64>, last: Option<u64>) -> Result<()> {
        let start = SegmentNumber(number).start(SIZE);
        let first_record = last.map(|_| FirstRecord { lsn: Lsn(start.0 + 40), previous: previous.map(Lsn) });
        let activity = Activity { first_record, last_record: last.map(Lsn), ..Activity::default() };
        joints.follow(SegmentName::new(TimelineId(timeline), SegmentNumber(number), SIZE), SegmentNumber(number), &activity)
    }

    #[test]
    fn a_segment_that_follows_another_record_than_the_last_one_is_where_recovery_would_end() {
        let mut joints = Joints::default();
        pass(&mut joints, 1, 3, Some(50), Some(100)).unwrap();
        pass(&mut joints, 1, 4, Some(100), Some(200)).unwrap();
        let broken = pass(&mut joints, 1, 5, Some(150), Some(300)).unwrap_err();
        let message = broken.to_string();
        assert!(message.contains("000000010000000000000005") && message.contains("0/5000028"), "{message}");
        assert!(broken.hint().is_some_and(|hint| hint.contains("before")));
    }

    #[test]
    fn a_record_longer_than_a_segment_is_passed_and_what_is_not_known_is_no_break() {
        let mut joints = Joints::default();
        pass(&mut joints, 1, 3, None, Some(100)).unwrap();
        pass(&mut joints, 1, 4, None, None).unwrap();
        pass(&mut joints, 1, 5, Some(100), Some(200)).unwrap();
        pass(&mut joints, 1, 7, Some(1), Some(300)).expect("behind a hole");
        pass(&mut joints, 2, 8, Some(2), Some(400)).expect("on another timeline");
        pass(&mut joints, 2, 9, None, None).unwrap();
        assert!(pass(&mut joints, 2, 10, Some(300), Some(500)).is_err());
    }
}
