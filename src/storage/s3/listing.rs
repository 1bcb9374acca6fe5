//! Listing a bucket.

use std::collections::BTreeSet;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::Object;
use jiff::Timestamp;

use super::{Done, LIMIT, S3Store, answer, failure};
use crate::storage::{Entry, Failure, ObjectKey};

/// How many answers may make up one page: a bound for a service that answers in crumbs.
const ANSWERS: usize = 10_000;

/// The objects whose keys begin with `prefix` and come after `after`, in order, at most `limit`.
pub async fn page(store: &S3Store, prefix: &str, after: Option<&str>, limit: usize) -> Done<Vec<Entry>> {
    let mut found: Vec<Entry> = Vec::new();
    let mut token = None;
    for _ in 0..ANSWERS {
        let ask = Ask { prefix, after, token, delimiter: None, most: limit.saturating_sub(found.len()) };
        if ask.most == 0 {
            return Ok(found);
        }
        let answer = ask.send(store).await?;
        for object in answer.contents() {
            let Some(entry) = entry(store, object)? else { continue };
            let last = found.last().map_or(after, |last| Some(last.key.as_str()));
            if last.is_some_and(|last| entry.key.as_str() <= last) {
                return Err(Failure::Other(format!("the service lists out of order, or ignores start-after: {}", entry.key)));
            }
            found.push(entry);
        }
        match next(&answer)? {
            None => return Ok(found),
            next => token = next,
        }
    }
    Err(Failure::Other("the listing does not come to an end".to_owned()))
}

/// The folders directly below `prefix`.
pub async fn folders(store: &S3Store, prefix: &str) -> Done<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut token = None;
    for _ in 0..ANSWERS {
        let answer = Ask { prefix, after: None, token, delimiter: Some("/"), most: 1000 }.send(store).await?;
        let begin = store.full(prefix);
        for folder in answer.common_prefixes().iter().filter_map(|folder| folder.prefix()) {
            let name = folder.strip_prefix(&begin).and_then(|name| name.strip_suffix('/'));
            found.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
        }
        match next(&answer)? {
            None => return Ok(found.into_iter().collect()),
            next => token = next,
        }
    }
    Err(Failure::Other("the listing does not come to an end".to_owned()))
}

/// One request.
struct Ask<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    token: Option<String>,
    delimiter: Option<&'static str>,
    most: usize,
}

impl Ask<'_> {
    async fn send(self, store: &S3Store) -> Done<ListObjectsV2Output> {
        let begin = store.full(self.prefix);
        let request = store
            .client
            .list_objects_v2()
            .bucket(&store.options.bucket)
            .set_prefix((!begin.is_empty()).then_some(begin))
            .set_delimiter(self.delimiter.map(str::to_owned))
            // A continuation token stands for the place already.
            .set_start_after(self.after.filter(|_| self.token.is_none()).map(|after| store.full(after)))
            .set_continuation_token(self.token)
            .max_keys(i32::try_from(self.most).unwrap_or(1000));
        answer(LIMIT, request.send()).await?.map_err(|error| failure::of(&error))
    }
}

/// Where to go on; `None` at the end.
fn next(answer: &ListObjectsV2Output) -> Done<Option<String>> {
    match (answer.is_truncated(), answer.next_continuation_token()) {
        (Some(true), Some(token)) => Ok(Some(token.to_owned())),
        (Some(true), None) => Err(Failure::Other("the service breaks a listing off without saying where to go on".to_owned())),
        _ => Ok(None),
    }
}

/// The entry of an object; `None` where the name cannot be a key (a console's `folder/` marker).
fn entry(store: &S3Store, object: &Object) -> Done<Option<Entry>> {
    let name = object.key().unwrap_or_default();
    let Some(key) = name.strip_prefix(&store.full("")).and_then(ObjectKey::new) else { return Ok(None) };
    let modified = object.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok());
    let size = object.size().and_then(|size| u64::try_from(size).ok());
    match (size, modified) {
        (Some(size), Some(modified)) => Ok(Some(Entry { key, size, modified })),
        _ => Err(Failure::Other(format!("the service lists {name} without size or time"))),
    }
}
