//! A large object on its way into a bucket, in parts.
//!
//! Memory: the part that is being filled and `IN_FLIGHT` parts that are on their way. Parts grow as the object does, since an object has at
//! most 10,000 of them: 16 MiB each up to 16 GB, twice that up to 48 GB, and so on.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Part};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{COMPLETION_LIMIT, Done, LIMIT, S3Store, UploadChecksum, answer, checksum, created, failure, transfer_limit};
use crate::storage::{Failure, IsOwn, ObjectKey, Put, Result, Store, Upload};
use crate::sys::buffer::{buffer, into_bytes};
use crate::sys::clock;

const FIRST_PART: usize = 16 << 20;
const PARTS_OF_A_SIZE: i32 = 1000;
const IN_FLIGHT: usize = 2;

/// An object that is being uploaded. Nothing is sent before a part is full, so a small object is one put.
pub struct S3Upload {
    store: S3Store,
    key: ObjectKey,
    buffer: Vec<u8>,
    parts: Option<Parts>,
}

/// The parts of an upload that the service knows of.
struct Parts {
    id: String,
    next: i32,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

impl S3Upload {
    pub fn new(store: S3Store, key: ObjectKey) -> Self {
        Self { store, key, buffer: Vec::new(), parts: None }
    }

    fn part_size(&self) -> usize {
        let sent = self.parts.as_ref().map_or(0, |parts| parts.next - 1);
        FIRST_PART << (sent / PARTS_OF_A_SIZE)
    }

    /// Sends the buffer as the next part, when there is room for one more on the way.
    async fn send_part(&mut self) -> Result<()> {
        if self.parts.is_none() {
            let id = self.store.options.retry.run(|| self.store.begin_parts(&self.key)).await?;
            self.parts = Some(Parts { id, next: 1, sending: JoinSet::new(), sent: Vec::new() });
        }
        let Some(parts) = self.parts.as_mut() else { return Ok(()) };
        while parts.sending.len() >= IN_FLIGHT {
            parts.receive(&self.store, &self.key).await?;
        }
        let (store, key, id, number) = (self.store.clone(), self.key.clone(), parts.id.clone(), parts.next);
        let body = into_bytes(std::mem::take(&mut self.buffer));
        parts.next += 1;
        parts.sending.spawn(async move { store.options.retry.run(|| store.put_part(&key, &id, number, body.clone())).await });
        Ok(())
    }

    /// Waits for all parts; the upload's id and its parts in order.
    async fn all_parts(&mut self) -> Result<Option<(String, Vec<CompletedPart>)>> {
        if self.parts.is_some() && !self.buffer.is_empty() {
            self.send_part().await?;
        }
        let Some(parts) = self.parts.as_mut() else { return Ok(None) };
        while !parts.sending.is_empty() {
            parts.receive(&self.store, &self.key).await?;
        }
        parts.sent.sort_unstable_by_key(|part| part.part_number());
        Ok(Some((parts.id.clone(), std::mem::take(&mut parts.sent))))
    }
}

impl Parts {
    async fn receive(&mut self, store: &S3Store, key: &ObjectKey) -> Result<()> {
        let part = match self.sending.join_next().await {
            None => return Ok(()),
            Some(Ok(part)) => part?,
            Some(Err(error)) => return store.named("upload", key.as_str(), Err(Failure::Other(error.to_string()))),
        };
        self.sent.push(part);
        Ok(())
    }

    /// Stops what is on its way and removes what arrived.
    async fn remove(mut self, store: &S3Store, key: &ObjectKey) -> Result<()> {
        self.sending.shutdown().await;
        store.options.retry.run(|| store.abort_parts(key, &self.id)).await
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            if self.buffer.is_empty() {
                // Of its whole size at once: one that grows leaves holes behind that nothing else fits into.
                self.buffer = buffer(self.part_size());
            }
            let room = self.part_size() - self.buffer.len();
            self.buffer.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.buffer.len() == self.part_size() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Put> {
        let policy = self.store.options.retry;
        let Some((id, parts)) = self.all_parts().await? else {
            let body = into_bytes(std::mem::take(&mut self.buffer));
            return policy.run(|| self.store.put_if_absent(&self.key, body.clone())).await;
        };
        let put = policy.run(|| self.store.complete_parts(&self.key, &id, &parts)).await?;
        match (put, self.parts.take()) {
            (Put::AlreadyExists, Some(parts)) => parts.remove(&self.store, &self.key).await.map(|()| put),
            _ => Ok(put),
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        match self.parts.take() {
            Some(parts) => parts.remove(&self.store, &self.key).await,
            None => Ok(()),
        }
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let (Some(parts), Ok(runtime)) = (self.parts.take(), Handle::try_current()) else { return };
        let (store, key) = (self.store.clone(), self.key.clone());
        runtime.spawn(async move {
            if let Err(error) = parts.remove(&store, &key).await {
                tracing::warn!(%error, "the parts of an unfinished upload remain until they are swept");
            }
        });
    }
}

impl S3Store {
    async fn begin_parts(&self, key: &ObjectKey) -> Result<String> {
        let (encryption, encryption_key) = self.encryption();
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.full(key.as_str()))
            .set_checksum_algorithm((self.options.checksum == UploadChecksum::Crc32).then_some(ChecksumAlgorithm::Crc32))
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key);
        let id = match answer(LIMIT, request.send()).await {
            Ok(Ok(output)) => {
                output.upload_id.ok_or_else(|| Failure::Other("the service began an upload without an id".to_owned()))
            }
            Ok(Err(error)) => Err(failure::of(&error)),
            Err(failure) => Err(failure),
        };
        self.named("upload", key.as_str(), id)
    }

