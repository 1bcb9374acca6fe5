//! The program under test with one configuration, run verb by verb as the user of the test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A program, its configuration, and its environment.
#[derive(Debug)]
pub struct Verbs {
    program: PathBuf,
    configuration: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Verbs {
    /// `program` (`env!("CARGO_BIN_EXE_holdfast")`) with a configuration file, which may not be there yet.
    pub fn new(program: impl Into<PathBuf>, configuration: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), configuration: configuration.into(), environment: Vec::new() }
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The configuration file.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// A verb, ready to be run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("HOLDFAST_CONFIG", &self.configuration);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a verb to its end.
    ///
    /// # Panics
    /// When the program cannot be run.
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("run the program")
    }

    /// Runs a verb that must succeed; what it prints.
    ///
    /// # Panics
    /// When it fails, with what it says.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stderr), text(&output.stdout));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same with `--output json`.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--output", "json", "--quiet"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What a failing verb says.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded: {}", text(&output.stdout));
        String::from_utf8(output.stderr).expect("text")
    }

    /// How many backups are listed.
    ///
    /// # Panics
    /// When they cannot be.
    #[must_use]
    pub fn listed(&self) -> usize {
        self.json(&["backups"])["backups"].as_array().map_or(0, Vec::len)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
