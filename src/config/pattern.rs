//! Patterns of names: `*.tmp`, `/opt/app/cache/**`.

use std::fmt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer};

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
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.matcher.glob().glob())
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob
            .map_err(|error| format!("'{text}' is not a pattern: {}; write it as in *.tmp or /opt/app/cache/**", error.kind()))?;
        Ok(Self { matcher: glob.compile_matcher(), whole: text.contains('/') })
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
    }
}
