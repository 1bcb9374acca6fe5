//! Where PostgreSQL's programs are.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// Where distributions install one version beside another: `/usr/lib/postgresql/15/bin`, `/usr/pgsql-15/bin`.
const PARENTS: [&str; 3] = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt"];
/// Where a version built by hand lies.
const SINGLE: [&str; 2] = ["/usr/local/pgsql/bin", "/usr/local/bin"];
/// What a server is run with.
const SERVER: [&str; 3] = ["postgres", "pg_ctl", "initdb"];
/// What dumps are made and restored with.
const CLIENT: [&str; 3] = ["pg_dump", "pg_dumpall", "pg_restore"];

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

    /// The programs that make and restore dumps, of that major version or the next newer one that is there. They are looked for in the
    /// directory that is named, if one is; else where packages install them, and in `path`.
    ///
    /// # Errors
    /// `Error::TooOld` says which versions are there.
    pub fn for_dumps(major: u32, named: Option<&Path>, path: &[PathBuf]) -> Result<Self, Error> {
        Self::at_least(major, &CLIENT, named, path)
    }

    /// The same with a server beside them, for restores on trial.
    ///
    /// # Errors
    /// As `for_dumps`.
    pub fn for_trials(major: u32, named: Option<&Path>, path: &[PathBuf]) -> Result<Self, Error> {
        let needed: Vec<&str> = CLIENT.iter().chain(&SERVER).copied().collect();
        let found = Self::at_least(major, &needed, named, path);
        if named.is_some() && found.is_err() { Self::at_least(major, &needed, None, path) } else { found }
    }

    fn at_least(major: u32, needed: &[&'static str], named: Option<&Path>, path: &[PathBuf]) -> Result<Self, Error> {
        let single = |directory: &Path| Some(Self { directory: directory.to_owned(), major: version_of(directory, needed[0])? });
        let mut found: Vec<Self> = match named {
            Some(directory) => single(directory).into_iter().collect(),
            None => candidates().into_iter().chain(path.iter().filter_map(|directory| single(directory))).collect(),
        };
        found.retain(|programs| needed.iter().all(|name| programs.program(name).is_file()));
        found.sort_by_key(|programs| programs.major);
        let newest = found.last().map(|programs| (programs.major, programs.directory.clone()));
        found.into_iter().find(|programs| programs.major >= major).ok_or_else(|| Error::TooOld {
            program: needed[0],
            wanted: major,
            found: match (newest, named) {
                (Some((major, directory)), _) => format!("the newest that is there is {major}, in {}", directory.display()),
                (None, Some(directory)) => format!("there is none in {}", directory.display()),
                (None, None) => "none is installed".to_owned(),
            },
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
        SERVER.iter().all(|name| self.program(name).is_file())
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
        let major = version_of(Path::new(directory), "postgres").or_else(|| version_of(Path::new(directory), "pg_dump"))?;
        Some(Programs { directory: PathBuf::from(directory), major })
    });
    versioned.chain(single).collect()
}

/// Asks a program for its version: `postgres (PostgreSQL) 15.20`.
fn version_of(directory: &Path, program: &str) -> Option<u32> {
    let program = directory.join(program);
    program.is_file().then_some(())?;
    let output = std::process::Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}
