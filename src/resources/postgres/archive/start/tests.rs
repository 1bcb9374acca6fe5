use bytes::Bytes;

use super::*;
use crate::pg::WalFileName;
use crate::repository::{GapCause, Slice, WalAbout};
use crate::resources::postgres::archive::scratch;
use crate::sys::clock;

const MB: u64 = 1 << 20;

/// An archive of 1 MiB segments in a directory that goes with it.
struct Scene {
    archive: WalArchive,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { archive: scratch::archive(directory.path()).await, _directory: directory }
    }

    fn name(&self, timeline: u32, number: u64) -> SegmentName {
        SegmentName::new(TimelineId(timeline), SegmentNumber(number), self.archive.segment_size())
    }

    fn about() -> WalAbout {
        scratch::about()
    }

    async fn segments(&self, timeline: u32, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let name = WalFileName::Segment(self.name(timeline, number));
            self.archive.put_file(name, Bytes::from_static(b"whole"), &Self::about()).await.unwrap();
        }
    }

    async fn slice(&self, timeline: u32, number: u64, bytes: std::ops::Range<u64>) {
        let slice = Slice { segment: self.name(timeline, number), bytes };
        self.archive.put_slice(&slice, Bytes::from_static(b"slice"), &Self::about()).await.unwrap();
    }

    async fn missing(&self, chain: &Chain, stored: u64, gaps: &[Gap]) -> Option<(u64, u64)> {
        let hole = left_out(&self.archive, chain, Lsn(stored), gaps).await.unwrap();
        hole.map(|hole| (hole.start.0, hole.end.0))
    }

    async fn end(&self, chain: &Chain, reserved: u64) -> Option<u64> {
        last_end_before(&self.archive, chain, Lsn(reserved)).await.unwrap().map(|end| end.0)
    }
}

fn first() -> Chain {
    Chain::new(TimelineId(1), [])
}

fn promoted(switch: u64) -> Chain {
    Chain::new(TimelineId(2), [(TimelineId(1), Lsn(switch))])
}

#[tokio::test]
async fn an_empty_archive_begins_where_the_slot_stands() {
    let scene = Scene::new().await;
    assert_eq!(scene.end(&first(), 5 * MB + 17).await, None);
    let begin = begin_at(&first(), Lsn(5 * MB + 17), scene.archive.segment_size());
    assert_eq!(begin, Begin { timeline: TimelineId(1), lsn: Lsn(5 * MB) });
}

#[tokio::test]
async fn the_slots_position_is_stored_or_it_is_not() {
    let scene = Scene::new().await;
    scene.segments(1, 3..6).await;
    scene.slice(1, 6, 0..100).await;
    scene.slice(1, 6, 100..200).await;
    for reserved in [3 * MB + 5, 5 * MB, 6 * MB, 6 * MB + 150, 6 * MB + 200] {
        assert!(scene.end(&first(), reserved).await >= Some(reserved), "{reserved}");
    }
    scene.slice(1, 6, 300..400).await;
    scene.segments(1, 8..9).await;
    assert_eq!(scene.end(&first(), 6 * MB + 350).await, Some(6 * MB + 200), "a hole is not jumped over");
}

#[tokio::test]
async fn where_the_slot_is_past_all_that_is_stored_the_missing_wal_is_asked_for() {
    let scene = Scene::new().await;
    scene.segments(1, 3..5).await;
    scene.slice(1, 5, 0..100).await;
    assert_eq!(scene.end(&first(), 9 * MB + 1).await, Some(5 * MB + 100));
    scene.slice(1, 9, 50..100).await;
    assert_eq!(scene.end(&first(), 9 * MB + 70).await, Some(5 * MB + 100), "what does not begin its segment does not count");
}

#[tokio::test]
async fn the_rest_of_an_old_timeline_comes_before_the_new_one() {
    let scene = Scene::new().await;
    let chain = promoted(5 * MB + 300);
    scene.segments(1, 3..5).await;
    scene.slice(1, 5, 0..100).await;
    assert_eq!(scene.end(&chain, 5 * MB + 300).await, Some(5 * MB + 100));
    assert_eq!(begin_at(&chain, Lsn(5 * MB + 100), scene.archive.segment_size()).timeline, TimelineId(1));
    scene.slice(1, 5, 100..300).await;
    assert_eq!(scene.end(&chain, 5 * MB + 300).await, Some(5 * MB + 300));
    let begin = begin_at(&chain, Lsn(5 * MB + 300), scene.archive.segment_size());
    assert_eq!(begin, Begin { timeline: TimelineId(2), lsn: Lsn(5 * MB) }, "with the copy of what the parent wrote");
    scene.segments(2, 5..7).await;
    assert_eq!(scene.end(&chain, 6 * MB + 9).await, Some(7 * MB));
    assert_eq!(scene.end(&chain, 9 * MB).await, Some(7 * MB));
}

