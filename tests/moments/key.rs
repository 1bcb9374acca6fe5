//! A key, made by the `age` programs themselves.

use std::path::PathBuf;
use std::process::Command;

use pg_fixtures::{Scratch, ServerUser};

/// Someone who can read what is encrypted to them.
pub struct Key {
    /// The public half.
    pub recipient: String,
    /// The file with the secret half.
    pub file: PathBuf,
    _scratch: Scratch,
}

impl Key {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let file = scratch.path().join("identity");
        run(Command::new("age-keygen").arg("-o").arg(&file));
        ServerUser::current().own(&file);
        let recipient = String::from_utf8(run(Command::new("age-keygen").arg("-y").arg(&file))).expect("a recipient");
        Self { recipient: recipient.trim().to_owned(), file, _scratch: scratch }
    }

    /// Whoever has this in the configuration can write and not read.
    pub fn writer(&self) -> String {
        format!("[encryption]\nrecipients = [\"{}\"]", self.recipient)
    }

    /// Whoever has this can do both.
    pub fn reader(&self) -> String {
        format!("{}\nidentity_file = \"{}\"", self.writer(), self.file.display())
    }
}

/// Runs a public program; what it writes.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
