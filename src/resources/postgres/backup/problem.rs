//! Files that are not as the manifest lists them.

use std::fmt;

/// How many are named.
const NAMED_MAX: usize = 10;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The manifest lists it, and it was not sent.
    Missing(String),
    /// It was sent, and the manifest does not list it.
    Additional(String),
    /// It was sent twice.
    Twice(String),
    /// Its size or its checksum is not what the manifest says.
    Altered {
        /// Its path.
        path: String,
        /// What the manifest says: bytes, CRC-32C.
        listed: (u64, u32),
        /// The CRC-32C of what was sent.
        crc32c: u32,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{path} was not sent"),
            Self::Additional(path) => write!(f, "{path} is not listed"),
            Self::Twice(path) => write!(f, "{path} was sent twice"),
            Self::Altered { path, listed: (size, listed), crc32c } => {
                write!(f, "{path} should have {size} bytes with checksum {listed:08x}, and has checksum {crc32c:08x}")
            }
        }
    }
}

/// All of them: the first ones by name, the rest counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    named: Vec<Problem>,
    count: usize,
}

impl Problems {
    /// Adds one; its name is kept if it is among the first.
    pub fn push(&mut self, problem: Problem) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(problem);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first ones.
    #[must_use]
    pub fn named(&self) -> &[Problem] {
        &self.named
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self.named.iter().map(ToString::to_string).collect();
        f.write_str(&named.join("; "))?;
        match self.count - self.named.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