#[tokio::test]
async fn a_switch_on_a_segment_boundary_is_passed() {
    let scene = Scene::new().await;
    let chain = promoted(5 * MB);
    scene.segments(1, 3..5).await;
    scene.slice(2, 5, 0..10).await;
    assert_eq!(scene.end(&chain, 5 * MB).await, Some(5 * MB + 10));
    assert_eq!(scene.end(&chain, 6 * MB).await, Some(5 * MB + 10));
}

#[tokio::test]
async fn what_nobody_stored_of_the_old_timeline_is_asked_for_though_the_new_one_is_stored() {
    let scene = Scene::new().await;
    let chain = promoted(7 * MB + 300);
    scene.segments(2, 7..9).await;
    assert_eq!(scene.missing(&chain, 9 * MB, &[]).await, None, "nothing of the old one is stored");
    scene.segments(1, 3..5).await;
    scene.slice(1, 5, 0..100).await;
    assert_eq!(scene.missing(&chain, 9 * MB, &[]).await, Some((5 * MB + 100, 7 * MB)));
    scene.segments(1, 5..7).await;
    assert_eq!(scene.missing(&chain, 9 * MB, &[]).await, None, "the rest is in the copy with which the new one begins");
    let chain = promoted(6 * MB + 300);
    assert_eq!(scene.missing(&chain, 9 * MB, &[]).await, Some((6 * MB + 300, 7 * MB)), "that copy itself");
}

#[tokio::test]
async fn what_was_on_its_way_with_the_last_and_did_not_arrive_is_asked_for() {
    let scene = Scene::new().await;
    scene.segments(1, 3..6).await;
    scene.slice(1, 6, 0..100).await;
    assert_eq!(scene.missing(&first(), 6 * MB + 100, &[]).await, None, "what is stored begins somewhere");
    scene.segments(1, 7..9).await;
    let hole = (6 * MB + 100, 7 * MB);
    assert_eq!(scene.missing(&first(), 9 * MB, &[]).await, Some(hole));
    assert_eq!(scene.missing(&promoted(9 * MB), 9 * MB, &[]).await, Some(hole), "of the old timeline");
    assert_eq!(scene.missing(&promoted(6 * MB + 100), 6 * MB + 100, &[]).await, None, "it was left before");
    let (timeline, start, end, cause) = (TimelineId(1), Lsn(hole.0), Lsn(hole.1), GapCause::NotStored);
    let known = Gap { timeline, start, end, cause, noticed_at: clock::now() };
    let minimal = Gap { start: Lsn(hole.0 + 40), end: Lsn(hole.0 + 96), cause: GapCause::WalLevelMinimal, ..known };
    assert_eq!(scene.missing(&first(), 9 * MB, &[minimal]).await, Some(hole), "noticed before it was stored, which it was not");
    assert_eq!(scene.missing(&first(), 9 * MB, &[known]).await, None, "it was looked for, or waited for long");
    scene.segments(1, 60..70).await;
    assert_eq!(scene.missing(&first(), 70 * MB, &[]).await, None, "so much is never on its way together");
}

#[tokio::test]
async fn a_dead_fork_is_noticed_and_not_followed() {
    let scene = Scene::new().await;
    let chain = promoted(5 * MB + 300);
    scene.segments(1, 3..7).await;
    assert_eq!(scene.end(&chain, 6 * MB).await, Some(5 * MB + 300));
    let fork = Fork { timeline: TimelineId(1), left_at: Lsn(5 * MB + 300), stored_to: Lsn(7 * MB) };
    assert_eq!(find_forks(&scene.archive, &chain).await.unwrap(), [fork]);
    let twice = Chain::new(TimelineId(3), [(TimelineId(1), Lsn(5 * MB + 300)), (TimelineId(2), Lsn(6 * MB))]);
    assert_eq!(find_forks(&scene.archive, &twice).await.unwrap(), [fork], "another promotion does not bring it back");
    assert_eq!(find_forks(&scene.archive, &promoted(7 * MB)).await.unwrap(), []);
}

#[test]
fn a_large_segment_is_continued_at_a_piece_and_a_timeline_begins_with_its_segment() {
    let size = SegmentSize::try_from(64 * MB).unwrap();
    assert_eq!(begin_at(&first(), Lsn(150 * MB), size).lsn, Lsn(144 * MB));
    assert_eq!(begin_first_at(&first(), Lsn(150 * MB), size).lsn, Lsn(128 * MB), "or no backup of a standby could begin in it");
    let chain = promoted(150 * MB);
    assert_eq!(begin_at(&chain, Lsn(150 * MB), size), Begin { timeline: TimelineId(2), lsn: Lsn(128 * MB) });
    assert_eq!(begin_at(&chain, Lsn(149 * MB), size), Begin { timeline: TimelineId(1), lsn: Lsn(144 * MB) });
}
