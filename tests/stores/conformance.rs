//! The suite, on each store.

use std::sync::Arc;

use holdfast::storage::faulty::Faulty;
use holdfast::storage::{FileStore, Limited, Retrying, Store, conformance};
use pg_fixtures::s3::SeaweedFs;

use super::seaweed;

/// Every decorator around a store, in the order that they are stacked in.
fn decorated(store: Arc<dyn Store>) -> Arc<dyn Store> {
    let faulty = Arc::new(Faulty::new(store));
    Arc::new(Retrying::new(Arc::new(Limited::new(faulty, 4)), Default::default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_does_what_a_store_must() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::create(folder.path().join("store")).await.unwrap());
    conformance::check(store.clone(), "plain").await;
    conformance::check_racing_uploads(store.clone(), "racing").await;
    conformance::check(decorated(store), "decorated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_does_what_a_store_must() {
    let server = SeaweedFs::start();
    let store = seaweed::bucket(&server, "conformance").await;
    conformance::check(store.clone(), "plain").await;
    conformance::check(decorated(store), "decorated").await;
}
