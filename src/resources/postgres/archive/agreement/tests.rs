use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::pg::{SegmentNumber, SegmentSize, SystemId, TimelineId};
use crate::repository::{Slice, WalSource};
use crate::resources::postgres::archive::scratch::{archive, archive_in};
use crate::storage::FileStore;
use crate::storage::faulty::{Effect, Fault, Faulty, Operation};

const SIZE: u64 = 1 << 20;

fn segment() -> SegmentName {
    SegmentName::new(TimelineId(1), SegmentNumber(3), SegmentSize::try_from(SIZE).unwrap())
}

/// What a server wrote: the same as every other up to `fork`.
fn wal(server: u8, fork: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    bytes[fork..].iter_mut().for_each(|byte| *byte = byte.wrapping_add(server));
    bytes
}

fn offer(wal: &[u8], range: std::ops::Range<usize>) -> Offer {
    let bytes = range.start as u64..range.end as u64;
    let object = if range.len() == wal.len() {
        WalObject::File(WalFileName::Segment(segment()))
    } else {
        WalObject::Slice(Slice { segment: segment(), bytes: bytes.clone() })
    };
    Offer { object, segment: segment(), range: bytes, plain: Bytes::copy_from_slice(&wal[range]), around: None }
}

fn about() -> WalAbout {
    WalAbout { system_id: SystemId(7), source: WalSource::Streaming, start: None, end: None, activity: None }
}

async fn store(writer: &Agreement, offer: &Offer) -> Result<Stored, Refusal> {
    writer.store(offer, &about(), &mut false).await
}

fn contradicted(result: &Result<Stored, Refusal>) -> Option<u64> {
    match result {
        Err(Refusal::Contradiction(found)) => Some(found.at.0 - 3 * SIZE),
        _ => None,
    }
}

#[tokio::test]
async fn slices_of_two_servers_that_overlap_are_not_both_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let (one, two) = (Agreement::new(archive.clone()), Agreement::new(archive.clone()));
    let (first, second) = (wal(0, 500), wal(1, 500));
    store(&one, &offer(&first, 0..700)).await.unwrap();
    let refused = store(&two, &offer(&second, 0..800)).await;
    assert_eq!(contradicted(&refused), Some(500), "{refused:?}");
    let message = refused.unwrap_err().to_string();
    assert!(message.contains(".00000000-000002BC") && message.contains(".00000000-00000320"), "{message}");
    assert_eq!(archive.slices(segment()).await.unwrap().len(), 1, "what was refused is taken back");
    store(&two, &offer(&second, 0..490)).await.expect("what both wrote is no contradiction");
    assert_eq!(contradicted(&store(&two, &offer(&second, 490..800)).await), Some(500));
    assert_eq!(contradicted(&store(&two, &offer(&second, 0..second.len())).await), Some(500), "a whole segment");
    assert!(archive.get_file(WalFileName::Segment(segment())).await.unwrap().is_none());
}

#[tokio::test]
async fn what_reaches_further_than_was_offered_is_compared_when_the_rest_is() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let (one, two) = (Agreement::new(archive.clone()), Agreement::new(archive.clone()));
    let (first, second) = (wal(0, 500), wal(1, 500));
    store(&one, &offer(&first, 0..900)).await.unwrap();
    store(&two, &offer(&second, 0..400)).await.unwrap();
    assert_eq!(contradicted(&store(&two, &offer(&second, 400..600)).await), Some(500));
    store(&one, &offer(&first, 900..1000)).await.unwrap();
    store(&one, &offer(&first, 0..first.len())).await.expect("the other's slice agrees with the whole");
}

#[tokio::test]
async fn what_differs_beside_the_offer_is_not_remembered_as_compared() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let (first, second) = (wal(0, 500), wal(1, 500));
    store(&Agreement::new(archive.clone()), &offer(&first, 300..700)).await.unwrap();
    let two = Agreement::new(archive.clone());
    let around = Some(Around { start: 0, bytes: Bytes::copy_from_slice(&second[..800]) });
    let refused = store(&two, &Offer { around, ..offer(&second, 0..400) }).await;
    assert_eq!(contradicted(&refused), Some(500), "{refused:?}");
    let refused = store(&two, &offer(&second, 0..800)).await;
    assert_eq!(contradicted(&refused), Some(500), "{refused:?}");
}

#[tokio::test]
async fn an_object_of_ones_own_is_not_taken_back_because_others_contradict_it_later() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path()).await;
    let one = Agreement::new(archive.clone());
    let (first, second) = (wal(0, 500), wal(1, 500));
    store(&one, &offer(&first, 0..700)).await.unwrap();
    // A writer that was killed between its put and its look.
    let left = Slice { segment: segment(), bytes: 0..800 };
    archive.put_slice(&left, Bytes::copy_from_slice(&second[..800]), &about()).await.unwrap();
    let again = store(&Agreement::new(archive.clone()), &offer(&first, 0..700)).await;
    assert_eq!(contradicted(&again), Some(500));
    assert_eq!(archive.slices(segment()).await.unwrap().len(), 2, "what was acknowledged stays");
    archive.delete_slice(&left).await.unwrap();
    assert_eq!(store(&one, &offer(&first, 0..700)).await.unwrap(), Stored::Identical);
}

