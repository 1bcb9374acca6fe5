//! What was seen of what a restore changes: what has come or changed since then is left alone.

use super::super::error::Result;
use super::super::survey::{Look, Mark, hash_of};
use crate::storage::s3::Bucket;

/// The most objects that a plan remembers: beyond that, what is there when the work begins counts.
const ROWS_MAX: usize = 500_000;

/// What a plan says is overwritten or removed, and what that looked like.
#[derive(Debug, Default)]
pub(super) struct Seen {
    rows: Vec<([u8; 16], Mark)>,
    is_full: bool,
}

impl Seen {
    /// Takes note of an object that is overwritten or removed.
    pub fn add(&mut self, name: &str, mark: Mark) {
        self.is_full |= self.rows.len() == ROWS_MAX;
        if !self.is_full {
            self.rows.push((hash_of(name), mark));
        }
    }

    /// Makes it ready to be asked.
    pub fn sort(&mut self) {
        self.rows.sort_unstable();
    }

    /// Whether the plan was that the object of that name is overwritten or removed, and it still looks like that.
    pub fn has(&self, name: &str, mark: Mark) -> bool {
        self.is_full || self.rows.binary_search(&(hash_of(name), mark)).is_ok()
    }
}

/// Whether an object of a bucket is still what was seen there, if anything was. One that is gone meanwhile is none that a write could harm.
pub(super) async fn is_as_seen(bucket: &Bucket, key: &str, seen: Option<Mark>) -> Result<bool> {
    let there = bucket.look_at(key).await?;
    Ok(there.is_none_or(|object| Some(Look::Content.mark(&object)) == seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_since_the_plan_is_no_part_of_it() {
        let mut seen = Seen::default();
        ["b", "a"].iter().for_each(|name| seen.add(name, [1; 8]));
        seen.sort();
        assert!(seen.has("a", [1; 8]) && seen.has("b", [1; 8]));
        assert!(!seen.has("a", [2; 8]) && !seen.has("c", [1; 8]));
        (0..ROWS_MAX).for_each(|_| seen.add("a", [1; 8]));
        assert!(seen.has("c", [1; 8]) && seen.rows.len() == ROWS_MAX);
    }
}
