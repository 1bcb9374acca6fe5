//! CRC-32 as S3 writes it: four bytes, most significant first, in base 64.

use bytes::Bytes;

use super::UploadChecksum;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The header's value for a body, where one is wanted.
pub fn header(wanted: UploadChecksum, body: &Bytes) -> Option<String> {
    (wanted == UploadChecksum::Crc32).then(|| encode(crc32fast::hash(body)))
}

/// Eight digits: 32 bits are five whole digits, two bits of a sixth, and padding.
fn encode(sum: u32) -> String {
    let six_bits = |position: u32| if position < 5 { sum >> (26 - 6 * position) } else { sum << 4 };
    let digit = |position: u32| char::from(DIGITS[(six_bits(position) & 63) as usize]);
    (0..6).map(digit).chain("==".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_values_come_out() {
        // CRC-32 of "123456789" is 0xCBF43926; `printf '\xcb\xf4\x39\x26' | base64`.
        assert_eq!(encode(crc32fast::hash(b"123456789")), "y/Q5Jg==");
        assert_eq!(encode(0), "AAAAAA==");
        assert_eq!(encode(u32::MAX), "/////w==");
    }
}
