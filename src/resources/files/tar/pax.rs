//! The records of a pax header: `LENGTH KEY=VALUE` and a new line, the length counting itself.

/// What the keys of extended attributes begin with.
pub(super) const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// Appends a record.
pub(super) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The key of an extended attribute. GNU tar writes `%` and `=` in the name as `%25` and `%3D`.
pub(super) fn attribute_key(name: &[u8]) -> Vec<u8> {
    let mut key = ATTRIBUTE.to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            other => key.push(*other),
        }
    }
    key
}

/// The name of the extended attribute of which this is the key.
pub(super) fn attribute_name(key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = key.strip_prefix(ATTRIBUTE)?;
    let mut name = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        let (byte, after) = match after {
            [b'2', b'5', after @ ..] if *byte == b'%' => (b'%', after),
            [b'3', b'D', after @ ..] if *byte == b'%' => (b'=', after),
            _ => (*byte, after),
        };
        name.push(byte);
        rest = after;
    }
    Some(name)
}

/// The records of a header; `None` where they are none.
pub(super) fn parse(mut records: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        found.push((&record[..equals], &record[equals + 1..]));
        records = &records[length..];
    }
    Some(found)
}

/// A time as pax writes it: seconds, a point, nanoseconds. Before 1970 the nanoseconds count backwards from zero as well.
pub(super) fn time((seconds, nanoseconds): (i64, u32)) -> String {
    match (seconds, nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanoseconds) if seconds >= 0 => format!("{seconds}.{nanoseconds:09}"),
        (seconds, nanoseconds) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
}

/// Reads a time.
pub(super) fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit()).then_some(fraction)?;
    let nanoseconds: u32 = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    match whole.starts_with('-') && nanoseconds > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        false => Some((seconds, nanoseconds)),
    }
}