#[tokio::test]
async fn who_was_refused_puts_nothing_when_it_tries_again() {
    let directory = tempfile::tempdir().unwrap();
    let faulty = Faulty::new(Arc::new(FileStore::create(directory.path()).await.unwrap()));
    let archive = archive_in(Arc::new(faulty.clone())).await;
    let (first, second) = (wal(0, 500), wal(1, 500));
    store(&Agreement::new(archive.clone()), &offer(&first, 0..700)).await.unwrap();
    let puts = faulty.calls(Operation::Put);
    for end in 501..510 {
        let refused = store(&Agreement::new(archive.clone()), &offer(&second, 0..end)).await;
        assert_eq!(contradicted(&refused), Some(500));
    }
    assert_eq!(faulty.calls(Operation::Put), puts, "nothing that a kill could leave behind");
}

#[tokio::test]
async fn what_is_stored_as_a_whole_is_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let faulty = Faulty::new(Arc::new(FileStore::create(directory.path()).await.unwrap()));
    let archive = archive_in(Arc::new(faulty.clone())).await;
    let wal = wal(0, 500);
    let piece = Offer { object: WalObject::Slice(Slice { segment: segment(), bytes: 0..SIZE }), ..offer(&wal, 0..wal.len()) };
    for offered in [piece, offer(&wal, 0..wal.len())] {
        assert_eq!(store(&Agreement::new(archive.clone()), &offered).await.unwrap(), Stored::New);
        let puts = faulty.calls(Operation::Put);
        assert_eq!(store(&Agreement::new(archive.clone()), &offered).await.unwrap(), Stored::Identical);
        assert_eq!(faulty.calls(Operation::Put), puts);
    }
}

#[tokio::test]
async fn a_writer_killed_before_it_took_back_what_contradicts_stops_both_until_that_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let faulty = Faulty::new(Arc::new(FileStore::create(directory.path()).await.unwrap()));
    let archive = archive_in(Arc::new(faulty.clone())).await;
    let (first, second) = (wal(0, 500), wal(1, 500));
    let (one, two) = (Agreement::new(archive.clone()), Agreement::new(archive.clone()));
    store(&two, &offer(&second, 0..100)).await.expect("what both wrote");
    store(&one, &offer(&first, 0..700)).await.unwrap();
    faulty.inject(Fault::on(Operation::Delete, Effect::Hang));
    let killed = tokio::time::timeout(Duration::from_millis(500), store(&two, &offer(&second, 100..800))).await;
    assert!(killed.is_err(), "it was about to take it back: {killed:?}");
    faulty.heal();
    for (writer, wal, range) in [(&one, &first, 700..900), (&Agreement::new(archive.clone()), &second, 100..800)] {
        let refused = store(writer, &offer(wal, range)).await;
        assert!(contradicted(&refused).is_some(), "{refused:?}");
    }
    archive.delete_slice(&Slice { segment: segment(), bytes: 100..800 }).await.unwrap();
    store(&one, &offer(&first, 700..900)).await.expect("nothing contradicts it any more");
}

/// Stores `wal` in slices of these sizes, now and then joining the last few; returns up to where it was acknowledged.
async fn write(writer: Agreement, archive: WalArchive, wal: Vec<u8>, sizes: Vec<usize>) -> usize {
    let mut own: Vec<std::ops::Range<usize>> = Vec::new();
    let mut end = 0;
    for (turn, size) in sizes.into_iter().enumerate() {
        let replaced = if turn % 4 == 3 { own.split_off(own.len().saturating_sub(3)) } else { Vec::new() };
        let begin = replaced.first().map_or(end, |range| range.start);
        if store(&writer, &offer(&wal, begin..end + size)).await.is_err() {
            return end;
        }
        end += size;
        for range in replaced {
            let bytes = range.start as u64..range.end as u64;
            archive.delete_slice(&Slice { segment: segment(), bytes }).await.unwrap();
        }
        own.push(begin..end);
        tokio::task::yield_now().await;
    }
    end
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn two_writers_at_once_are_never_both_acknowledged_past_their_fork(
        fork in 0_usize..3000,
        sizes in prop::collection::vec(prop::collection::vec(1_usize..600, 1..16), 2..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ends = runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let archive = archive(directory.path()).await;
            let mut tasks = Vec::new();
            for (server, sizes) in (0_u8..).zip(sizes) {
                let writing = write(Agreement::new(archive.clone()), archive.clone(), wal(server, fork), sizes);
                tasks.push(tokio::spawn(writing));
            }
            let mut ends = Vec::new();
            for task in tasks {
                ends.push(task.await.unwrap());
            }
            ends
        });
        prop_assert!(ends.iter().filter(|end| **end > fork).count() <= 1, "fork at {fork}, acknowledged up to {ends:?}");
    }
}
