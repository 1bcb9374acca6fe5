//! LZF, in which servers store longer strings: literals, and references to what was written before.

/// Decompresses into exactly `plain_bytes`; `None` where that is not what comes out.
pub(super) fn decompress(compressed: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(plain_bytes);
    let mut rest = compressed;
    while let Some((&control, after)) = rest.split_first() {
        let control = usize::from(control);
        if control < 32 {
            let literal = after.get(..=control)?;
            plain.extend_from_slice(literal);
            rest = &after[literal.len()..];
        } else {
            rest = copy(&mut plain, control, after, plain_bytes)?;
        }
        if plain.len() > plain_bytes {
            return None;
        }
    }
    (plain.len() == plain_bytes).then_some(plain)
}

/// Repeats bytes that were written before; what is repeated may overlap with what it makes.
fn copy<'a>(plain: &mut Vec<u8>, control: usize, mut rest: &'a [u8], plain_bytes: usize) -> Option<&'a [u8]> {
    let mut length = control >> 5;
    if length == 7 {
        let (more, after) = rest.split_first()?;
        length += usize::from(*more);
        rest = after;
    }
    let (low, rest) = rest.split_first()?;
    let distance = ((control & 0x1F) << 8 | usize::from(*low)) + 1;
    let from = plain.len().checked_sub(distance)?;
    let length = length + 2;
    if plain.len() + length > plain_bytes {
        return None;
    }
    for at in from..from + length {
        plain.push(plain[at]);
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::decompress;

    #[test]
    fn literals_and_references() {
        assert_eq!(decompress(b"\x02abc", 3).as_deref(), Some(&b"abc"[..]));
        // Six times "ab": two literals, then ten bytes from two bytes before.
        assert_eq!(decompress(b"\x01ab\xE0\x01\x01", 12).as_deref(), Some(&b"abababababab"[..]));
        for wrong in [&b"\x02ab"[..], b"\x20\x00", b"\xE0", b"\x01ab\xE0\x01\x05"] {
            assert_eq!(decompress(wrong, 12), None, "{wrong:?}");
        }
        assert_eq!(decompress(b"\x02abc", 4), None);
    }
}
