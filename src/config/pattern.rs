//! Patterns of names: `*.tmp`, `/opt/app/cache/**`.

use std::fmt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A pattern with `*`, `**`, `?`, `[...]` and `{a,b}`. `*` and `?` match no slash.
///
/// With a slash in it, it is compared with the whole path or key; without one, with the part after the last slash.
#[derive(Clone)]
pub struct Pattern {
    matcher: GlobMatcher,
    whole: bool,
}

impl Pattern {
    /// Whether a path or key is meant.
    #[must_use]
    pub fn matches(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let compared = if self.whole { Some(path) } else { path.file_name().map(Path::new) };
        compared.is_some_and(|part| self.matcher.is_match(part))
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.matcher.glob().glob()
    }

    /// Why it is of no use as what is left out of trees of files: it leaves out a whole one, or nothing in any case.
    pub(super) fn wrong_for_trees(&self, trees: &[PathBuf]) -> Option<String> {
        let pattern = self.text();
        if let Some(tree) = trees.iter().find(|tree| self.matches(tree) || self.matches_all(|name| tree.join(name))) {
            let tree = tree.display();
            return Some(format!(
                "the pattern '{pattern}' in exclude leaves out all of {tree}: take the path out of paths instead"
            ));
        }
        let is_relative = self.whole && !pattern.starts_with(['/', '*', '?', '[', '{', '\\']);
        if is_relative {
            return Some(format!(
                "the pattern '{pattern}' in exclude matches nothing: with a slash in it, it is compared with whole paths; write it as in \
                 /opt/app/{pattern} or **/{pattern}"
            ));
        }
        let can_match = !pattern.starts_with('/') || trees.iter().any(|tree| can_match_below(pattern, tree));
        (!can_match).then(|| format!("the pattern '{pattern}' in exclude matches nothing: it lies below none of the paths"))
    }

    /// Why it is of no use as what is left out of a bucket: it leaves out everything.
    pub(super) fn wrong_for_keys(&self) -> Option<String> {
        let leaves_out_all = self.matches_all(PathBuf::from) && self.matches_all(|name| Path::new(name).join(name));
        let pattern = self.text();
        leaves_out_all.then(|| format!("the pattern '{pattern}' in exclude leaves out every object"))
    }

    /// Whether it matches whatever the name is. What is tried is a name that nobody writes into a pattern.
    fn matches_all(&self, path_of: impl Fn(&'static str) -> PathBuf) -> bool {
        ["\u{e000}", ".\u{e000}"].into_iter().all(|name| self.matches(path_of(name)))
    }
}

/// Whether an absolute pattern can match a path in a tree, as far as its plain parts tell.
fn can_match_below(pattern: &str, tree: &Path) -> bool {
    let parts: Vec<&str> = pattern.split('/').collect();
    let is_plain = |part: &&&str| !part.contains(['*', '?', '[', ']', '{', '}', '\\']);
    let plain: Vec<&str> = parts.iter().take_while(is_plain).copied().collect();
    let begin = Path::new("/").join(plain.join("/"));
    begin.starts_with(tree) || plain.len() < parts.len() && tree.starts_with(begin)
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("'' is not a pattern: it matches nothing; write it as in *.tmp or /opt/app/cache/**".to_owned());
        }
        if text.ends_with('/') {
            let plain = text.trim_end_matches('/');
            return Err(format!(
                "'{text}' is not a pattern: it ends with a slash; write '{plain}' for a directory of files with all that is in it, '{plain}/**' \
                 for all keys that begin so"
            ));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob
            .map_err(|error| format!("'{text}' is not a pattern: {}; write it as in *.tmp or /opt/app/cache/**", error.kind()))?;
        Ok(Self { matcher: glob.compile_matcher(), whole: text.contains('/') })
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_names_or_whole_paths() {
        let matches = |pattern: &str, path: &str| pattern.parse::<Pattern>().expect("a pattern").matches(path);
        assert!(matches("*.tmp", "/a/b/c.tmp") && matches("*.tmp", "c.tmp") && !matches("*.tmp", "/a.tmp/c"));
        assert!(matches("/a/*/c", "/a/b/c") && !matches("/a/*/c", "/a/b/b/c") && matches("/a/**", "/a/b/b/c"));
        assert!(matches("cache", "/a/cache") && !matches("cache", "/a/caches"));
        assert!("[".parse::<Pattern>().is_err());
        let slash = "/a/cache/".parse::<Pattern>().expect_err("no path ends with a slash");
        assert!(slash.contains("write '/a/cache' for a directory"), "{slash}");
        assert!("".parse::<Pattern>().is_err());
    }

    #[test]
    fn a_pattern_that_leaves_out_nothing_or_a_whole_tree_is_no_use() {
        let trees = [PathBuf::from("/srv/a"), PathBuf::from("/etc/b.conf")];
        let wrong = |pattern: &str| pattern.parse::<Pattern>().expect("a pattern").wrong_for_trees(&trees).unwrap_or_default();
        for all in ["*", "**", "/srv/a", "a", "/srv/**", "/srv/a/**", "/srv/a/*", "*.conf", "/**"] {
            assert!(wrong(all).contains("leaves out all of"), "{all}: {}", wrong(all));
        }
        for nothing in ["/srv", "/srv/b/**", "/var/*", "cache/tmp", "/srv/ab"] {
            assert!(wrong(nothing).contains("matches nothing"), "{nothing}: {}", wrong(nothing));
        }
        for useful in ["*.tmp", "cache", "/srv/a/cache", "/srv/a/*.tmp", "/srv/*/cache", "**/cache/*", "/**/x", "/srv/a/[!.]*"] {
            assert_eq!(wrong(useful), "", "{useful}");
        }
    }

    #[test]
    fn a_pattern_that_leaves_out_every_object_is_no_use() {
        let wrong = |pattern: &str| pattern.parse::<Pattern>().expect("a pattern").wrong_for_keys().is_some();
        assert!(["*", "**", "**/*"].into_iter().all(wrong));
        assert!(!["*.tmp", "cache/**", "*/*", ".*", "/cache/**"].into_iter().any(wrong));
    }
}
