//! Buffers for large content.
//!
//! Invariants: a buffer that is handed out is empty, and belongs to one owner. At most `KEPT_MAX` wait to be used again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// A little more than glibc's malloc ever takes from its arenas (`DEFAULT_MMAP_THRESHOLD_MAX`).
const MAPPED_BYTES: usize = (32 << 20) + 1;
/// From this size on it matters.
const LARGE_BYTES: usize = 2 << 20;
/// How many large buffers are kept. One is enough for WAL that comes steadily; more of them were seen to add to the peak.
const KEPT_MAX: usize = 1;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer with room for at least `capacity` bytes.
///
/// A large one is made larger than needed, so that it is mapped on its own: it takes memory only where it is written to, and gives all of
/// it back when it is dropped. Smaller blocks are kept for later by the arena of the thread that freed them, which, with one
/// arena per thread and frames of 4 MiB or segments of 16 MiB, would cost far more memory than is ever in use.
///
/// A buffer that became `Bytes` through `into_bytes` is used again: the pages of a new one cost a tenth of what a segment does.
#[must_use]
pub fn buffer(capacity: usize) -> Vec<u8> {
    if capacity < LARGE_BYTES {
        return Vec::with_capacity(capacity);
    }
    let again = if capacity <= MAPPED_BYTES { kept().pop() } else { None };
    again.unwrap_or_else(|| Vec::with_capacity(capacity.max(MAPPED_BYTES)))
}

/// What was written into a buffer, to be shared. Where it is a large one it is kept for the next when the last share is dropped.
#[must_use]
pub fn into_bytes(written: Vec<u8>) -> Bytes {
    if written.capacity() < MAPPED_BYTES { written.into() } else { Bytes::from_owner(Lent(written)) }
}

/// A large buffer on loan.
struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut kept = kept();
        // One that grew to an unusual size is given back.
        if kept.len() < KEPT_MAX && self.0.capacity() < 2 * MAPPED_BYTES {
            self.0.clear();
            kept.push(std::mem::take(&mut self.0));
        }
    }
}

fn kept() -> MutexGuard<'static, Vec<Vec<u8>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_and_is_empty_then() {
        let mut first = buffer(LARGE_BYTES);
        first.extend_from_slice(b"something");
        let shared = into_bytes(first);
        let (place, part) = (shared.as_ptr(), shared.slice(4..));
        drop(shared);
        assert_eq!(&part[..], b"thing", "a share keeps the buffer");
        let others: Vec<_> = (0..KEPT_MAX).map(|_| buffer(LARGE_BYTES)).collect();
        assert!(others.iter().all(|other| other.as_ptr() != place), "the buffer is still in use");
        drop(part);
        let again = buffer(LARGE_BYTES);
        assert!(again.is_empty() && again.capacity() >= MAPPED_BYTES);
    }

    #[test]
    fn few_buffers_are_kept() {
        let lent: Vec<_> = (0..KEPT_MAX * 3).map(|_| into_bytes(buffer(LARGE_BYTES))).collect();
        drop(lent);
        assert!(kept().len() <= KEPT_MAX);
    }

    #[test]
    fn a_small_buffer_is_as_large_as_it_was_asked_for() {
        assert!(buffer(1000).capacity() < LARGE_BYTES);
        assert_eq!(&into_bytes(vec![7; 3])[..], [7; 3]);
    }
}
