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
    let Some(output) = ask(store, prefix, from, limit, None).await? else {
        let encoded = ask_encoded(store, prefix, from, limit).await?;
        let keys = unseen(store, &encoded).await?;
        return paged(store, &encoded, keys);
    };
    let plain: Vec<&str> = output.contents().iter().map(|object| object.key().unwrap_or_default()).collect();
    let keys = match plain.iter().any(|key| is_doubtful(key)) {
        true => exact(&plain, &ask_encoded(store, prefix, from, limit).await?)?,
        false => plain.iter().map(|key| (*key).to_owned()).collect(),
    };
    paged(store, &output, keys)
}

fn paged(store: &S3Store, output: &ListObjectsV2Output, keys: Vec<String>) -> Done<ListedPage> {
    let objects = output.contents().iter().zip(keys).filter_map(|(object, key)| listed(store, object, &key).transpose());
    Ok(ListedPage { objects: objects.collect::<Done<_>>()?, next: next(output)? })
}

async fn ask_encoded(store: &S3Store, prefix: &str, from: Option<&str>, limit: usize) -> Done<ListObjectsV2Output> {
    let unreadable = "the listing cannot be read: keys have characters that XML lacks, and the service does not encode them";
    let answer = ask(store, prefix, from, limit, Some(EncodingType::Url)).await?;
    answer.ok_or_else(|| Failure::Other(unreadable.to_owned()))
}

/// The service's answer; `None` for one that is no XML, as one with a control character in a key, which some write as it is.
async fn ask(
    store: &S3Store,
    prefix: &str,
    from: Option<&str>,
    limit: usize,
    encoding: Option<EncodingType>,
) -> Done<Option<ListObjectsV2Output>> {
    let begin = store.full(prefix);
    let request = store
        .client
        .list_objects_v2()
        .bucket(&store.options.bucket)
        .set_prefix((!begin.is_empty()).then_some(begin))
        .set_continuation_token(from.map(str::to_owned))
        .set_encoding_type(encoding)
        .max_keys(i32::try_from(limit).unwrap_or(1000).clamp(1, 1000));
    match answer(LIMIT, request.send()).await? {
        Ok(output) => Ok(Some(output)),
        Err(error) if failure::is_unreadable(&error) => Ok(None),
        Err(error) => Err(failure::of(&error)),
    }
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
    let both = [percent(encoded)?, percent(&encoded.replace('+', " "))?];
    both.into_iter().find(|key| looks_like(key, plain))
}

fn percent(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|key| key.into_owned())
}

/// The keys of a page whose plain answer cannot be read.
async fn unseen(store: &S3Store, output: &ListObjectsV2Output) -> Done<Vec<String>> {
    let encoded: Vec<&str> = output.contents().iter().map(|object| object.key().unwrap_or_default()).collect();
    let shown = plus(&encoded);
    let mut keys = Vec::with_capacity(encoded.len());
    for key in encoded {
        let plus = match shown {
            Some(letter) => letter,
            None if key.contains('+') => asked(store, key).await?,
            None => "+",
        };
        keys.push(with_plus(key, plus)?);
    }
    Ok(keys)
}

/// What `+` stands for in encoded keys, as far as they show it: a service that encodes the plus sign means a space by it.
fn plus(encoded: &[&str]) -> Option<&'static str> {
    let has = |codes: &[&str]| encoded.iter().any(|key| codes.iter().any(|code| key.contains(code)));
    if has(&["%2B", "%2b"]) {
        return Some(" ");
    }
    has(&["%20"]).then_some("+")
}

fn with_plus(encoded: &str, plus: &str) -> Done<String> {
    let not_text = || Failure::Other(format!("the service lists a key that is no text: {encoded}"));
    percent(&encoded.replace('+', plus)).ok_or_else(not_text)
}

/// Asks the service which of the two keys there is that an encoded one may stand for.
async fn asked(store: &S3Store, encoded: &str) -> Done<&'static str> {
    let mut found = Vec::new();
    for letter in ["+", " "] {
        let request = store.client.head_object().bucket(&store.options.bucket).key(with_plus(encoded, letter)?);
        match answer(LIMIT, request.send()).await? {
            Ok(_) => found.push(letter),
            Err(error) if failure::status(&error) == Some(404) => {}
            Err(error) => return Err(failure::of(&error)),
        }
    }
    match found[..] {
        [letter] => Ok(letter),
        [] => Err(Failure::Unavailable(format!("the object {encoded} has vanished while it was listed"))),
        _ => Err(Failure::Other(format!("the service does not tell whether {encoded} is a key with a space or a plus sign"))),
    }
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
    use axum::http::{Method, StatusCode, Uri};
    use axum::response::{IntoResponse, Response};

    use super::*;
    use crate::storage::s3::{Credentials, Options};

    #[test]
    fn a_plus_sign_means_what_the_plain_answer_shows() {
        assert_eq!(decode("a+b%01", "a b\u{FFFD}"), Some("a b\u{1}".to_owned()));
        assert_eq!(decode("a+b%01", "a+b\u{FFFD}"), Some("a+b\u{1}".to_owned()));
        assert_eq!(decode("a%2Bb%0D", "a+b\n"), Some("a+b\r".to_owned()));
        assert_eq!(decode("other%01", "a\u{FFFD}"), None);
    }

    #[test]
    fn what_a_plus_sign_means_shows_in_other_keys_of_a_page() {
        assert_eq!(plus(&["a+b", "c%2Bd"]), Some(" "));
        assert_eq!(plus(&["a+b", "c%20d"]), Some("+"));
        assert_eq!(plus(&["a+b", "c%01d"]), None);
    }

    /// A service that writes control characters as they are, which is no XML, and a space as `+` where keys are encoded.
    async fn answered(method: Method, uri: Uri) -> Response {
        let contents = |key: &str| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>e</ETag><Size>1</Size></Contents>"
            )
        };
        if method == Method::HEAD {
            let is_there = uri.path() == "/bucket/c%20d";
            return if is_there { StatusCode::OK } else { StatusCode::NOT_FOUND }.into_response();
        }
        let is_encoded = uri.query().unwrap_or_default().contains("encoding-type=url");
        let keys = if is_encoded { ["a%01b", "c+d"] } else { ["a\u{1}b", "c d"] };
        let keys = keys.map(contents).concat();
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>").into_response()
    }

    #[tokio::test]
    async fn a_page_that_is_no_xml_is_read_with_its_keys_encoded() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = axum::Router::new().fallback(answered);
        tokio::spawn(async move { axum::serve(listener, service).await });
        let [access_key_id, secret_access_key] = ["key", "secret"].map(str::to_owned);
        let credentials = Some(Credentials { access_key_id, secret_access_key, session_token: None });
        let store = S3Store::connect(Options { endpoint: Some(endpoint), credentials, ..Options::new("bucket", "") }).await;
        let page = page(&store, "", None, 1000).await.unwrap();
        let keys: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a\u{1}b", "c d"]);
    }

    #[test]
    fn keys_that_xml_cannot_show_are_doubtful() {
        assert!(is_doubtful("a\u{FFFD}") && is_doubtful("a\nb") && !is_doubtful("größe/[x]? \\%2F"));
    }
}
