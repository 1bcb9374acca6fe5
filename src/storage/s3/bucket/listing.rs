//! Listing objects with their ETags, in the order of the service.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::{ListedObject, ListedPage};
use crate::storage::Failure;
use crate::storage::s3::{Done, LIMIT, S3Store, answer, failure};

/// A page of a listing.
pub(super) async fn page(store: &S3Store, prefix: &str, from: Option<&str>, limit: usize) -> Done<ListedPage> {
    let output = ask(store, prefix, from, limit, None).await?;
    let plain: Vec<&str> = output.contents().iter().map(|object| object.key().unwrap_or_default()).collect();
    let mut keys: Vec<String> = plain.iter().map(|key| (*key).to_owned()).collect();
    if plain.iter().any(|key| is_doubtful(key)) {
        let encoded = ask(store, prefix, from, limit, Some(EncodingType::Url)).await?;
        keys = exact(&plain, &encoded)?;
    }
    let objects = output.contents().iter().zip(keys).filter_map(|(object, key)| listed(store, object, &key).transpose());
    Ok(ListedPage { objects: objects.collect::<Done<_>>()?, next: next(&output)? })
}

async fn ask(
    store: &S3Store,
    prefix: &str,
    from: Option<&str>,
    limit: usize,
    encoding: Option<EncodingType>,
) -> Done<ListObjectsV2Output> {
    let begin = store.full(prefix);
    let request = store
        .client
        .list_objects_v2()
        .bucket(&store.options.bucket)
        .set_prefix((!begin.is_empty()).then_some(begin))
        .set_continuation_token(from.map(str::to_owned))
        .set_encoding_type(encoding)
        .max_keys(i32::try_from(limit).unwrap_or(1000).clamp(1, 1000));
    answer(LIMIT, request.send()).await?.map_err(|error| failure::of(&error))
}

/// Whether the answer may show a key other than it is: XML has no control characters, and parsers make `\n` of `\r`.
fn is_doubtful(key: &str) -> bool {
    key.contains(|letter: char| letter == '\u{FFFD}' || letter.is_control())
}

/// The keys of a page as they are, from an answer in which they are encoded.
fn exact(plain: &[&str], encoded: &ListObjectsV2Output) -> Done<Vec<String>> {
    let changed = || Failure::Unavailable("the listing changed between two looks at one page".to_owned());
    if encoded.contents().len() != plain.len() {
        return Err(changed());
    }
    let keys = encoded.contents().iter().zip(plain);
    keys.map(|(object, plain)| decode(object.key().unwrap_or_default(), plain).ok_or_else(changed)).collect()
}

/// Decodes a key. Some services write a space as `+`, others mean a plus sign by it: what the plain answer shows tells which.
fn decode(encoded: &str, plain: &str) -> Option<String> {
    let percent = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|key| key.into_owned());
    let both = [percent(encoded)?, percent(&encoded.replace('+', " "))?];
    both.into_iter().find(|key| looks_like(key, plain))
}

/// Whether a key could be shown as `plain`: letters that XML does not have stand there as something else.
fn looks_like(key: &str, plain: &str) -> bool {
    let (key, plain) = (key.chars().filter(|c| !c.is_control()), plain.chars().filter(|c| !c.is_control()));
    key.filter(|c| *c != '\u{FFFD}').eq(plain.filter(|c| *c != '\u{FFFD}'))
}

/// What is listed of an object; `None` for one that does not lie below the prefix.
fn listed(store: &S3Store, object: &Object, key: &str) -> Done<Option<ListedObject>> {
    let Some(key) = key.strip_prefix(&store.full("")) else { return Ok(None) };
    let modified = object.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok());
    let size = object.size().and_then(|size| u64::try_from(size).ok());
    let (Some(size), Some(modified)) = (size, modified) else {
        return Err(Failure::Other(format!("the service lists {key} without size or time")));
    };
    let etag = object.e_tag().unwrap_or_default().trim_matches('"').to_owned();
    Ok(Some(ListedObject { key: key.to_owned(), size, etag, modified }))
}

/// Where to go on; `None` at the end.
fn next(answer: &ListObjectsV2Output) -> Done<Option<String>> {
    match (answer.is_truncated(), answer.next_continuation_token()) {
        (Some(true), Some(token)) => Ok(Some(token.to_owned())),
        (Some(true), None) => Err(Failure::Other("the service breaks a listing off without saying where to go on".to_owned())),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_sign_means_what_the_plain_answer_shows() {
        assert_eq!(decode("a+b%01", "a b\u{FFFD}"), Some("a b\u{1}".to_owned()));
        assert_eq!(decode("a+b%01", "a+b\u{FFFD}"), Some("a+b\u{1}".to_owned()));
        assert_eq!(decode("a%2Bb%0D", "a+b\n"), Some("a+b\r".to_owned()));
        assert_eq!(decode("other%01", "a\u{FFFD}"), None);
    }

    #[test]
    fn keys_that_xml_cannot_show_are_doubtful() {
        assert!(is_doubtful("a\u{FFFD}") && is_doubtful("a\nb") && !is_doubtful("größe/[x]? \\%2F"));
    }
}
