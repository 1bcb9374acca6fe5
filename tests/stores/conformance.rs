//! The suite, on each store.

use std::sync::Arc;

use holdfast::storage::{FileStore, Retrying, conformance};
use pg_fixtures::s3::SeaweedFs;

use super::seaweed;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_does_what_a_store_must() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::create(folder.path().join("store")).await.unwrap());
    conformance::check(store.clone(), "plain").await;
    conformance::check_racing_uploads(store.clone(), "racing").await;
    conformance::check(Arc::new(Retrying::new(store, Default::default())), "retrying").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_does_what_a_store_must() {
    let server = SeaweedFs::start();
    let store = seaweed::bucket(&server, "conformance").await;
    conformance::check(store.clone(), "plain").await;
    conformance::check(Arc::new(Retrying::new(store, Default::default())), "retrying").await;
}
