//! Sizes, numbers and times for people.

use indicatif::HumanBytes;
use jiff::Timestamp;

/// A number of bytes: `1.5 GiB`.
pub(in crate::cli) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// A number of things: `1 segment`, `2 segments`, `2 directories`.
pub(in crate::cli) fn counted(count: impl TryInto<u64>, what: &str) -> String {
    let stem = what.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (count.try_into().unwrap_or(u64::MAX), stem) {
        (1, _) => format!("1 {what}"),
        (count, Some(stem)) => format!("{count} {stem}ies"),
        (count, None) => format!("{count} {what}s"),
    }
}

/// A time to the second.
pub(in crate::cli) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many_and_a_time_ends_with_its_second() {
        let texts = [counted(0_u64, "object"), counted(1_u64, "object"), counted(2_usize, "directory"), counted(3_u64, "key")];
        assert_eq!(texts, ["0 objects", "1 object", "2 directories", "3 keys"]);
        assert_eq!(seconds("2026-11-22T07:15:00.987654321Z".parse().expect("a time")), "2026-11-22T07:15:00Z");
    }
}
