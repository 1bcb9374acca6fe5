//! What these tests share: a server, a bucket that is backed up, a repository, and the program.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, Tag, Tagging, VersioningConfiguration};
use pg_fixtures::Verbs;
use pg_fixtures::s3::{Identity, SeaweedFs};
use pg_fixtures::{Scratch, poll};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Those who lack a permission.
const IDENTITIES: [Identity; 3] = [
    Identity { access_key_id: "no-list", actions: &["Read", "Tagging"] },
    Identity { access_key_id: "no-read", actions: &["List", "Tagging"] },
    Identity { access_key_id: "no-write", actions: &["List", "Read"] },
];

/// All tests of a process share one server, each with buckets of its own.
static SERVER: LazyLock<SeaweedFs> = LazyLock::new(|| SeaweedFs::start_with(&IDENTITIES));
static BUCKETS: AtomicU32 = AtomicU32::new(0);

/// A bucket, a repository and a configuration.
pub struct Site {
    pub scratch: Scratch,
    verbs: Verbs,
    /// The bucket that is backed up.
    pub source: String,
    /// A bucket for whatever a test needs.
    pub other: String,
    runtime: Runtime,
    client: Client,
}

/// What a bucket has under each key: content, type, metadata, tags.
pub type Portrait = BTreeMap<String, (blake3::Hash, Option<String>, BTreeMap<String, String>, BTreeMap<String, String>)>;

impl Deref for Site {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Site {
    /// A repository in a directory.
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// A site with these lines besides the source, and these before the section.
    pub fn with(more: &str, before: &str) -> Self {
        let scratch = Scratch::new();
        let number = BUCKETS.fetch_add(1, Ordering::Relaxed);
        let runtime = Runtime::new().expect("a runtime");
        let (source, other) = (format!("source-{number}"), format!("other-{number}"));
        let client = client();
        let site = Self {
            verbs: Verbs::new(env!("CARGO_BIN_EXE_holdfast"), scratch.path().join("holdfast.toml")),
            source,
            other,
            runtime,
            client,
            scratch,
        };
        for bucket in [&site.source, &site.other] {
            site.wait(site.client.create_bucket().bucket(bucket).send()).expect("create a bucket");
        }
        // A server that has just begun may not be able to store yet.
        let ready = || site.wait(site.client.put_object().bucket(&site.source).key("ready").body(vec![].into()).send()).is_ok();
        poll::until(Duration::from_secs(60), "the bucket takes an object", ready);
        site.delete("ready");
        site.configure(more, before);
        site.run(&["init"]);
        site
    }

    pub fn configure(&self, more: &str, before: &str) {
        self.configure_as(SeaweedFs::ACCESS_KEY_ID, &format!("s3://{}", self.source), &SERVER.endpoint(), more, before);
    }

    /// Writes the configuration, with this key and URL of the source.
    pub fn configure_as(&self, key: &str, url: &str, endpoint: &str, more: &str, before: &str) {
        let (root, secret) = (self.scratch.path().display(), SeaweedFs::SECRET_ACCESS_KEY);
        let repository = match before.contains("[repository]") {
            true => String::new(),
            false => format!("[repository]\nurl = \"file://{root}/repository\"\n"),
        };
        let source = format!("url = \"{url}\", endpoint = \"{endpoint}\"");
        let keys = format!("access_key_id = \"{key}\", secret_access_key = \"{secret}\"");
        let text = format!("{repository}{before}\n[bucket.data]\nsource = {{ {source}, {keys} }}\n{more}\n");
        fs::write(self.verbs.configuration(), text).expect("write the configuration");
    }

    /// The lines that put the repository into the other bucket.
    pub fn repository_in_a_bucket(&self) -> String {
        let (key, secret) = (SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY);
        let place = format!("url = \"s3://{}/repository\"\nendpoint = \"{}\"", self.other, SERVER.endpoint());
        format!("[repository]\n{place}\naccess_key_id = \"{key}\"\nsecret_access_key = \"{secret}\"\n")
    }

    pub fn endpoint() -> String {
        SERVER.endpoint()
    }

    pub fn port() -> u16 {
        SERVER.port()
    }

    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub const fn client(&self) -> &Client {
        &self.client
    }

    pub fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        self.put_into(&self.source, key, content);
    }

    pub fn put_into(&self, bucket: &str, key: &str, content: impl Into<Vec<u8>>) {
        let request = self.client.put_object().bucket(bucket).key(key).body(content.into().into());
        self.wait(request.send()).unwrap_or_else(|error| panic!("put {key:?}: {error:?}"));
    }

