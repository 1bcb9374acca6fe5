//! The messages of the protocol (RESP2): commands as they are sent, answers as they are read.

/// The longest line, in bytes: the first line of an answer, or an error.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A word, such as `OK`.
    Simple(String),
    /// An error: a code in capitals, and a sentence.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes; none where there is nothing of that name.
    Bulk(Option<Vec<u8>>),
    /// Several answers.
    Array(Vec<Self>),
}

/// How an answer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opening {
    /// An answer of one line.
    Whole(Reply),
    /// So many bytes follow, and a line end.
    Bulk(u64),
    /// So many answers follow.
    Array(u64),
}

/// Reads the first line of an answer, without its line end; none where it is no such line.
pub(super) fn opening(line: &[u8]) -> Option<Opening> {
    let (kind, rest) = line.split_first()?;
    let text = || String::from_utf8_lossy(rest).into_owned();
    let number = || std::str::from_utf8(rest).ok()?.parse::<i64>().ok();
    Some(match kind {
        b'+' => Opening::Whole(Reply::Simple(text())),
        b'-' => Opening::Whole(Reply::Error(text())),
        b':' => Opening::Whole(Reply::Integer(number()?)),
        b'$' | b'*' if number()? == -1 => Opening::Whole(Reply::Bulk(None)),
        b'$' => Opening::Bulk(u64::try_from(number()?).ok()?),
        b'*' => Opening::Array(u64::try_from(number()?).ok()?),
        _ => return None,
    })
}

/// Appends a command: an array of strings.
pub(super) fn command(parts: &[&[u8]], to: &mut Vec<u8>) {
    begin_command(parts.len(), to);
    for part in parts {
        begin_part(part.len() as u64, to);
        to.extend_from_slice(part);
        end_part(to);
    }
}

/// Begins a command of so many parts.
pub(super) fn begin_command(parts: usize, to: &mut Vec<u8>) {
    to.extend_from_slice(format!("*{parts}\r\n").as_bytes());
}

/// Begins a part of so many bytes, which follow.
pub(super) fn begin_part(bytes: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(format!("${bytes}\r\n").as_bytes());
}

/// Ends a part.
pub(super) fn end_part(to: &mut Vec<u8>) {
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut sent = Vec::new();
        command(&[b"AUTH", b"a b"], &mut sent);
        assert_eq!(sent, b"*2\r\n$4\r\nAUTH\r\n$3\r\na b\r\n");
    }

    #[test]
    fn answers_of_every_form() {
        assert_eq!(opening(b"+OK"), Some(Opening::Whole(Reply::Simple("OK".to_owned()))));
        assert_eq!(opening(b":-3"), Some(Opening::Whole(Reply::Integer(-3))));
        assert_eq!((opening(b"$5"), opening(b"*0")), (Some(Opening::Bulk(5)), Some(Opening::Array(0))));
        assert_eq!(opening(b"$-1"), Some(Opening::Whole(Reply::Bulk(None))));
        for wrong in [&b""[..], b"HTTP/1.1 400", b"$x", b"$-2", b"*99999999999999999999"] {
            assert_eq!(opening(wrong), None, "{wrong:?}");
        }
    }
}
