//! A look at the objects of a bucket that needs a few bytes for each: what they are called and what they are like, as hashes.
//!
//! Where there are more than `ROWS_MAX`, a survey holds one of several parts of them, chosen by the hashes of their names; whoever needs
//! all looks several times. So memory stays bounded whatever there is, and no order is relied on.

use crate::codec::Hash;
use crate::storage::s3::ListedObject;

/// The most objects that one survey holds.
const ROWS_MAX: usize = 1_000_000;

/// What makes an object the same as another one of its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    /// The same version: ETag, size and time.
    Version,
    /// The same content: ETag and size.
    Content,
}

/// The short hash of what an object is like.
pub(super) type Mark = [u8; 8];

impl Look {
    /// What an object is like.
    pub fn mark(self, object: &ListedObject) -> Mark {
        let modified = match self {
            Self::Version => object.modified.as_second(),
            Self::Content => 0,
        };
        let hash = Hash::of(format!("{} {} {modified}", object.etag, object.size).as_bytes());
        std::array::from_fn(|index| hash.0[index])
    }
}

/// A name as 16 bytes of its hash: no two of them meet.
pub(super) fn hash_of(name: &str) -> [u8; 16] {
    let hash = Hash::of(name.as_bytes());
    std::array::from_fn(|index| hash.0[index])
}

#[derive(Clone, Copy, Debug)]
struct Row {
    name: [u8; 16],
    mark: Mark,
    is_met: bool,
}

/// What there is of a part of all names.
#[derive(Debug)]
pub(super) struct Survey {
    part: u32,
    parts: u32,
    rows: Vec<Row>,
    rows_max: usize,
    /// How many bytes all objects have, those of other parts included.
    pub bytes: u64,
    /// How many objects there are, those of other parts included.
    pub objects: u64,
}

impl Survey {
    /// An empty one of the part `part` of `parts`, which is a power of two. The first part becomes smaller by itself where there is too much.
    pub fn new(part: u32, parts: u32) -> Self {
        Self { part, parts, rows: Vec::new(), rows_max: ROWS_MAX, bytes: 0, objects: 0 }
    }

    /// Takes note of an object, if it is in this part.
    pub fn take(&mut self, name: &str, mark: Mark, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
        let name = hash_of(name);
        if !is_in(name, self.part, self.parts) {
            return;
        }
        self.rows.push(Row { name, mark, is_met: false });
        while self.part == 0 && self.rows.len() > self.rows_max {
            self.parts *= 2;
            let parts = self.parts;
            self.rows.retain(|row| is_in(row.name, 0, parts));
        }
    }

    /// Makes it ready to be asked.
    pub fn sort(&mut self) {
        self.rows.sort_unstable_by_key(|row| row.name);
        self.rows.dedup_by_key(|row| row.name);
    }

    /// How many parts there are.
    pub const fn parts(&self) -> u32 {
        self.parts
    }

    /// Whether a name belongs to this part.
    pub fn covers(&self, name: &str) -> bool {
        is_in(hash_of(name), self.part, self.parts)
    }

    /// What the object of that name is like, and whether it was met before; it is met from now on. `None`: there is none in this part.
    pub fn meet(&mut self, name: &str) -> Option<(Mark, bool)> {
        let index = self.index(name)?;
        let row = &mut self.rows[index];
        Some((row.mark, std::mem::replace(&mut row.is_met, true)))
    }

    /// Meets the object of that name if it is like that, for the first time. Whether it is.
    pub fn meet_like(&mut self, name: &str, mark: Mark) -> bool {
        let Some(index) = self.index(name) else { return false };
        let row = &mut self.rows[index];
        let meets = !row.is_met && row.mark == mark;
        row.is_met |= meets;
        meets
    }

    /// Whether the object of that name is there and was not met.
    pub fn is_unmet(&self, name: &str) -> bool {
        self.index(name).is_some_and(|index| !self.rows[index].is_met)
    }

    /// What the object of that name is like; `None`: there is none in this part.
    pub fn mark(&self, name: &str) -> Option<Mark> {
        self.index(name).map(|index| self.rows[index].mark)
    }

    /// How many were not met.
    pub fn unmet(&self) -> u64 {
        self.rows.iter().filter(|row| !row.is_met).count() as u64
    }

    fn index(&self, name: &str) -> Option<usize> {
        let name = hash_of(name);
        self.rows.binary_search_by_key(&name, |row| row.name).ok()
    }
}

fn is_in(name: [u8; 16], part: u32, parts: u32) -> bool {
    let number = u32::from_le_bytes([name[0], name[1], name[2], name[3]]);
    number & (parts - 1) == part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(part: u32, parts: u32, rows_max: usize) -> Survey {
        let mut survey = Survey { rows_max, ..Survey::new(part, parts) };
        (0..1000).for_each(|number| survey.take(&format!("key {number}"), [1; 8], 2));
        survey.sort();
        survey
    }

    #[test]
    fn each_name_is_in_one_of_the_parts_and_none_holds_too_many() {
        let parts = survey(0, 1, 100).parts();
        assert!(parts >= 16, "{parts}");
        let surveys: Vec<Survey> = (0..parts).map(|part| survey(part, parts, 100)).collect();
        assert!(surveys.iter().all(|survey| survey.rows.len() <= 150 && survey.objects == 1000 && survey.bytes == 2000));
        for number in 0..1000 {
            let name = format!("key {number}");
            assert_eq!(surveys.iter().filter(|survey| survey.covers(&name) && survey.is_unmet(&name)).count(), 1, "{name}");
        }
    }

    #[test]
    fn an_object_is_met_once_and_only_if_it_is_the_same() {
        let mut survey = survey(0, 1, 1000);
        assert!(!survey.meet_like("key 1", [2; 8]) && !survey.meet_like("key", [1; 8]));
        assert!(survey.meet_like("key 1", [1; 8]) && !survey.meet_like("key 1", [1; 8]));
        assert_eq!((survey.mark("key 2"), survey.mark("other")), (Some([1; 8]), None));
        assert_eq!(survey.meet("key 2"), Some(([1; 8], false)));
        assert_eq!((survey.meet("key 2"), survey.meet("other"), survey.unmet()), (Some(([1; 8], true)), None, 998));
    }

    #[test]
    fn a_version_is_told_by_etag_size_and_time() {
        let object = |etag: &str, size, second| ListedObject {
            key: "k".to_owned(),
            size,
            etag: etag.to_owned(),
            modified: jiff::Timestamp::from_second(second).expect("a time"),
        };
        let mark = |look: Look, object: ListedObject| look.mark(&object);
        let first = mark(Look::Version, object("e", 1, 1));
        for other in [object("f", 1, 1), object("e", 2, 1), object("e", 1, 2)] {
            assert_ne!(mark(Look::Version, other), first);
        }
        assert_eq!(mark(Look::Content, object("e", 1, 1)), mark(Look::Content, object("e", 1, 2)));
    }
}
