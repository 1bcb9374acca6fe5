//! An S3 server, by the `aws-sdk-s3` client: the bucket of the recordings, and the one that the repository is in.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use pg_fixtures::poll;
use pg_fixtures::s3::SeaweedFs;
use tokio::runtime::Runtime;

/// The bucket of the example.
const BUCKET: &str = "hopwhistle-recordings";
/// What is left out.
const LEFT_OUT: &str = "calls/upload.tmp";

/// What a bucket has under each key: content, type, metadata, tags.
pub type Portrait = BTreeMap<String, (blake3::Hash, Option<String>, BTreeMap<String, String>, BTreeMap<String, String>)>;

/// A server with a bucket.
pub struct Recordings {
    pub server: SeaweedFs,
    client: Client,
    runtime: Runtime,
}

impl Recordings {
    /// A server whose bucket is empty.
    pub fn empty() -> Self {
        let (server, runtime) = (SeaweedFs::start(), Runtime::new().expect("a runtime"));
        let client = client(&server);
        make_bucket(&runtime, &client, BUCKET);
        Self { server, client, runtime }
    }

    /// One with recordings in it.
    pub fn with_content() -> Self {
        let recordings = Self::empty();
        for number in 0_u32..60 {
            recordings.put(&format!("calls/2026/{number:03}.ogg"), number.to_le_bytes().repeat(4096 + number as usize));
        }
        recordings.put("odd/ä b+c&%.ogg", b"odd".to_vec());
        recordings.put(LEFT_OUT, b"half".to_vec());
        recordings
    }

    fn put(&self, key: &str, content: Vec<u8>) {
        let request = self.client.put_object().bucket(BUCKET).key(key).content_type("audio/ogg").metadata("tenant", "7");
        let sent = self.runtime.block_on(request.tagging("kept=long").body(content.into()).send());
        sent.unwrap_or_else(|error| panic!("put {key}: {error:?}"));
    }

    /// Everything that has to come back.
    pub fn portrait(&self) -> Portrait {
        let mut portrait = Portrait::new();
        let mut pages = self.client.list_objects_v2().bucket(BUCKET).into_paginator().send();
        while let Some(page) = self.runtime.block_on(pages.next()) {
            let page = page.expect("a page");
            for key in page.contents().iter().filter_map(|object| object.key()).filter(|key| *key != LEFT_OUT) {
                portrait.insert(key.to_owned(), self.runtime.block_on(self.look(key)));
            }
        }
        portrait
    }

    async fn look(&self, key: &str) -> (blake3::Hash, Option<String>, BTreeMap<String, String>, BTreeMap<String, String>) {
        let output = self.client.get_object().bucket(BUCKET).key(key).send().await.expect("get an object");
        let (content_type, metadata) = (output.content_type.clone(), output.metadata.clone().unwrap_or_default());
        let content = output.body.collect().await.expect("a body").into_bytes();
        let tags = self.client.get_object_tagging().bucket(BUCKET).key(key).send().await.expect("tags");
        let tags = tags.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
        (blake3::hash(&content), content_type, metadata.into_iter().collect(), tags)
    }
}

/// Makes the bucket that the repository goes into.
pub fn bucket_for_backups(server: &SeaweedFs) {
    make_bucket(&Runtime::new().expect("a runtime"), &client(server), "hopwhistle-backups");
}

/// A server that has just begun may not be able to store yet.
fn make_bucket(runtime: &Runtime, client: &Client, name: &str) {
    runtime.block_on(client.create_bucket().bucket(name).send()).unwrap_or_else(|error| panic!("create a bucket: {error:?}"));
    let put = || client.put_object().bucket(name).key("ready").body(vec![].into()).send();
    poll::until(std::time::Duration::from_secs(60), "the bucket takes an object", || runtime.block_on(put()).is_ok());
    runtime.block_on(client.delete_object().bucket(name).key("ready").send()).expect("delete an object");
}

fn client(server: &SeaweedFs) -> Client {
    let credentials = Credentials::new(SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY, None, None, "test");
    let config = aws_sdk_s3::Config::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("us-east-1"));
    Client::from_conf(config.endpoint_url(server.endpoint()).force_path_style(true).credentials_provider(credentials).build())
}
