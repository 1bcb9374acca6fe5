//! Listing a bucket, folder by folder.
//!
//! The order of keys is that of their bytes: the folder `a` stands where `a/` does, after the object `a-b`. Services that keep folders as
//! such list it before, as `a`, and skip it when asked for what comes after `a-b`. So each folder is listed on its own, which both
//! kinds do in an order that `Level` can put right, and nothing is missed on either.

use std::collections::{BTreeMap, VecDeque};
use std::future::ready;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::Object;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{Done, LIMIT, S3Store, answer, failure};
use crate::storage::{Entry, Failure, ObjectKey};

/// How many answers may make up one page: a bound for a service that answers in crumbs.
const ANSWERS: usize = 100_000;

/// How many folders are looked into at once.
const LOOKS: usize = 8;

/// The objects whose keys begin with `prefix` and come after `after`, in order, at most `limit`.
pub async fn page(store: &S3Store, prefix: &str, after: Option<&str>, limit: usize) -> Done<Vec<Entry>> {
    let mut found: Vec<Entry> = Vec::new();
    let mut levels = open_levels(prefix, after);
    for _ in 0..ANSWERS {
        let Some(level) = levels.last_mut() else { return Ok(found) };
        if found.len() == limit {
            return Ok(found);
        }
        match level.ready.pop_front() {
            Some(Item::Object(entry)) => found.push(entry),
            Some(Item::Folder(folder)) => levels.push(Level::of(folder)),
            None if level.is_complete() => drop(levels.pop()),
            None => level.ask(store, limit - found.len()).await?,
        }
    }
    Err(Failure::Other("the listing does not come to an end".to_owned()))
}

/// The folders directly below `prefix` that have objects below them.
pub async fn folders(store: &S3Store, prefix: &str) -> Done<Vec<String>> {
    let mut level = Level::of(prefix.to_owned());
    let mut found = Vec::new();
    while !level.is_complete() {
        level.ask(store, 1000).await?;
        found.extend(level.ready.drain(..).filter_map(Item::into_folder));
    }
    if store.options.endpoint.is_some() {
        found = without_empty(store, found).await?;
    }
    let mut names: Vec<String> = found.iter().map(|folder| folder[prefix.len()..].trim_end_matches('/').to_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Leaves out folders that hold nothing: a service that keeps folders as such goes on to list them for a while.
async fn without_empty(store: &S3Store, folders: Vec<String>) -> Done<Vec<String>> {
    let looks = stream::iter(folders).map(async |folder| {
        let first = page(store, &folder, None, 1).await?;
        Ok((!first.is_empty()).then_some(folder))
    });
    looks.buffered(LOOKS).try_filter_map(|folder| ready(Ok(folder))).try_collect().await
}

/// The folders on the way to `after`, the deepest last, so that a listing goes on in the middle of them.
fn open_levels(prefix: &str, after: Option<&str>) -> Vec<Level> {
    let after = match after {
        Some(after) if after.starts_with(prefix) => after,
        // Nothing comes after it.
        Some(after) if after > prefix => return vec![],
        _ => return vec![Level::of(prefix.to_owned())],
    };
    let slashes = after.match_indices('/').map(|(slash, _)| slash + 1).filter(|end| *end > prefix.len());
    let mut levels = Vec::new();
    let mut begin = prefix;
    for end in slashes.chain([after.len()]) {
        levels.push(Level::after(begin, &after[..end]));
        begin = &after[..end];
    }
    levels
}

/// What a folder holds.
enum Item {
    Object(Entry),
    /// Its keys' beginning, with the slash.
    Folder(String),
}

impl Item {
    fn into_folder(self) -> Option<String> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Object(_) => None,
        }
    }
}

/// The listing of one folder, or of the names in it that begin alike.
struct Level {
    prefix: String,
    after: Option<String>,
    token: Option<String>,
    asked: bool,
    /// Items in order, all of which come before anything that is still to come.
    ready: VecDeque<Item>,
    /// Folders that objects may still come before: `a/` while there may be an `a-b`.
    held: BTreeMap<String, Item>,
    /// The last name made ready.
    last: String,
}

impl Level {
    fn of(prefix: String) -> Self {
        let (ready, held) = (VecDeque::new(), BTreeMap::new());
        Self { prefix, after: None, token: None, asked: false, ready, held, last: String::new() }
    }

    /// The rest of a listing, after `after`, which begins with `prefix` and has no further slash but perhaps a last one.
    ///
    /// A service that takes the folder `a/` for `a` does not list it after `a-b`: such folders are looked into even so.
    fn after(prefix: &str, after: &str) -> Self {
        let held = passed_over(prefix, after).map(|folder| (folder.clone(), Item::Folder(folder))).collect();
        Self { after: Some(after.to_owned()), held, ..Self::of(prefix.to_owned()) }
    }

