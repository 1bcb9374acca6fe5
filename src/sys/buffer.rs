//! Buffers for large content.

/// A little more than glibc's malloc ever takes from its arenas (`DEFAULT_MMAP_THRESHOLD_MAX`).
const MAPPED_BYTES: usize = (32 << 20) + 1;
/// From this size on it matters.
const LARGE_BYTES: usize = 2 << 20;

/// An empty buffer with room for at least `capacity` bytes.
///
/// A large one is made larger than needed, so that it is mapped on its own: it takes memory only where it is written to, and gives all of
/// it back when it is dropped. Smaller blocks are kept for later by the arena of the thread that freed them, which, with one
/// arena per thread and frames of 4 MiB or segments of 16 MiB, would cost far more memory than is ever in use.
#[must_use]
pub fn buffer(capacity: usize) -> Vec<u8> {
    Vec::with_capacity(if capacity < LARGE_BYTES { capacity } else { capacity.max(MAPPED_BYTES) })
}
