//! From keys to names of files. A key is any text; a file needs a path that stays below its directory.
//!
//! What cannot be part of a path as it is gets written with `%`: `%` itself as `%25`, a part `.` or `..` with `%2E`, an empty part as `%`, a
//! zero byte as `%00`. Where one key is also the beginning of others with a slash behind it, its file gets a `%` at its end. So no two keys
//! ever get the same name.

use super::super::error::{Error, Result};
use super::super::line::Lines;
use super::super::remarks::Named;
use super::super::survey::hash_of;
use super::RestoreRequest;

/// The longest name of a file, and the longest path below the directory, in bytes.
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 3800;
/// So many hashes are collected before those that are there twice are taken out.
const HASHES_MAX: usize = 500_000;

/// The names of one backup's objects.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The folders that keys lie in, as hashes, sorted.
    folders: Vec<[u8; 16]>,
}

impl Names {
    /// Looks at all keys that are asked for.
    ///
    /// # Errors
    /// When some are too long.
    pub async fn find(mut lines: Lines, request: &RestoreRequest) -> Result<Self> {
        let (mut folders, mut too_long, mut limit) = (Vec::new(), Named::default(), HASHES_MAX);
        while let Some(line) = lines.next().await? {
            if !request.wants(&line.key) {
                continue;
            }
            let path = encoded(&line.key);
            // One byte more may be needed.
            if path.len() >= PATH_BYTES_MAX || path.split('/').any(|part| part.len() >= NAME_BYTES_MAX) {
                too_long.add(&line.key);
            }
            folders.extend(path.match_indices('/').map(|(slash, _)| hash_of(&path[..slash])));
            if folders.len() > limit {
                unique(&mut folders);
                limit = folders.len() + HASHES_MAX;
            }
        }
        if too_long.count > 0 {
            return Err(Error::TooLong { count: too_long.count, examples: too_long.keys().to_vec() });
        }
        unique(&mut folders);
        Ok(Self { folders })
    }

    /// The path of a key's file.
    pub fn name(&self, key: &str) -> String {
        let path = encoded(key);
        if self.folders.binary_search(&hash_of(&path)).is_ok() { path + "%" } else { path }
    }
}

/// What the names of keys begin with that begin so.
pub(super) fn beginning(prefix: &str) -> String {
    let path = encoded(prefix);
    // The last part may go on.
    if prefix.is_empty() || prefix.ends_with('/') { path.trim_end_matches('%').to_owned() } else { path }
}

fn unique(hashes: &mut Vec<[u8; 16]>) {
    hashes.sort_unstable();
    hashes.dedup();
}

/// A path of plain parts.
fn encoded(key: &str) -> String {
    let part = |part: &str| match part {
        "" => "%".to_owned(),
        "." | ".." => part.replace('.', "%2E"),
        _ => part.replace('%', "%25").replace('\0', "%00"),
    };
    key.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(keys: &[String]) -> Vec<String> {
        let mut folders: Vec<_> =
            keys.iter().map(|key| encoded(key)).flat_map(|path| ancestors(&path)).map(|folder| hash_of(&folder)).collect();
        unique(&mut folders);
        let names = Names { folders };
        keys.iter().map(|key| names.name(key)).collect()
    }

    fn ancestors(path: &str) -> Vec<String> {
        path.match_indices('/').map(|(slash, _)| path[..slash].to_owned()).collect()
    }

    #[test]
    fn ordinary_keys_are_their_own_names() {
        let keys = ["a", "b/c.txt", "größe/[x] ?*", ".hidden", "a b\\c"].map(str::to_owned);
        assert_eq!(names(&keys), keys);
    }

    #[test]
    fn what_would_lead_elsewhere_is_written_with_percent_signs() {
        let keys = ["../etc/passwd", "/etc/passwd", "a//b", "b/", "a/./b", "50%", "50%25", ""].map(str::to_owned);
        let expected = ["%2E%2E/etc/passwd", "%/etc/passwd", "a/%/b", "b/%", "a/%2E/b", "50%25", "50%2525", "%%"];
        assert_eq!(names(&keys), expected);
    }

    #[test]
    fn beginnings_are_those_of_names() {
        for (prefix, begin) in [("", ""), ("a", "a"), ("a/", "a/"), ("50%", "50%25"), ("../", "%2E%2E/"), ("a//", "a/%/")] {
            assert_eq!(beginning(prefix), begin);
        }
    }

    #[test]
    fn a_key_that_is_a_folder_as_well_gets_another_name() {
        let keys = ["a", "a/b", "a/b/c", "d"].map(str::to_owned);
        assert_eq!(names(&keys), ["a%", "a/b%", "a/b/c", "d"]);
    }

    proptest! {
        #[test]
        fn no_two_keys_share_a_path_or_leave_the_directory(keys in proptest::collection::hash_set("[a./%]{0,5}", 1..20)) {
            let keys: Vec<String> = keys.into_iter().collect();
            let paths = names(&keys);
            for path in &paths {
                prop_assert!(path.split('/').all(|part| !part.is_empty() && part != "." && part != ".."), "{path}");
                prop_assert_eq!(paths.iter().filter(|other| *other == path).count(), 1, "{}", path);
                prop_assert!(!paths.iter().any(|other| ancestors(other).contains(path)), "{} is a folder too", path);
            }
        }
    }
}
