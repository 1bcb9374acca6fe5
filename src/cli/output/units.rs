//! Sizes for people.

use indicatif::HumanBytes;

/// A number of bytes: `1.5 GiB`.
pub(in crate::cli) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}
