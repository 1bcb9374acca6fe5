//! Whether content has come as it is there, where nothing but its ETag can tell: pure.
//!
//! An ETag can have the form of an MD5 sum and be none. So content that does not have the sum is read again: what then comes with the sum is
//! right, and what comes twice alike is taken as it is, for its ETag is no sum. Where other ETags of the bucket have been sums, that is said.

use crate::codec::Hash;
use crate::storage::s3::Md5Sum;

/// So many objects whose ETags are no sums, where none has been one, and they are not compared any more: each is read twice.
const OTHERS_MAX: u32 = 3;

/// What the ETags of a bucket have turned out to be.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// At least one was a sum.
    is_proven: bool,
    /// How many were none.
    others: u32,
}

/// The times that one object has been read.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// What came last, and had another sum.
    doubted: Option<Hash>,
    /// Whether it has come right since.
    pub was_altered: bool,
    /// Whether it was taken because it came twice alike, without the sum that was expected.
    pub is_unlike: bool,
}

impl Reads {
    /// Whether what came did not have the sum that was expected.
    pub const fn was_doubted(&self) -> bool {
        self.doubted.is_some()
    }
}

impl Sums {
    /// Whether ETags of this bucket are sums, as far as they look like them: what does not have its sum may have been altered on its way.
    pub const fn are_proven(&self) -> bool {
        self.is_proven
    }

    /// What is to be compared with.
    pub fn expected(&self, sum: Option<Md5Sum>) -> Option<Md5Sum> {
        sum.filter(|_| self.is_proven || self.others < OTHERS_MAX)
    }

    /// Whether content is what is there, as far as can be told. If not, it is to be read again.
    pub fn take(&mut self, reads: &mut Reads, hash: Hash, expected: Option<Md5Sum>, found: impl FnOnce() -> Md5Sum) -> bool {
        let Some(expected) = expected else { return true };
        if found() == expected {
            self.is_proven = true;
            reads.was_altered = reads.doubted.is_some();
            return true;
        }
        if reads.doubted.replace(hash) == Some(hash) {
            self.others += 1;
            reads.is_unlike = true;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether content is taken whose ETag is the sum of `there`.
    fn take(sums: &mut Sums, reads: &mut Reads, there: &[u8], came: &[u8]) -> bool {
        let expected = sums.expected(Some(Md5Sum::of(there)));
        sums.take(reads, Hash::of(came), expected, || Md5Sum::of(came))
    }

    #[test]
    fn what_was_altered_on_its_way_is_read_again_until_it_is_right() {
        let (mut sums, mut reads) = (Sums::default(), Reads::default());
        for altered in [b"atered", b"alterd"] {
            assert!(!take(&mut sums, &mut reads, b"content", altered));
        }
        assert!(take(&mut sums, &mut reads, b"content", b"content") && reads.was_altered);
        let mut next = Reads::default();
        assert!(take(&mut sums, &mut next, b"other", b"other") && !next.was_altered);
    }

    #[test]
    fn what_comes_twice_alike_is_taken_and_a_bucket_without_sums_is_not_read_twice_for_long() {
        let mut sums = Sums::default();
        for _ in 0..OTHERS_MAX {
            let mut reads = Reads::default();
            assert!(!take(&mut sums, &mut reads, b"no sum", b"content"));
            assert!(take(&mut sums, &mut reads, b"no sum", b"content") && !reads.was_altered && reads.is_unlike);
        }
        let mut reads = Reads::default();
        assert!(take(&mut sums, &mut reads, b"no sum", b"content") && !reads.is_unlike && !sums.are_proven());
        let mut proven = Sums { is_proven: true, others: OTHERS_MAX };
        assert!(!take(&mut proven, &mut Reads::default(), b"no sum", b"content"));
    }
}
