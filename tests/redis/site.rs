//! What these tests share: a server, a repository, and the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pg_fixtures::Scratch;
use pg_fixtures::redis::Program;
use serde_json::Value;

/// A repository and a configuration with the resource `redis/cache`.
pub struct Site {
    pub scratch: Scratch,
    configuration: PathBuf,
    /// Where the program finds servers to load a file with.
    pub programs: PathBuf,
}

impl Site {
    /// A site whose section has these lines besides the URL.
    pub fn new(url: &str, more: &str) -> Self {
        Self::with(url, more, "")
    }

    /// The same, and lines of other sections.
    pub fn with(url: &str, more: &str, sections: &str) -> Self {
        let scratch = Scratch::new();
        let site =
            Self { configuration: scratch.path().join("holdfast.toml"), programs: scratch.new_directory("programs"), scratch };
        site.configure(url, more, sections);
        site.run(&["init"]);
        site
    }

    pub fn configure(&self, url: &str, more: &str, sections: &str) {
        let root = self.scratch.path().display();
        let text =
            format!("{sections}\n[repository]\nurl = \"file://{root}/repository\"\n[redis.cache]\nurl = \"{url}\"\n{more}\n");
        fs::write(&self.configuration, text).expect("write the configuration");
    }

    /// Lets `verify` find this server, and no other.
    pub fn install(&self, program: &Program) {
        program.link_into(&self.programs);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(arguments).env("HOLDFAST_CONFIG", &self.configuration).env("PATH", &self.programs);
        command
    }

    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("run the program")
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--output", "json", "--quiet"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Takes a backup and returns what was said of it.
    pub fn backup(&self) -> Value {
        self.json(&["backup", "redis/cache"])
    }

    /// What a failing command says.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).expect("text")
    }

    /// What a backup says that fails, and of which nothing may be left.
    pub fn refused_backup(&self) -> String {
        let said = self.refusal(&["backup", "redis/cache"]);
        assert_eq!((self.listed(), self.stored()), (0, vec![]), "{said}");
        said
    }

    pub fn listed(&self) -> usize {
        self.json(&["backups"])["backups"].as_array().map_or(0, Vec::len)
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
