//! How much goes into a pack and how much is held in memory.

use crate::repository::WriteLimits;

/// The limits of one backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How large a pack should be, in bytes before compression. A single file may be larger.
    pub pack_bytes: u64,
    /// The most files, directories and links in a pack: its index is held in memory.
    pub pack_entries: usize,
    /// How the packs are written.
    pub writing: WriteLimits,
}

impl Default for Limits {
    /// In memory: up to six frames of 4 MiB, plain or compressed, an index of a few MiB, and what the store holds.
    fn default() -> Self {
        Self { pack_bytes: 256 << 20, pack_entries: 1 << 15, writing: WriteLimits::default() }
    }
}