    /// Stores an object of so many MiB, in parts of which no two are alike.
    pub fn put_large(&self, key: &str, megabytes: usize) {
        use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
        const PART_MEGABYTES: usize = 8;
        let (client, bucket) = (&self.client, &self.source);
        let begun = self.wait(client.create_multipart_upload().bucket(bucket).key(key).send()).expect("begin an upload");
        let id = begun.upload_id().expect("an id");
        let mut parts = CompletedMultipartUpload::builder();
        for number in 0..megabytes.div_ceil(PART_MEGABYTES) {
            let size = PART_MEGABYTES.min(megabytes - number * PART_MEGABYTES) << 20;
            let part = i32::try_from(number + 1).expect("a small number");
            let request = client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(part);
            let sent = self.wait(request.body(content(number as u64, size).into()).send()).expect("send a part");
            parts = parts.parts(CompletedPart::builder().part_number(part).set_e_tag(sent.e_tag).build());
        }
        let request = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
        self.wait(request.multipart_upload(parts.build()).send()).expect("end the upload");
    }

    /// Stores many objects, many at once.
    pub fn put_many(&self, objects: impl IntoIterator<Item = (String, Vec<u8>)>) {
        use futures_util::{StreamExt, TryStreamExt, stream};
        let puts = objects.into_iter().map(|(key, content)| {
            let put = move || self.client.put_object().bucket(&self.source).key(&key).body(content.clone().into()).send();
            async move {
                // A server that is short of processors says now and then that it has an internal error.
                for _ in 0..5 {
                    if put().await.is_ok() {
                        return Ok(());
                    }
                }
                put().await.map(drop)
            }
        });
        self.wait(stream::iter(puts).buffer_unordered(32).try_collect::<()>()).expect("put objects");
    }

    /// Gives an object one tag, in place of those that it has.
    pub fn tag(&self, key: &str, name: &str, value: &str) {
        let tag = Tag::builder().key(name).value(value).build().expect("a tag");
        let tagging = Tagging::builder().tag_set(tag).build().expect("tags");
        let request = self.client.put_object_tagging().bucket(&self.source).key(key).tagging(tagging);
        self.wait(request.send()).expect("tag an object");
    }

    pub fn delete(&self, key: &str) {
        self.wait(self.client.delete_object().bucket(&self.source).key(key).send()).expect("delete an object");
    }

    pub fn make_versioned(&self, bucket: &str) {
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        self.wait(self.client.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled).send())
            .expect("make the bucket versioned");
    }

    /// The keys of a bucket.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(bucket).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = self.wait(pages.next()) {
            let page = page.expect("a page");
            keys.extend(page.contents().iter().map(|object| object.key().expect("a key").to_owned()));
        }
        keys
    }

    /// Everything about a bucket that a restore has to bring back.
    pub fn portrait(&self, bucket: &str) -> Portrait {
        let mut portrait = Portrait::new();
        for key in self.keys(bucket) {
            let output = self.wait(self.client.get_object().bucket(bucket).key(&key).send()).expect("get an object");
            let (content_type, metadata) = (output.content_type.clone(), output.metadata.clone().unwrap_or_default());
            let content = self.wait(output.body.collect()).expect("a body").into_bytes();
            let tags = self.wait(self.client.get_object_tagging().bucket(bucket).key(&key).send()).expect("tags");
            let tags = tags.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
            portrait.insert(key, (blake3::hash(&content), content_type, metadata.into_iter().collect(), tags));
        }
        portrait
    }

    /// Takes a backup and returns what was said of it.
    pub fn backup(&self) -> Value {
        self.json(&["backup", "bucket/data"])
    }

    /// The files that hold the content of backups.
    pub fn stored(&self) -> Vec<PathBuf> {
        files_below(&self.scratch.path().join("repository/bucket/data/data"))
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        self.stored().iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
    }

    /// The packs among them.
    pub fn packs(&self) -> usize {
        let is_pack = |path: &String| path.contains("/content-") && !path.ends_with(".frames");
        self.stored().iter().map(|path| path.display().to_string()).filter(is_pack).count()
    }
}

/// A bare client, the oracle.
pub fn client() -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(SERVER.endpoint())
        .force_path_style(true)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY, None, None, "test"));
    Client::from_conf(config.build())
}

/// The files below a directory, sorted.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Content that does not compress to nothing, and is told apart by `seed`.
pub fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut output = vec![0; bytes];
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    reader.fill(&mut output);
    output
}
