//! Holes in what is stored: found from keys alone, and recorded as gaps when nothing can be expected to fill them any more.
//!
//! A hole is WAL that nobody offered (`archive_command` did nothing for a while) or that was deleted behind our back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::inventory::{Stretch, stretches};
use crate::pg::{Lsn, SegmentNumber, TimelineId};
use crate::repository::{Gap, GapCause, Result, Stored, WalArchive};
use crate::sys::clock;

/// So long after the WAL behind a hole was stored, what lies in the hole would have come. A backlog that is pushed in order fills no holes.
const SETTLED: Duration = Duration::from_mins(10);

/// Looks for holes; what was looked at is not looked at again until that is asked for.
#[derive(Debug, Default)]
pub struct Holes {
    /// The last segment of each timeline that was seen.
    seen: BTreeMap<TimelineId, SegmentNumber>,
}

impl Holes {
    /// Looks at everything again the next time: something may have been deleted.
    pub fn look_at_everything(&mut self) {
        self.seen.clear();
    }

    /// Records the holes behind what was seen before as gaps, and returns the new ones. Holds a thousand keys at a time. `passed` is up to
    /// where a stream has come: it fills what is missing behind that, if the server still has it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn record(&mut self, archive: &WalArchive, passed: (TimelineId, Lsn)) -> Result<Vec<Gap>> {
        let known = archive.gaps().await?.records;
        let removed = archive.horizons().await?;
        let mut found = Vec::new();
        for timeline in archive.timelines().await? {
            let from = self.seen.get(&timeline).copied().unwrap_or(SegmentNumber(0));
            let stretches = stretches(archive, timeline, from).await?;
            let horizon = removed.get(&timeline).copied().unwrap_or_default();
            let missing = holes(timeline, &stretches, &known, horizon);
            let is_ahead = |gap: &Gap| (timeline, gap.end) > passed;
            let ahead = missing.iter().find(|gap| is_ahead(gap)).map(|gap| gap.start);
            for gap in missing.into_iter().filter(|gap| !is_ahead(gap)) {
                if archive.put_gap(&gap).await? == Stored::New {
                    tracing::error!(resource = %archive.resource(), gap = gap.name(), "WAL is missing in the store, and is taken for lost");
                    found.push(gap);
                }
            }
            let is_seen = |stretch: &&Stretch| is_settled(stretch) && ahead.is_none_or(|ahead| stretch.start < ahead);
            let settled = stretches.iter().rfind(is_seen);
            let last = settled.map(|stretch| SegmentNumber::containing(stretch.start, archive.segment_size()));
            self.seen.extend(last.map(|last| (timeline, last)));
        }
        Ok(found)
    }
}

fn is_settled(stretch: &Stretch) -> bool {
    clock::now().duration_since(stretch.first_stored_at).unsigned_abs() >= SETTLED
}

/// The holes between stretches that no gap is known for, and that retention did not make: what is missing below `horizon` it has removed.
fn holes(timeline: TimelineId, stretches: &[Stretch], known: &[Gap], horizon: Lsn) -> Vec<Gap> {
    let hole = |pair: &[Stretch]| {
        let (start, end) = (pair[0].end, pair[1].start);
        let recorded = known.iter().any(|gap| gap.timeline == timeline && gap.start <= start && end <= gap.end);
        let gap = Gap { timeline, start, end, cause: GapCause::NotStored, noticed_at: clock::now() };
        (is_settled(&pair[1]) && !recorded && end > horizon).then_some(gap)
    };
    stretches.windows(2).filter_map(hole).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    use crate::pg::SegmentName;
    use crate::repository::Slice;
    use crate::resources::postgres::archive::scratch;

    const MB: u64 = 1 << 20;

    /// All of it was stored long ago.
    fn age(folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                age(&path);
            } else {
                std::fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_hole_that_the_stream_has_not_come_to_is_not_taken_for_lost() {
        let directory = tempfile::tempdir().unwrap();
        let archive = scratch::archive(directory.path()).await;
        for number in [1, 2, 4, 6] {
            let segment = SegmentName::new(TimelineId(1), SegmentNumber(number), archive.segment_size());
            archive
                .put_slice(&Slice { segment, bytes: 0..MB }, Bytes::from(vec![0_u8; 1 << 20]), &scratch::about())
                .await
                .unwrap();
        }
        age(directory.path());
        let mut holes = Holes::default();
        for (passed, expected) in [(3 * MB, vec![]), (5 * MB, vec![3 * MB]), (5 * MB, vec![]), (6 * MB, vec![5 * MB])] {
            let found = holes.record(&archive, (TimelineId(1), Lsn(passed))).await.unwrap();
            assert_eq!(found.iter().map(|gap| gap.start.0).collect::<Vec<_>>(), expected, "the stream is at {passed}");
        }
    }

    fn stretch(start: u64, end: u64, minutes_ago: i64) -> Stretch {
        let at = clock::now() - jiff::SignedDuration::from_mins(minutes_ago);
        let (start, end) = (Lsn(start), Lsn(end));
        Stretch { start, end, whole_segments: 1, pieces: 0, stored_bytes: 1, first_stored_at: at, last_stored_at: at }
    }

    #[test]
    fn a_hole_is_lost_when_what_lies_behind_it_is_old_and_nobody_knows_of_it() {
        let stretches = [stretch(0, 100, 60), stretch(200, 300, 50), stretch(400, 500, 40), stretch(600, 700, 5)];
        let found = holes(TimelineId(1), &stretches, &[], Lsn(0));
        assert_eq!(found.iter().map(|gap| (gap.start.0, gap.end.0)).collect::<Vec<_>>(), [(100, 200), (300, 400)]);
        assert_eq!(holes(TimelineId(1), &stretches, &found, Lsn(0)), []);
        assert_eq!(holes(TimelineId(2), &stretches, &found, Lsn(0)).len(), 2, "gaps of another timeline");
        let kept: Vec<u64> = holes(TimelineId(1), &stretches, &[], Lsn(200)).iter().map(|gap| gap.start.0).collect();
        assert_eq!(kept, [300], "what retention has removed is no gap");
    }
}
