//! Writing objects of a bucket with all that they carry.

use std::collections::HashMap;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinSet;

use super::{Description, ListedObject};
use crate::storage::s3::{COMPLETION_LIMIT, Done, LIMIT, S3Store, UploadChecksum, answer, checksum, failure, transfer_limit};
use crate::storage::{Failure, Result};
use crate::sys::buffer::{buffer, into_bytes};

/// The size of parts, which many programs have in common: where they are the same, ETags are the same.
const FIRST_PART: usize = 8 << 20;
/// What was not stored in parts before is stored whole up to this size, so that it has the same ETag as before.
const WHOLE_BYTES_MAX: usize = 32 << 20;
const PARTS_OF_A_SIZE: i32 = 1000;
const IN_FLIGHT: usize = 2;

/// The tags as the header has them; none where there are none.
fn tagging(description: &Description) -> Option<String> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let tags: Vec<String> = description.tags.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    (!tags.is_empty()).then(|| tags.join("&"))
}

fn metadata(description: &Description) -> Option<HashMap<String, String>> {
    let metadata = description.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
    (!description.metadata.is_empty()).then(|| metadata.collect())
}

/// Stores a whole object.
pub(super) async fn put(store: &S3Store, key: &str, description: &Description, body: Bytes) -> Done<()> {
    let limit = transfer_limit(body.len());
    let request = store
        .client
        .put_object()
        .bucket(&store.options.bucket)
        .key(store.full(key))
        .set_checksum_crc32(checksum::header(store.options.checksum, &body))
        .set_content_type(description.content_type.clone())
        .set_cache_control(description.cache_control.clone())
        .set_content_disposition(description.content_disposition.clone())
        .set_content_encoding(description.content_encoding.clone())
        .set_content_language(description.content_language.clone())
        .set_metadata(metadata(description))
        .set_tagging(tagging(description))
        .body(ByteStream::from(body))
        .customize();
    let request = if store.options.is_plain_http() { request } else { request.disable_payload_signing() };
    answer(limit, request.send()).await?.map(drop).map_err(|error| failure::of(&error))
}

