//! What these tests share: a server, a repository, and the program.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use pg_fixtures::redis::Program;
use pg_fixtures::{Scratch, Verbs};
use serde_json::Value;

/// A repository and a configuration with the resource `redis/cache`.
pub struct Site {
    pub scratch: Scratch,
    verbs: Verbs,
    /// Where the program finds servers to load a file with.
    pub programs: PathBuf,
}

impl Deref for Site {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Site {
    /// A site whose section has these lines besides the URL.
    pub fn new(url: &str, more: &str) -> Self {
        Self::with(url, more, "")
    }

    /// The same, and lines of other sections.
    pub fn with(url: &str, more: &str, sections: &str) -> Self {
        let scratch = Scratch::new();
        let programs = scratch.new_directory("programs");
        let verbs = Verbs::new(env!("CARGO_BIN_EXE_holdfast"), scratch.path().join("holdfast.toml"));
        let site = Self { verbs: verbs.environment("PATH", &programs), programs, scratch };
        site.configure(url, more, sections);
        site.run(&["init"]);
        site
    }

    pub fn configure(&self, url: &str, more: &str, sections: &str) {
        let root = self.scratch.path().display();
        let text =
            format!("{sections}\n[repository]\nurl = \"file://{root}/repository\"\n[redis.cache]\nurl = \"{url}\"\n{more}\n");
        fs::write(self.verbs.configuration(), text).expect("write the configuration");
    }

    /// Lets `verify` find this server, and no other.
    pub fn install(&self, program: &Program) {
        program.link_into(&self.programs);
    }

    /// Takes a backup and returns what was said of it.
    pub fn backup(&self) -> Value {
        self.json(&["backup", "redis/cache"])
    }

    /// What a backup says that fails, and of which nothing may be left.
    pub fn refused_backup(&self) -> String {
        let said = self.refusal(&["backup", "redis/cache"]);
        assert_eq!((self.listed(), self.stored()), (0, vec![]), "{said}");
        said
    }

    /// The files below the folder of all backups' content.
    pub fn stored(&self) -> Vec<PathBuf> {
        below(&self.scratch.path().join("repository/redis/cache/data"))
    }

    /// The stored file.
    pub fn object(&self) -> PathBuf {
        self.stored().into_iter().find(|path| path.to_string_lossy().ends_with("dump.rdb.zst")).expect("the stored file")
    }
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}
