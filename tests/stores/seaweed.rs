//! Buckets on a real server.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use holdfast::storage::retry::Policy;
use holdfast::storage::{S3Store, Store, s3};
use pg_fixtures::s3::SeaweedFs;

/// Options for a bucket behind `endpoint`, which is the server's or a proxy's to it.
pub fn options(endpoint: String, bucket: &str) -> s3::Options {
    let credentials = s3::Credentials {
        access_key_id: SeaweedFs::ACCESS_KEY_ID.to_owned(),
        secret_access_key: SeaweedFs::SECRET_ACCESS_KEY.to_owned(),
        session_token: None,
    };
    s3::Options { endpoint: Some(endpoint), credentials: Some(credentials), ..s3::Options::new(bucket, "holdfast/prefix") }
}

/// A bare client, the oracle.
pub fn client(server: &SeaweedFs) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY, None, None, "test"));
    aws_sdk_s3::Client::from_conf(config.build())
}

/// A new bucket, when the server is ready to store something in it.
pub async fn bucket(server: &SeaweedFs, name: &str) -> Arc<S3Store> {
    client(server).create_bucket().bucket(name).send().await.unwrap_or_else(|error| panic!("create a bucket: {error:?}"));
    let store = S3Store::connect(options(server.endpoint(), name)).await;
    let key = holdfast::storage::ObjectKey::new("ready").expect("a plain name");
    Policy { deadline: Duration::from_secs(60), ..Policy::default() }
        .run(|| store.put_if_absent(&key, "".into()))
        .await
        .expect("the first put");
    store.delete(&key).await.expect("the first delete");
    Arc::new(store)
}
