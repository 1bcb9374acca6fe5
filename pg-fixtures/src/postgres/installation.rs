//! Where the programs of a PostgreSQL major version are.

use std::path::{Path, PathBuf};

/// The major versions that the tests run against.
const TESTED: [u32; 3] = [15, 17, 18];

/// The programs of one major version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installation {
    major: u32,
    programs: PathBuf,
}

impl Installation {
    /// Every tested major version, oldest first.
    ///
    /// With `HOLDFAST_TEST_MAJORS` (such as `17` or `15,18`) in the environment, only those: for work at hand, not for the gate.
    ///
    /// # Panics
    /// When one is not installed.
    #[must_use]
    pub fn all() -> Vec<Self> {
        match std::env::var("HOLDFAST_TEST_MAJORS") {
            Ok(chosen) => {
                eprintln!("only the PostgreSQL versions of HOLDFAST_TEST_MAJORS are tested: {chosen}");
                chosen.split(',').map(|major| Self::major(major.trim().parse().expect("a major version"))).collect()
            }
            Err(_) => TESTED.map(Self::major).to_vec(),
        }
    }

    /// The newest tested major version.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn newest() -> Self {
        Self::all().pop().expect("the table of tested versions is not empty")
    }

    /// One major version.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn major(major: u32) -> Self {
        Self::find(major).unwrap_or_else(|| panic!("PostgreSQL {major} is not installed: run scripts/install test"))
    }

    fn find(major: u32) -> Option<Self> {
        let trees = std::env::var("HOLDFAST_TEST_SERVERS").unwrap_or_else(|_| "/var/cache/holdfast-test-servers".to_owned());
        let candidates = [
            Path::new(&trees).join(format!("postgresql-{major}/usr/lib/postgresql/{major}/bin")),
            PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")),
            PathBuf::from(format!("/usr/pgsql-{major}/bin")),
        ];
        let programs = candidates.into_iter().find(|programs| programs.join("initdb").exists())?;
        Some(Self { major, programs })
    }

    /// The major version: 15, 17, ...
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.major
    }

    /// The path of one of its programs, such as `pg_waldump`.
    ///
    /// # Panics
    /// When this version has no such program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.programs.join(name);
        assert!(path.exists(), "PostgreSQL {} has no program {}", self.major, path.display());
        path
    }
}
