//! Nothing lies in a repository for ever that nothing refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use holdfast::storage::{Store, list_all};

/// The folders of what speaks for itself: WAL and records.
const RECORDS: [&str; 10] = [
    "/wal/",
    "/lineages/",
    "/gaps/",
    "/conflicts/",
    "/acknowledged/",
    "/backups/",
    "/holds/",
    "/horizons/",
    "/leases/",
    "/runs/",
];

/// What lies in a repository that nothing refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Objects that nothing will ever remove.
    pub lost: Vec<String>,
    /// Content of backups that no catalog entry lists.
    pub unlisted: Vec<String>,
}

/// Looks at every object. What has a later segment behind it is no longer being worked on.
pub async fn find(store: &dyn Store) -> Garbage {
    let entries = list_all(store, "").await.expect("a listing");
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let known: BTreeSet<&str> = keys.iter().copied().collect();
    let mut garbage = Garbage::default();
    let mut slices: BTreeMap<&str, Vec<(Range<u64>, &str)>> = BTreeMap::new();
    for key in keys {
        if let Some((segment, piece)) = key.split_once(".slices/") {
            slices.entry(segment).or_default().push((range(piece), key));
        } else if let Some((resource, rest)) = key.split_once("/data/") {
            let id = rest.split('/').next().unwrap_or_default();
            if !known.contains(format!("{resource}/backups/{id}.json").as_str()) {
                garbage.unlisted.push(key.to_owned());
            }
        } else if key != "holdfast.json" && !RECORDS.iter().any(|part| key.contains(part)) {
            garbage.lost.push(key.to_owned());
        }
    }
    let superfluous = slices.iter().flat_map(|(segment, pieces)| superfluous(&known, &slices, segment, pieces));
    garbage.lost.extend(superfluous.map(str::to_owned));
    garbage
}

/// The slices of a segment that others stand for, unless it is the last of all: that one is still being worked on.
fn superfluous<'a>(
    known: &BTreeSet<&str>,
    slices: &BTreeMap<&str, Vec<(Range<u64>, &'a str)>>,
    segment: &str,
    pieces: &[(Range<u64>, &'a str)],
) -> Vec<&'a str> {
    if known.contains(segment) {
        return pieces.iter().map(|(_, key)| *key).collect();
    }
    if known.iter().chain(slices.keys()).filter(|key| is_wal(key)).all(|other| *other <= segment || other.starts_with(segment)) {
        return Vec::new();
    }
    let within = |inner: &Range<u64>, outer: &Range<u64>| inner != outer && outer.start <= inner.start && inner.end <= outer.end;
    let covered = |piece: &Range<u64>| pieces.iter().any(|(other, _)| within(piece, other));
    pieces.iter().filter(|(piece, _)| covered(piece)).map(|(_, key)| *key).collect()
}

/// Whether a key is a segment's, or begins with one.
fn is_wal(key: &str) -> bool {
    key.contains("/wal/") && !key.contains("/history/")
}

/// The bytes that a slice's name tells of: `SEGMENT.START-END`.
fn range(name: &str) -> Range<u64> {
    let bytes = name.split_once('.').and_then(|(_, bytes)| bytes.split_once('-'));
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    bytes.and_then(|(start, end)| Some(number(start)?..number(end)?)).unwrap_or_else(|| panic!("no slice: {name}"))
}
