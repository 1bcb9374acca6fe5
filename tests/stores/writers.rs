//! Several writers of one name: the first one wins, and nobody who lost believes that he did not.

use std::sync::Arc;

use bytes::Bytes;
use holdfast::codec::Compression;
use holdfast::pg::{SegmentName, SegmentNumber, SegmentSize, SystemId, TimelineId, WalFileName};
use holdfast::repository::{
    Error, Lineage, NewLineage, Repository, ResourceKind, ResourceName, Stored, WalAbout, WalArchive, WalSource,
};
use holdfast::storage::{ConditionalPut, FileStore, S3Store, Store};
use pg_fixtures::s3::SeaweedFs;
use tokio::task::JoinSet;

use super::loose::{Conditions, LooseS3};
use super::seaweed;

const SYSTEM: SystemId = SystemId(7);
const WRITERS: u8 = 8;
const ROUNDS: u64 = 10;

fn name(number: u64) -> WalFileName {
    WalFileName::Segment(SegmentName::new(TimelineId(1), SegmentNumber(number), SegmentSize::DEFAULT))
}

/// The WAL of one cluster, for a writer of its own.
async fn archive(store: &Arc<dyn Store>) -> WalArchive {
    let (repository, _) = Repository::create(Arc::clone(store), Compression::default()).await.expect("a repository");
    let resource = ResourceName::new(ResourceKind::Postgres, "main").expect("a name");
    let created_at = "2026-01-01T00:00:00Z".parse().expect("a time");
    let lineage = Lineage { system_id: SYSTEM, segment_size: SegmentSize::DEFAULT, postgres_major: 18, created_at };
    repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.expect("a lineage");
    repository.wal(&resource, &lineage)
}

async fn put(archive: &WalArchive, number: u64, content: u8) -> Result<Stored, Error> {
    let about = WalAbout { system_id: SYSTEM, source: WalSource::Streaming, start: None, end: None, activity: None };
    archive.put_file(name(number), Bytes::from(vec![content; 100_000]), &about).await
}

/// Lets all writers put the same name at once; what each of them was told.
async fn race(archive: &WalArchive, number: u64, content: fn(u8) -> u8) -> Vec<(u8, Result<Stored, Error>)> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let archive = archive.clone();
        writers.spawn(async move { (content(writer), put(&archive, number, content(writer)).await) });
    }
    writers.join_all().await
}

async fn one_wins_and_the_others_hear_of_it(store: Arc<dyn Store>) {
    let archive = archive(&store).await;
    for number in 0..ROUNDS {
        let told = race(&archive, number, |writer| writer).await;
        let (_, stored) = archive.get_file(name(number)).await.expect("a sound object").expect("it is there");
        for (content, result) in told {
            match result {
                Ok(_) => assert_eq!(content, stored[0], "a writer was told that its WAL is stored, and another's is"),
                Err(Error::Conflict { .. }) => assert_ne!(content, stored[0], "the winner was told that it lost"),
                Err(error) => panic!("{error}"),
            }
        }
        let told = race(&archive, ROUNDS + number, |_| 42).await;
        assert!(told.iter().all(|(_, result)| result.is_ok()), "the same content is no conflict: {told:?}");
        let new = told.iter().filter(|(_, result)| matches!(result, Ok(Stored::New))).count();
        assert_eq!(new, 1, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_writers_to_a_directory_one_wins_and_the_others_hear_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::create(folder.path().join("store")).await.unwrap();
    one_wins_and_the_others_hear_of_it(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_writers_to_a_bucket_one_wins_and_the_others_hear_of_it() {
    let server = SeaweedFs::start();
    one_wins_and_the_others_hear_of_it(seaweed::bucket(&server, "writers").await).await;
}

/// The second-best of a store without conditional puts: what is there is looked up first. Only writers within that very moment miss
/// each other, which is why `init` and `check` warn of such a store.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_conditions_refuses_other_content_that_it_has_already() {
    let endpoint = LooseS3::start(Conditions::Ignored).await;
    let store: Arc<dyn Store> = Arc::new(S3Store::connect(seaweed::options(endpoint, "bucket")).await);
    store.set_conditional_put(ConditionalPut::LookedUp);
    let archive = archive(&store).await;
    assert_eq!(put(&archive, 1, 1).await.unwrap(), Stored::New);
    assert_eq!(put(&archive, 1, 1).await.unwrap(), Stored::Identical);
    assert!(matches!(put(&archive, 1, 2).await, Err(Error::Conflict { .. })));
    let (_, stored) = archive.get_file(name(1)).await.unwrap().unwrap();
    assert!(stored.iter().all(|byte| *byte == 1), "what was stored first was overwritten");
}
