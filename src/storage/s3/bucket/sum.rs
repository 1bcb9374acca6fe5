//! ETags that are the MD5 sum of an object, as those are of what was put in one piece and is not encrypted with a key of somebody's own.

use md5::{Digest, Md5};

/// The MD5 sum of some content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Md5Sum([u8; 16]);

impl Md5Sum {
    /// The sum of content that is at hand.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = Md5Hasher::default();
        hasher.update(content);
        hasher.finish()
    }

    /// What an ETag says, if it has the form of a sum. That it is one is not certain: services may write anything there.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        if etag.len() != 32 || !etag.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut sum = [0; 16];
        for (position, byte) in sum.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&etag[2 * position..2 * position + 2], 16).ok()?;
        }
        Some(Self(sum))
    }
}

/// Computes the sum of content that comes piece by piece.
#[derive(Clone, Default)]
pub struct Md5Hasher(Md5);

impl Md5Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The sum.
    #[must_use]
    pub fn finish(self) -> Md5Sum {
        Md5Sum(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_of_one_piece_is_the_sum_of_its_content() {
        // `printf abc | md5sum`
        assert_eq!(Md5Sum::of_etag("900150983cd24fb0d6963f7d28e17f72"), Some(Md5Sum::of(b"abc")));
        assert_ne!(Md5Sum::of_etag("900150983cd24fb0d6963f7d28e17f73"), Some(Md5Sum::of(b"abc")));
        for other in
            ["", "900150983cd24fb0d6963f7d28e17f72-2", "+00150983cd24fb0d6963f7d28e17f72", "ä0150983cd24fb0d6963f7d28e17f72"]
        {
            assert_eq!(Md5Sum::of_etag(other), None, "{other}");
        }
    }
}
