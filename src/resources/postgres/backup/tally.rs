//! Every file that was sent, in sixteen bytes each, to be compared with the manifest that comes last.

use super::problem::{Problem, Problems};

/// What is kept of a file. The path is kept as a hash; the size, of which only the low half is kept, stands beside a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    path: u64,
    crc32c: u32,
    size: u32,
}

/// The files that were sent, by their paths as the manifest gives them.
#[derive(Debug, Default)]
pub struct FileTally {
    seen: Vec<Seen>,
}

impl FileTally {
    /// Adds a file.
    pub fn add(&mut self, path: &[u8], size: u64, crc32c: u32) {
        self.seen.push(Seen { path: path_hash(path), crc32c, size: low(size) });
    }

    /// Ends the sending: from now on files are compared.
    #[must_use]
    pub fn compare(mut self) -> Comparison {
        self.seen.sort_unstable();
        let listed = vec![false; self.seen.len()];
        Comparison { seen: self.seen, listed, problems: Problems::default() }
    }
}

/// The files that were sent, beside those that the manifest lists.
#[derive(Debug, Default)]
pub struct Comparison {
    seen: Vec<Seen>,
    listed: Vec<bool>,
    problems: Problems,
}

impl Comparison {
    /// Takes the next file that the manifest lists.
    pub fn take(&mut self, path: &[u8], size: u64, crc32c: u32) {
        let hash = path_hash(path);
        let at = self.seen.partition_point(|seen| seen.path < hash);
        match self.seen.get(at).filter(|seen| seen.path == hash) {
            None => self.problems.push(Problem::Missing(show(path))),
            Some(seen) if (seen.crc32c, seen.size) != (crc32c, low(size)) => {
                let crc32c_sent = seen.crc32c;
                self.listed[at] = true;
                self.problems.push(Problem::Altered { path: show(path), listed: (size, crc32c), crc32c: crc32c_sent });
            }
            Some(_) if self.listed[at] => self.problems.push(Problem::Twice(show(path))),
            Some(_) => self.listed[at] = true,
        }
    }

    /// How many files were sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether some files were sent that the manifest does not list, or were sent twice. They have no names here.
    #[must_use]
    pub fn has_unlisted(&self) -> bool {
        self.listed.contains(&false)
    }

    /// Names a file that was sent, in search of those that are not listed.
    pub fn name(&mut self, path: &[u8]) {
        let hash = path_hash(path);
        let at = self.seen.partition_point(|seen| seen.path < hash);
        let same = self.seen[at..].iter().take_while(|seen| seen.path == hash).count();
        if let Some(unlisted) = (at..at + same).find(|at| !self.listed[*at]) {
            self.listed[unlisted] = true;
            self.problems.push(if same > 1 { Problem::Twice(show(path)) } else { Problem::Additional(show(path)) });
        }
    }

    /// Ends the search for names: who writes an encrypted backup cannot read the names in it.
    pub fn leave_unnamed(&mut self) {
        let unlisted = self.listed.iter_mut().filter(|listed| !**listed);
        for listed in unlisted {
            *listed = true;
            self.problems.push(Problem::Additional("(a file whose name is only in the encrypted index)".to_owned()));
        }
    }

    /// What was found.
    #[must_use]
    pub fn into_problems(self) -> Problems {
        self.problems
    }
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn path_hash(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[allow(clippy::cast_possible_truncation)] // the low half is what is meant
const fn low(size: u64) -> u32 {
    size as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compared(sent: &[(&str, u64, u32)], listed: &[(&str, u64, u32)]) -> Vec<Problem> {
        let mut tally = FileTally::default();
        for (path, size, crc32c) in sent {
            tally.add(path.as_bytes(), *size, *crc32c);
        }
        let mut comparison = tally.compare();
        for (path, size, crc32c) in listed {
            comparison.take(path.as_bytes(), *size, *crc32c);
        }
        if comparison.has_unlisted() {
            sent.iter().for_each(|(path, ..)| comparison.name(path.as_bytes()));
        }
        comparison.into_problems().named().to_vec()
    }

    #[test]
    fn every_difference_is_named() {
        let file = ("base/1/2", 8192, 7);
        assert_eq!(compared(&[file], &[file]), []);
        assert_eq!(compared(&[], &[file]), [Problem::Missing("base/1/2".into())]);
        assert_eq!(compared(&[file], &[]), [Problem::Additional("base/1/2".into())]);
        assert_eq!(compared(&[file, file], &[file]), [Problem::Twice("base/1/2".into())]);
        assert_eq!(compared(&[file], &[file, file]), [Problem::Twice("base/1/2".into())]);
        for sent in [("base/1/2", 8193, 7), ("base/1/2", 8192, 8), ("base/1/2", 0, 7)] {
            assert!(matches!(compared(&[sent], &[file])[..], [Problem::Altered { .. }]), "{sent:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_named_is_still_a_problem() {
        let mut tally = FileTally::default();
        tally.add(b"base/1/2", 8192, 7);
        let mut comparison = tally.compare();
        comparison.leave_unnamed();
        assert!(!comparison.has_unlisted());
        assert!(matches!(comparison.into_problems().named(), [Problem::Additional(_)]));
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(files in prop::collection::btree_map("[a-z]{1,3}", (any::<u64>(), any::<u32>()), 0..50), seed: u64) {
            let files: Vec<(&str, u64, u32)> = files.iter().map(|(path, (size, crc))| (path.as_str(), *size, *crc)).collect();
            let mut shuffled = files.clone();
            shuffled.sort_by_key(|(path, ..)| path_hash(path.as_bytes()) ^ seed);
            prop_assert_eq!(compared(&files, &shuffled), []);
        }
    }
}
