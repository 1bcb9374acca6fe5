//! Where PostgreSQL's programs are.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// Where distributions install one version beside another: `/usr/lib/postgresql/15/bin`, `/usr/pgsql-15/bin`.
const PARENTS: [&str; 3] = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt"];
/// Where a version built by hand lies.
const SINGLE: [&str; 2] = ["/usr/local/pgsql/bin", "/usr/local/bin"];

/// The directory of one version's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    directory: PathBuf,
    major: u32,
}

impl Programs {
    /// The installed programs of a major version; of the newest installed one where none is named.
    ///
    /// # Errors
    /// `Error::NotInstalled`.
    pub fn find(major: Option<u32>) -> Result<Self, Error> {
        let fits = |found: &Self| major.is_none_or(|major| major == found.major);
        let mut found: Vec<Self> = candidates().into_iter().filter(fits).filter(Self::is_whole).collect();
        found.sort_by_key(|programs| programs.major);
        let wanted = major.map(|major| format!(" {major}")).unwrap_or_default();
        found.pop().ok_or_else(|| Error::NotInstalled {
            wanted,
            looked_in: PARENTS.into_iter().chain(SINGLE).collect::<Vec<_>>().join(", "),
        })
    }

    /// The programs in a directory that the caller names.
    #[must_use]
    pub const fn in_directory(directory: PathBuf, major: u32) -> Self {
        Self { directory, major }
    }

    /// The major version.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.major
    }

    /// The path of one of them.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn is_whole(&self) -> bool {
        ["postgres", "pg_ctl", "initdb"].iter().all(|name| self.program(name).is_file())
    }
}

fn candidates() -> Vec<Programs> {
    let versioned = PARENTS.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().filter_map(Result::ok);
    let versioned = versioned.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let major = name.trim_start_matches("pgsql-").trim_start_matches("postgresql@").parse().ok()?;
        Some(Programs { directory: entry.path().join("bin"), major })
    });
    let single = SINGLE.iter().filter_map(|directory| {
        let major = version_of(Path::new(directory))?;
        Some(Programs { directory: PathBuf::from(directory), major })
    });
    versioned.chain(single).collect()
}

/// Asks a program for its version: `postgres (PostgreSQL) 15.20`.
fn version_of(directory: &Path) -> Option<u32> {
    let program = directory.join("postgres");
    program.is_file().then_some(())?;
    let output = std::process::Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}
