//! Reading objects of a bucket piece by piece, each piece of one version.

use std::collections::BTreeMap;
use std::ops::Range;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use jiff::Timestamp;

use super::{Description, FirstPiece, ListedObject, Md5Sum, Reading};
use crate::storage::Failure;
use crate::storage::s3::read::{Extent, PIECE_LIMIT};
use crate::storage::s3::{Done, LIMIT, S3Store, answer, failure};
use crate::sys::buffer::{buffer, into_bytes};

/// The first bytes of an object, and what is said of it.
pub(super) async fn first(store: &S3Store, key: &str, limit: u64) -> Done<Reading<FirstPiece>> {
    let request = store.client.get_object().bucket(&store.options.bucket).key(store.full(key));
    let ranged = request.clone().range(format!("bytes=0-{}", limit.max(1) - 1));
    let output = match answer(LIMIT, ranged.send()).await? {
        // An empty object has no first byte.
        Err(error) if failure::status(&error) == Some(416) => answer(LIMIT, request.send()).await?,
        answered => answered,
    };
    let output = match output {
        Ok(output) => output,
        Err(error) => return missing(&error),
    };
    let total = Extent::of(&output)?.total;
    let object = ListedObject {
        key: key.to_owned(),
        size: total,
        etag: output.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
        modified: output.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok()).unwrap_or_default(),
    };
    let has_tags = output.tag_count().is_some_and(|count| count > 0);
    let description = describe(&output);
    // TLS guards what it carries.
    let md5 = if store.options.is_plain_http() { sum(&output, &object.etag) } else { None };
    let piece = body(output.body, total.min(limit)).await?;
    Ok(Reading::Here(FirstPiece { object, description, has_tags, md5, piece }))
}

/// What a listing would show of an object; `None` where there is none. It is a last look before a write: a bare 404 will do.
pub(super) async fn look(store: &S3Store, key: &str) -> Done<Option<ListedObject>> {
    let request = store.client.head_object().bucket(&store.options.bucket).key(store.full(key));
    match answer(LIMIT, request.send()).await? {
        Ok(head) => Ok(Some(ListedObject {
            key: key.to_owned(),
            size: head.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            etag: head.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
            modified: head.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok()).unwrap_or_default(),
        })),
        Err(error) if failure::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(failure::of(&error)),
    }
}

/// The sum that an ETag may be: with a key of somebody's own it is that of what is stored.
fn sum(output: &GetObjectOutput, etag: &str) -> Option<Md5Sum> {
    let is_plain = matches!(output.server_side_encryption(), None | Some(ServerSideEncryption::Aes256));
    if is_plain && output.sse_customer_algorithm().is_none() { Md5Sum::of_etag(etag) } else { None }
}

/// A piece of one version of an object.
pub(super) async fn piece(store: &S3Store, key: &str, range: Range<u64>, etag: &str) -> Done<Reading<Bytes>> {
    let request = store.client.get_object().bucket(&store.options.bucket).key(store.full(key));
    let request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
    let request = request.set_if_match((!etag.is_empty()).then(|| format!("\"{etag}\"")));
    let output = match answer(LIMIT, request.send()).await? {
        Ok(output) => output,
        Err(error) if matches!(failure::status(&error), Some(412 | 416)) => return Ok(Reading::Changed),
        Err(error) => return missing(&error),
    };
    if output.e_tag().is_some_and(|found| found.trim_matches('"') != etag) {
        return Ok(Reading::Changed);
    }
    if Extent::of(&output)?.begin != range.start {
        return Err(Failure::Other("the service ignores ranges: objects of this size cannot be read in pieces".to_owned()));
    }
    body(output.body, range.end - range.start).await.map(Reading::Here)
}

/// The tags of an object.
pub(super) async fn tags(store: &S3Store, key: &str) -> Done<Reading<BTreeMap<String, String>>> {
    let request = store.client.get_object_tagging().bucket(&store.options.bucket).key(store.full(key));
    match answer(LIMIT, request.send()).await? {
        Ok(output) => {
            let tags = output.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned()));
            Ok(Reading::Here(tags.collect()))
        }
        Err(error) if matches!(failure::status(&error), Some(405 | 501)) => Ok(Reading::Here(BTreeMap::new())),
        Err(error) if failure::code(&error) == Some("NoSuchTagSet") => Ok(Reading::Here(BTreeMap::new())),
        Err(error) => missing(&error),
    }
}

fn missing<T, E>(error: &SdkError<E, HttpResponse>) -> Done<Reading<T>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match failure::of(error) {
        Failure::NotFound => Ok(Reading::Gone),
        failure => Err(failure),
    }
}

fn describe(output: &GetObjectOutput) -> Description {
    let metadata = output.metadata().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    Description {
        content_type: output.content_type.clone(),
        cache_control: output.cache_control.clone(),
        content_disposition: output.content_disposition.clone(),
        content_encoding: output.content_encoding.clone(),
        content_language: output.content_language.clone(),
        metadata: metadata.collect(),
        tags: BTreeMap::new(),
    }
}

/// The whole of a body, which is to have so many bytes.
async fn body(mut stream: ByteStream, expected: u64) -> Done<Bytes> {
    let mut body = buffer(usize::try_from(expected).unwrap_or_default());
    loop {
        let piece = tokio::time::timeout(PIECE_LIMIT, stream.next()).await;
        let piece = piece.map_err(|_| Failure::Unavailable("the answer came to a stop".to_owned()))?;
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|error| failure::of_body(&error))?;
        if body.len() as u64 + piece.len() as u64 > expected {
            return Err(Failure::Other(format!("the answer has more than the {expected} bytes that were asked for")));
        }
        body.extend_from_slice(&piece);
    }
    match body.len() as u64 {
        whole if whole == expected => Ok(into_bytes(body)),
        part => Err(Failure::Unavailable(format!("the answer ended at byte {part} of {expected}"))),
    }
}