    fn is_complete(&self) -> bool {
        self.asked && self.token.is_none() && self.ready.is_empty()
    }

    /// Asks for the next items.
    async fn ask(&mut self, store: &S3Store, most: usize) -> Done<()> {
        let begin = store.full(&self.prefix);
        let request = store
            .client
            .list_objects_v2()
            .bucket(&store.options.bucket)
            .set_prefix((!begin.is_empty()).then_some(begin))
            .delimiter("/")
            // A continuation token stands for the place already.
            .set_start_after(self.after.as_deref().filter(|_| self.token.is_none()).map(|after| store.full(&just_before(after))))
            .set_continuation_token(self.token.take())
            // One more, since `after` itself may be in the answer.
            .max_keys(i32::try_from(most + 1).unwrap_or(1000).clamp(1, 1000));
        let answer = answer(LIMIT, request.send()).await?.map_err(|error| failure::of(&error))?;
        self.token = next(&answer)?;
        self.asked = true;
        for (bare, item) in items(store, &answer)? {
            if self.is_wanted(&item) {
                self.take(bare, item)?;
            }
        }
        match self.token {
            Some(_) => Ok(()),
            None => self.release(None),
        }
    }

    /// Takes the item of a name, which is given without slash.
    fn take(&mut self, bare: String, item: Item) -> Done<()> {
        self.release(Some(&bare))?;
        match item {
            Item::Object(entry) => self.emit(bare, Item::Object(entry)),
            Item::Folder(folder) => {
                self.held.insert(folder.clone(), Item::Folder(folder));
                Ok(())
            }
        }
    }

    /// Whether an item comes after what was asked for. A folder begins where `after` lies, and an `a-b` comes after `a/`, by its bare name.
    fn is_wanted(&self, item: &Item) -> bool {
        let name = match item {
            Item::Object(entry) => entry.key.as_str(),
            Item::Folder(folder) => folder,
        };
        self.after.as_deref().is_none_or(|after| name > after)
    }

    /// Makes the held folders ready that come before `next`, which nothing that is still to come precedes.
    fn release(&mut self, next: Option<&str>) -> Done<()> {
        while let Some((folder, _)) = self.held.first_key_value() {
            if next.is_some_and(|next| folder.as_str() >= next) {
                break;
            }
            if let Some((folder, item)) = self.held.pop_first() {
                self.emit(folder, item)?;
            }
        }
        Ok(())
    }

    fn emit(&mut self, name: String, item: Item) -> Done<()> {
        if name <= self.last {
            return Err(Failure::Other(format!(
                "the service lists out of order, or ignores start-after: {name} after {}",
                self.last
            )));
        }
        self.last = name;
        self.ready.push_back(item);
        Ok(())
    }
}

/// The folders below `prefix` that come after `after` by their bytes and before it by their bare names: `p/a/` for `p/a-b`.
fn passed_over<'a>(prefix: &str, after: &'a str) -> impl Iterator<Item = String> + 'a {
    let begin = prefix.rfind('/').map_or(0, |slash| slash + 1);
    let (first, name) = (prefix.len().max(begin + 1), after.char_indices());
    let early = name.filter(move |(position, letter)| *position >= first && *letter < '/');
    early.map(|(position, _)| format!("{}/", &after[..position]))
}

/// A name a little before `after`: asked for what comes after the object `a`, some services leave out the folder `a/`.
fn just_before(after: &str) -> String {
    match after.char_indices().next_back() {
        None | Some((_, '/')) => after.to_owned(),
        // Not `/`, which would lead into a folder.
        Some((last, '0')) => format!("{}.~", &after[..last]),
        Some((last, letter @ '!'..='~')) => format!("{}{}~", &after[..last], char::from(letter as u8 - 1)),
        Some((last, _)) => after[..last].to_owned(),
    }
}

/// An answer's objects and folders in one order, that of the bare names.
fn items(store: &S3Store, answer: &ListObjectsV2Output) -> Done<Vec<(String, Item)>> {
    let mut items = Vec::new();
    for object in answer.contents() {
        items.extend(entry(store, object)?.map(|entry| (entry.key.to_string(), Item::Object(entry))));
    }
    for prefix in answer.common_prefixes().iter().filter_map(|common| common.prefix()) {
        let folder = prefix.strip_prefix(&store.full("")).map(str::to_owned);
        let name = folder.as_deref().and_then(|folder| folder.strip_suffix('/')).and_then(ObjectKey::new);
        items.extend(name.zip(folder).map(|(name, folder)| (name.to_string(), Item::Folder(folder))));
    }
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(items)
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

#[cfg(test)]
mod tests;
