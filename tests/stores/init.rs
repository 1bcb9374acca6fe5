//! What `holdfast init` makes of a store.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use holdfast::codec::Compression;
use holdfast::repository::Repository;
use holdfast::storage::{ConditionalPut, S3Store, Store};
use pg_fixtures::s3::SeaweedFs;

use super::loose::{Conditions, LooseS3};
use super::seaweed;

/// Runs `holdfast init`; its success, standard output and standard error.
async fn init(folder: &Path, endpoint: &str, bucket: &str) -> (bool, String, String) {
    let config = folder.join("holdfast.toml");
    let (key_id, secret) = (SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY);
    let section = format!(
        "[repository]\nurl = \"s3://{bucket}/holdfast/prefix\"\nendpoint = \"{endpoint}\"\naccess_key_id = \"{key_id}\"\nsecret_access_key = \"{secret}\"\n"
    );
    std::fs::write(&config, section).expect("write the configuration");
    let program = env!("CARGO_BIN_EXE_holdfast");
    let mut command = Command::new(program);
    command.arg("init").arg("--config").arg(config);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("run holdfast");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_the_condition_is_named_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = LooseS3::start(Conditions::Ignored).await;
    let (done, stdout, stderr) = init(folder.path(), &endpoint, "bucket").await;
    assert!(done, "{stderr}");
    assert!(stdout.contains("accepts the condition (If-None-Match: *) and overwrites all the same"), "{stdout}");
    let store: Arc<dyn Store> = Arc::new(S3Store::connect(seaweed::options(endpoint, "bucket")).await);
    assert_eq!(store.conditional_put(), ConditionalPut::Atomic);
    Repository::open(Arc::clone(&store), Compression::default()).await.unwrap();
    assert_eq!(store.conditional_put(), ConditionalPut::LookedUp);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_bucket_becomes_a_repository_and_a_missing_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = SeaweedFs::start();
    let store: Arc<dyn Store> = seaweed::bucket(&server, "bucket").await;
    let (done, stdout, stderr) = init(folder.path(), &server.endpoint(), "bucket").await;
    assert!(done, "{stderr}");
    assert!(!stdout.contains("WARNING"), "{stdout}");

    Repository::open(Arc::clone(&store), Compression::default()).await.unwrap();
    assert_eq!(store.conditional_put(), ConditionalPut::Atomic);
    let (done, _, stderr) = init(folder.path(), &server.endpoint(), "missing").await;
    assert!(!done);
    assert!(stderr.contains("the store itself is missing") && stderr.contains("create the bucket"), "{stderr}");
}
