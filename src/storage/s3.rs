//! A bucket of an S3 service as the store, through `aws-sdk-s3`.
//!
//! Invariants: every request has a time limit. An object is delivered whole or not at all: a body that breaks off is continued, and its
//! length is checked. Absence is believed only where the service says `NoSuchKey`, or denies a key in a bucket that is there.
//! Uploads carry a checksum that the service verifies before it answers.

mod bucket;
mod checksum;
mod client;
mod failure;
mod listing;
mod options;
mod read;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;

use super::{ConditionalPut, Entry, Error, Failure, IsOwn, ObjectKey, Put, Result, Store, Upload};
pub use bucket::{Bucket, BucketUpload, Description, FirstPiece, ListedObject, ListedPage, Md5Hasher, Md5Sum, Reading};
pub use options::{Credentials, Encryption, Options, UploadChecksum};

/// What a request returns: errors without the operation and the object, which `S3Store::named` adds.
type Done<T> = std::result::Result<T, Failure>;

/// The time limit of a request without a body to speak of.
const LIMIT: Duration = Duration::from_secs(20);

/// How long the service may take to put the parts of an upload together.
const COMPLETION_LIMIT: Duration = Duration::from_secs(120);

/// The slowest that a body may travel, beyond `LIMIT`, in bytes per second.
const SLOWEST: u64 = 64 * 1024;

/// A store in a bucket. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    options: Arc<Options>,
    /// Whether the service ignores `If-None-Match: *`, as `probe` found: an object is then looked for before it is created.
    looks_up: Arc<AtomicBool>,
}

impl S3Store {
    /// A client of that bucket. Nothing is asked of the service yet, so a missing bucket shows at the first operation.
    pub async fn connect(options: Options) -> Self {
        Self { client: client::connect(&options).await, options: Arc::new(options), looks_up: Arc::default() }
    }

    /// The name in the bucket of a key or of the beginning of keys.
    fn full(&self, name: &str) -> String {
        match self.options.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    fn named<T>(&self, operation: &'static str, object: &str, done: Done<T>) -> Result<T> {
        done.map_err(|failure| Error { store: self.url(), operation, object: object.to_owned(), failure })
    }

    fn looks_up(&self) -> bool {
        self.looks_up.load(Ordering::Relaxed)
    }

    fn storage_class(&self) -> Option<StorageClass> {
        self.options.storage_class.as_deref().map(StorageClass::from)
    }

    /// The encryption to ask for, and its key.
    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.options.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key_id }) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }

    async fn put(&self, key: &ObjectKey, body: Bytes) -> Done<Put> {
        if self.looks_up() && self.head(key).await?.is_some() {
            return Ok(Put::AlreadyExists);
        }
        let (encryption, encryption_key) = self.encryption();
        let limit = transfer_limit(body.len());
        let request = self
            .client
            .put_object()
            .bucket(&self.options.bucket)
            .key(self.full(key.as_str()))
            .set_if_none_match((!self.looks_up()).then(|| "*".to_owned()))
            .set_checksum_crc32(checksum::header(self.options.checksum, &body))
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key)
            .body(ByteStream::from(body))
            .customize();
        // Under TLS the checksum guards the body; hashing it with SHA-256 as well would cost more than all the rest.
        let request = if self.options.is_plain_http() { request } else { request.disable_payload_signing() };
        created(answer(limit, request.send()).await?)
    }

    /// The size of an object. A bare 404 is believed only in a bucket that is there.
    async fn head(&self, key: &ObjectKey) -> Done<Option<u64>> {
        let request = self.client.head_object().bucket(&self.options.bucket).key(self.full(key.as_str()));
        match answer(LIMIT, request.send()).await? {
            Ok(head) => match head.content_length().map(u64::try_from) {
                Some(Ok(size)) => Ok(Some(size)),
                _ => Err(Failure::Other("the service answered without a length".to_owned())),
            },
            Err(error) if failure::status(&error) == Some(404) => self.bucket_exists().await.map(|()| None),
            Err(error) => Err(failure::of(&error)),
        }
    }

    async fn bucket_exists(&self) -> Done<()> {
        match answer(LIMIT, self.client.head_bucket().bucket(&self.options.bucket).send()).await? {
            Ok(_) => Ok(()),
            Err(error) if failure::status(&error) == Some(404) => {
                Err(Failure::NoStore(format!("there is no bucket {}", self.options.bucket)))
            }
            Err(error) => Err(failure::of(&error)),
        }
    }

    async fn remove(&self, key: &ObjectKey) -> Done<()> {
        let request = self.client.delete_object().bucket(&self.options.bucket).key(self.full(key.as_str()));
        match answer(LIMIT, request.send()).await?.map_err(|error| failure::of(&error)) {
            Ok(_) | Err(Failure::NotFound) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// The time that a body of that size may take.
fn transfer_limit(bytes: usize) -> Duration {
    LIMIT + Duration::from_secs(bytes as u64 / SLOWEST)
}

/// Waits for an answer, for so long.
async fn answer<T>(limit: Duration, request: impl Future<Output = T>) -> Done<T> {
    let late = |_| Failure::Unavailable(format!("no answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, request).await.map_err(late)
}

/// What became of a create-only request: 412 says that the key is taken.
fn created<T, E>(answer: std::result::Result<T, SdkError<E, HttpResponse>>) -> Done<Put>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(_) => Ok(Put::Created),
        Err(error) if failure::status(&error) == Some(412) => Ok(Put::AlreadyExists),
        Err(error) => Err(failure::of(&error)),
    }
}

#[async_trait]
impl Store for S3Store {
    fn url(&self) -> String {
        format!("s3://{}", self.options.bucket) + if self.options.prefix.is_empty() { "" } else { "/" } + &self.options.prefix
    }

    fn conditional_put(&self) -> ConditionalPut {
        if self.looks_up() { ConditionalPut::LookedUp } else { ConditionalPut::Atomic }
    }

    fn set_conditional_put(&self, found: ConditionalPut) {
        self.looks_up.store(found == ConditionalPut::LookedUp, Ordering::Relaxed);
    }

    async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<Put> {
        self.named("put", key.as_str(), self.put(key, body).await)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        Ok(Box::new(upload::S3Upload::new(self.clone(), key.clone())))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.named("get", key.as_str(), read::object(self, key, None).await)
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.named("get", key.as_str(), read::object(self, key, Some(range)).await)
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        self.named("size", key.as_str(), self.head(key).await)
    }

    /// S3 shows only what is stored.
    async fn settle(&self, _key: &ObjectKey) -> Result<()> {
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.named("list", prefix, listing::page(self, prefix, after, limit.min(1000)).await)
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.named("list", prefix, listing::folders(self, prefix).await)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.named("delete", key.as_str(), self.remove(key).await)
    }

    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize> {
        self.named("sweep", "unfinished uploads", upload::sweep(self, age, own).await)
    }
}
