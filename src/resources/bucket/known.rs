//! Contents that were met before, so that the same content under another key is stored once.

use std::collections::HashMap;

use super::line::{Line, Place};
use crate::codec::Hash;

/// How many contents are remembered. What comes beyond is stored again where it comes again.
const KNOWN_MAX: usize = 200_000;

/// Contents by their hash.
#[derive(Debug, Default)]
pub(super) struct Known {
    packs: Vec<String>,
    numbers: HashMap<String, u32>,
    places: HashMap<Hash, KnownPlace>,
}

/// A place in little room.
#[derive(Debug, Clone, Copy)]
struct KnownPlace {
    pack: u32,
    member: u32,
    offset: u64,
}

impl Known {
    /// Where this content is, if it is known.
    pub fn find(&self, hash: Hash) -> Option<Place> {
        let KnownPlace { pack, member, offset } = *self.places.get(&hash)?;
        let pack = self.packs.get(pack as usize)?.clone();
        Some(Place { pack, member: format!("{member:06}"), offset })
    }

    /// Remembers where the content of an object is.
    pub fn add(&mut self, line: &Line) {
        let Some(place) = &line.place else { return };
        let Ok(member) = place.member.parse() else { return };
        if self.places.len() >= KNOWN_MAX {
            return;
        }
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let pack = match self.numbers.get(&place.pack) {
            Some(number) => *number,
            None => {
                self.packs.push(place.pack.clone());
                self.numbers.insert(place.pack.clone(), next);
                next
            }
        };
        self.places.entry(line.blake3).or_insert(KnownPlace { pack, member, offset: place.offset });
    }
}