    async fn put_part(&self, key: &ObjectKey, id: &str, number: i32, body: Bytes) -> Result<CompletedPart> {
        let sum = checksum::header(self.options.checksum, &body);
        let limit = transfer_limit(body.len());
        let request = self
            .client
            .upload_part()
            .bucket(&self.options.bucket)
            .key(self.full(key.as_str()))
            .upload_id(id)
            .part_number(number)
            .set_checksum_crc32(sum.clone())
            .body(ByteStream::from(body))
            .customize();
        let request = if self.options.is_plain_http() { request } else { request.disable_payload_signing() };
        let part = match answer(limit, request.send()).await {
            Ok(Ok(output)) => {
                Ok(CompletedPart::builder().part_number(number).set_e_tag(output.e_tag).set_checksum_crc32(sum).build())
            }
            Ok(Err(error)) => Err(failure::of(&error)),
            Err(failure) => Err(failure),
        };
        self.named("upload", key.as_str(), part)
    }

    async fn complete_parts(&self, key: &ObjectKey, id: &str, parts: &[CompletedPart]) -> Result<Put> {
        self.named("upload", key.as_str(), self.complete(key, id, parts).await)
    }

    async fn complete(&self, key: &ObjectKey, id: &str, parts: &[CompletedPart]) -> Done<Put> {
        if self.looks_up() && self.head(key).await?.is_some() {
            return Ok(Put::AlreadyExists);
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.full(key.as_str()))
            .upload_id(id)
            .set_if_none_match((!self.looks_up()).then(|| "*".to_owned()))
            .multipart_upload(parts);
        match answer(COMPLETION_LIMIT, request.send()).await? {
            // An earlier attempt whose answer was lost may have completed it.
            Err(error) if failure::code(&error) == Some("NoSuchUpload") => match self.head(key).await? {
                Some(_) => Ok(Put::AlreadyExists),
                None => Err(failure::of(&error)),
            },
            answer => created(answer),
        }
    }

    async fn abort_parts(&self, key: &ObjectKey, id: &str) -> Result<()> {
        let name = self.full(key.as_str());
        self.named("upload", key.as_str(), self.abort(&name, id).await)
    }

    async fn abort(&self, name: &str, id: &str) -> Done<()> {
        let request = self.client.abort_multipart_upload().bucket(&self.options.bucket).key(name).upload_id(id);
        match answer(LIMIT, request.send()).await? {
            Err(error) if failure::code(&error) == Some("NoSuchUpload") => Ok(()),
            answer => answer.map(drop).map_err(|error| failure::of(&error)),
        }
    }
}

/// Aborts uploads below the prefix for which nothing was sent in `age`, but for those of others: below no prefix lies all that a bucket has.
pub async fn sweep(store: &S3Store, age: Duration, own: IsOwn) -> Done<usize> {
    let mut swept = 0;
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let request = store
            .client
            .list_multipart_uploads()
            .bucket(&store.options.bucket)
            .set_prefix(Some(store.full("")).filter(|prefix| !prefix.is_empty()))
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker);
        let answer = answer(LIMIT, request.send()).await?.map_err(|error| failure::of(&error))?;
        let is_old = |begun: Option<&DateTime>| begun.is_some_and(|begun| is_older(begun, age));
        for upload in answer.uploads().iter().filter(|upload| is_old(upload.initiated())) {
            let (Some(name), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
            let key = name.strip_prefix(&store.full("")).and_then(ObjectKey::new);
            if key.is_some_and(|key| own(&key)) && is_abandoned(store, name, id, age).await? {
                store.abort(name, id).await?;
                swept += 1;
            }
        }
        if answer.is_truncated() != Some(true) {
            return Ok(swept);
        }
        (key_marker, id_marker) = (answer.next_key_marker, answer.next_upload_id_marker);
    }
}

/// Whether no part of an upload came in `age`: one that is under way may have begun long before that, where much goes through a slow line.
async fn is_abandoned(store: &S3Store, name: &str, id: &str, age: Duration) -> Done<bool> {
    let mut marker = None;
    loop {
        let request = store.client.list_parts().bucket(&store.options.bucket).key(name).upload_id(id);
        let parts = match answer(LIMIT, request.set_part_number_marker(marker).send()).await? {
            // It was finished or aborted meanwhile.
            Err(error) if failure::code(&error) == Some("NoSuchUpload") => return Ok(false),
            answer => answer.map_err(|error| failure::of(&error))?,
        };
        if parts.parts().iter().filter_map(Part::last_modified).any(|sent| !is_older(sent, age)) {
            return Ok(false);
        }
        if parts.is_truncated() != Some(true) {
            return Ok(true);
        }
        marker = parts.next_part_number_marker;
    }
}

fn is_older(time: &DateTime, age: Duration) -> bool {
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    clock::now().as_second().saturating_sub(age) >= time.secs()
}
