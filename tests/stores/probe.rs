//! What the probe finds out.

use std::sync::Arc;

use holdfast::storage::probe::{self, Report, Verdict};
use holdfast::storage::{ConditionalPut, FileStore, S3Store, Store, conformance, list_all};
use pg_fixtures::s3::SeaweedFs;

use super::loose::{Conditions, LooseS3};
use super::seaweed;

async fn loose(conditions: Conditions) -> Arc<dyn Store> {
    let endpoint = LooseS3::start(conditions).await;
    Arc::new(S3Store::connect(seaweed::options(endpoint, "bucket")).await)
}

async fn probed(store: &Arc<dyn Store>) -> Report {
    let report = probe::run(store).await.unwrap_or_else(|error| panic!("{error}"));
    let left = list_all(&**store, "holdfast-probe/").await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(left, [], "the probe left objects behind");
    report
}

fn verdict(report: &Report, ability: &str) -> (Verdict, String) {
    let finding = report.findings.iter().find(|finding| finding.ability == ability);
    let finding = finding.unwrap_or_else(|| panic!("{ability} was not looked at: {report:?}"));
    (finding.verdict, finding.detail.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_found_good() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(FileStore::create(folder.path().join("store")).await.unwrap());
    let report = probed(&store).await;
    assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::Good), "{report:?}");
    assert_eq!(report.findings.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_found_good() {
    let server = SeaweedFs::start();
    let store: Arc<dyn Store> = seaweed::bucket(&server, "probe").await;
    let report = probed(&store).await;
    assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::Good), "{report:?}");
    assert_eq!(store.conditional_put(), ConditionalPut::Atomic);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_accepts_the_condition_and_ignores_it_is_named() {
    let store = loose(Conditions::Ignored).await;
    let report = probed(&store).await;
    let (found, detail) = verdict(&report, "create-only put");
    assert_eq!(found, Verdict::Weak);
    assert!(detail.contains("accepts the condition (If-None-Match: *) and overwrites all the same"), "{detail}");
    assert!(report.is_usable(), "{report:?}");
    assert_eq!(store.conditional_put(), ConditionalPut::LookedUp);
    conformance::check(store, "looked-up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_the_condition_is_named() {
    let store = loose(Conditions::Refused).await;
    let report = probed(&store).await;
    let (found, detail) = verdict(&report, "create-only put");
    assert_eq!(found, Verdict::Weak);
    assert!(detail.contains("refuses the condition"), "{detail}");
    assert_eq!(store.conditional_put(), ConditionalPut::LookedUp);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_lists_by_the_bytes_of_keys_does_what_a_store_must() {
    let store = loose(Conditions::Honoured).await;
    let report = probed(&store).await;
    assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::Good), "{report:?}");
    conformance::check(store.clone(), "plain").await;
    conformance::check_racing_uploads(store, "racing").await;
}
