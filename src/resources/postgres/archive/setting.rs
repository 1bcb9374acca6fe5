//! Settings of the server, as `SHOW` prints them. Pure.

use std::time::Duration;

/// A size such as `16MB`; `None` for -1, which means no limit, and for what is no size.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A time such as `1min`; `None` for what is no time.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_as_the_server_prints_them() {
        assert_eq!((size("-1"), size("64MB"), size("2TB"), size("7 MB")), (None, Some(64 << 20), Some(2 << 40), None));
        assert_eq!((duration("0"), duration("1min")), (Some(Duration::ZERO), Some(Duration::from_mins(1))));
        assert_eq!((duration("2500ms"), duration("x"), duration("")), (Some(Duration::from_millis(2500)), None, None));
    }
}