/// Removes an object.
pub(super) async fn delete(store: &S3Store, key: &str) -> Done<()> {
    let request = store.client.delete_object().bucket(&store.options.bucket).key(store.full(key));
    match answer(LIMIT, request.send()).await?.map_err(|error| failure::of(&error)) {
        Ok(_) | Err(Failure::NotFound) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// A large object on its way into a bucket, in parts; what is smaller than one part is put whole. It must end by `finish` or `abort`.
#[derive(Debug)]
pub struct BucketUpload {
    store: S3Store,
    key: String,
    description: Description,
    first_part: usize,
    buffer: Vec<u8>,
    id: Option<String>,
    next: i32,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

impl BucketUpload {
    pub(super) fn new(store: S3Store, like: &ListedObject, description: Description) -> Self {
        let (sending, sent, key) = (JoinSet::new(), Vec::new(), like.key.clone());
        let size = usize::try_from(like.size).unwrap_or(usize::MAX);
        // One byte more, so that it never fills a part.
        let first_part = if size <= WHOLE_BYTES_MAX && !like.etag.contains('-') { size + 1 } else { FIRST_PART };
        Self { store, key, description, first_part, buffer: Vec::new(), id: None, next: 1, sending, sent }
    }

    /// Adds bytes; waits while the service is behind.
    ///
    /// # Errors
    /// When a part could not be stored.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let part = self.first_part << ((self.next - 1) / PARTS_OF_A_SIZE);
            if self.buffer.is_empty() {
                self.buffer = buffer(part);
            }
            let room = part - self.buffer.len();
            self.buffer.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.buffer.len() == part {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Makes the object appear.
    ///
    /// # Errors
    /// When it could not be stored as a whole; then nothing of it remains, as far as the service can be reached.
    pub async fn finish(mut self) -> Result<()> {
        let done = self.complete().await;
        if done.is_err() {
            self.abort().await;
        }
        done
    }

    /// Gives up and removes what was stored so far.
    pub async fn abort(mut self) {
        self.sending.shutdown().await;
        let Some(id) = self.id.take() else { return };
        let (store, name) = (&self.store, self.store.full(&self.key));
        let abort = || async {
            let request = store.client.abort_multipart_upload().bucket(&store.options.bucket).key(&name).upload_id(&id);
            let done = match answer(LIMIT, request.send()).await {
                Ok(answered) => answered.map(drop).map_err(|error| failure::of(&error)),
                Err(failure) => Err(failure),
            };
            store.named("abort the upload", &self.key, done)
        };
        if let Err(error) = store.options.retry.run(abort).await {
            tracing::warn!("the parts of an unfinished upload remain: {error}");
        }
    }

    async fn complete(&mut self) -> Result<()> {
        let Some(id) = self.id.clone() else {
            let (store, body) = (self.store.clone(), into_bytes(std::mem::take(&mut self.buffer)));
            let whole = || async { store.named("put", &self.key, put(&store, &self.key, &self.description, body.clone()).await) };
            return store.options.retry.run(whole).await;
        };
        if !self.buffer.is_empty() {
            self.send().await?;
        }
        while !self.sending.is_empty() {
            self.receive().await?;
        }
        self.sent.sort_unstable_by_key(|part| part.part_number());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.sent))).build();
        let request = self.store.client.complete_multipart_upload().bucket(&self.store.options.bucket);
        let request = request.key(self.store.full(&self.key)).upload_id(id).multipart_upload(parts);
        let done = match answer(COMPLETION_LIMIT, request.send()).await {
            Ok(answered) => answered.map(drop).map_err(|error| failure::of(&error)),
            Err(failure) => Err(failure),
        };
        self.store.named("upload", &self.key, done)
    }

    async fn send(&mut self) -> Result<()> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.begin().await?,
        };
        while self.sending.len() >= IN_FLIGHT {
            self.receive().await?;
        }
        let (store, key, number, body) =
            (self.store.clone(), self.key.clone(), self.next, into_bytes(std::mem::take(&mut self.buffer)));
        self.next += 1;
        self.sending.spawn(async move {
            let part = || async { store.named("upload", &key, part(&store, &key, &id, number, body.clone()).await) };
            store.options.retry.run(part).await
        });
        Ok(())
    }

    async fn receive(&mut self) -> Result<()> {
        match self.sending.join_next().await {
            None => Ok(()),
            Some(Ok(part)) => part.map(|part| self.sent.push(part)),
            Some(Err(panic)) => self.store.named("upload", &self.key, Err(Failure::Other(panic.to_string()))),
        }
    }

    async fn begin(&mut self) -> Result<String> {
        let (store, key, description) = (&self.store, &self.key, &self.description);
        let begin = || async { store.named("upload", key, begin(store, key, description).await) };
        let id = store.options.retry.run(begin).await?;
        self.id = Some(id.clone());
        Ok(id)
    }
}

async fn begin(store: &S3Store, key: &str, description: &Description) -> Done<String> {
    let request = store
        .client
        .create_multipart_upload()
        .bucket(&store.options.bucket)
        .key(store.full(key))
        .set_content_type(description.content_type.clone())
        .set_cache_control(description.cache_control.clone())
        .set_content_disposition(description.content_disposition.clone())
        .set_content_encoding(description.content_encoding.clone())
        .set_content_language(description.content_language.clone())
        .set_metadata(metadata(description))
        .set_tagging(tagging(description))
        .set_checksum_algorithm((store.options.checksum == UploadChecksum::Crc32).then_some(ChecksumAlgorithm::Crc32));
    let output = answer(LIMIT, request.send()).await?.map_err(|error| failure::of(&error))?;
    output.upload_id.ok_or_else(|| Failure::Other("the service began an upload without an id".to_owned()))
}

async fn part(store: &S3Store, key: &str, id: &str, number: i32, body: Bytes) -> Done<CompletedPart> {
    let (limit, sum) = (transfer_limit(body.len()), checksum::header(store.options.checksum, &body));
    let request = store.client.upload_part().bucket(&store.options.bucket).key(store.full(key)).upload_id(id);
    let request = request.part_number(number).set_checksum_crc32(sum.clone()).body(ByteStream::from(body)).customize();
    let request = if store.options.is_plain_http() { request } else { request.disable_payload_signing() };
    let output = answer(limit, request.send()).await?.map_err(|error| failure::of(&error))?;
    Ok(CompletedPart::builder().part_number(number).set_e_tag(output.e_tag).set_checksum_crc32(sum).build())
}
