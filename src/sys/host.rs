//! Which host this is, for records that others read.

/// The host's name; `unknown` where the system does not tell.
#[must_use]
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// A number that sets one thing apart from others: 40 bits from the operating system.
#[must_use]
pub fn mark() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() & 0xFF_FFFF_FFFF
}
