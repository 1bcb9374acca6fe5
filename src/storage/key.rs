//! The name of a stored object.

use std::fmt;

/// A relative path of plain segments: no leading slash, no empty, `.` or `..` segment, no control character, and no backslash (which some
/// services take for a slash).
///
/// Only `repository` builds keys (the tidy test sees to it); stores turn names they list back into keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key of that name, or `None` if it is not a plain relative path.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        let plain = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && !segment.contains(|letter: char| letter == '\\' || letter.is_control())
        };
        name.split('/').all(plain).then_some(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last slash.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
