//! Room for large content on its way into the store: one budget for all that this process stores at once, whatever it is.
//!
//! Content takes twice its size while it is compressed and sent, and so much room is given to it. Streams of WAL, `archive_command` and the
//! frames of backups share the budget, in the order in which they ask, so that none waits for long. Who holds a place waits for nothing
//! but the store.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The unit of the budget, in bytes.
const UNIT: u64 = 1 << 20;
/// Two segments of 16 MiB, or one and four frames of a backup.
const UNITS: u32 = 64;
/// Smaller content needs no place: the slices of a steady stream never wait.
const LARGE_BYTES: u64 = 2 << 20;

static BUDGET: Semaphore = Semaphore::const_new(UNITS as usize);

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Option<SemaphorePermit<'static>>,
}

/// Waits for a place in which content of so many bytes may be dealt with.
pub async fn place_for(bytes: u64) -> Place {
    let units = units(bytes);
    // Nobody closes it.
    Place { _permit: if units == 0 { None } else { BUDGET.acquire_many(units).await.ok() } }
}

/// The same, if there is one at once.
#[must_use]
pub fn free_place_for(bytes: u64) -> Option<Place> {
    match units(bytes) {
        0 => Some(Place { _permit: None }),
        units => BUDGET.try_acquire_many(units).ok().map(|permit| Place { _permit: Some(permit) }),
    }
}

/// Whether there is one at once.
#[must_use]
pub fn is_place_for(bytes: u64) -> bool {
    BUDGET.available_permits() >= units(bytes) as usize
}

fn units(bytes: u64) -> u32 {
    if bytes < LARGE_BYTES {
        return 0;
    }
    u32::try_from((2 * bytes).div_ceil(UNIT)).unwrap_or(UNITS).min(UNITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn large_content_shares_the_budget_and_small_needs_none() {
        let first = place_for(16 << 20).await;
        let second = free_place_for(16 << 20).expect("there is room for two segments");
        assert!(place_for(4 << 20).now_or_never().is_none(), "there is no room for a frame then");
        assert!(free_place_for(4 << 20).is_none() && !is_place_for(4 << 20));
        assert!(place_for(LARGE_BYTES - 1).now_or_never().is_some() && is_place_for(LARGE_BYTES - 1));
        drop(second);
        assert!(place_for(4 << 20).now_or_never().is_some() && free_place_for(16 << 20).is_some());
        drop(first);
        assert!(place_for(u64::MAX / 2).now_or_never().is_some(), "what is larger than the budget has all of it");
    }
}
