//! How much goes into a pack and how much is held in memory.

use crate::codec::FrameWriter;

/// The limits of one backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How large a pack should be, in bytes before compression. A single file may be larger.
    pub pack_bytes: u64,
    /// The most files, directories and links in a pack: its index is held in memory.
    pub pack_entries: usize,
    /// The size of a frame, in bytes before compression.
    pub frame_bytes: usize,
    /// How many frames are compressed or waiting for the store at once.
    pub frames_in_flight: usize,
}

impl Default for Limits {
    /// In memory: up to six frames of 4 MiB, plain or compressed, an index of a few MiB, and what the store holds.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let frames_in_flight = cores.clamp(2, 4);
        Self { pack_bytes: 256 << 20, pack_entries: 1 << 15, frame_bytes: FrameWriter::FRAME_SIZE, frames_in_flight }
    }
}
