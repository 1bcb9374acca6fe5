//! What these tests share: an encrypted repository, a program, and its output.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use pg_fixtures::{Scratch, Verbs};

/// A secret as such programs print it: base64 in YAML.
pub const SECRETS: &str = "apiVersion: v1\nitems:\n- data:\n    password: bWFyc2hhbGwtaXNsYW5k\n  kind: Secret\n";

/// An encrypted repository and the program whose output is kept.
pub struct Site {
    pub scratch: Scratch,
    verbs: Verbs,
    pub program: PathBuf,
}

impl Deref for Site {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Site {
    pub fn new(more: &str) -> Self {
        let scratch = Scratch::new();
        let site = Self {
            verbs: Verbs::new(env!("CARGO_BIN_EXE_holdfast"), scratch.path().join("holdfast.toml")),
            program: scratch.path().join("kubectl"),
            scratch,
        };
        site.prints(SECRETS);
        let key = site.scratch.path().join("key");
        let made = Command::new("age-keygen").arg("-o").arg(&key).output().expect("run age-keygen");
        let recipient = String::from_utf8_lossy(&made.stderr).trim().trim_start_matches("Public key: ").to_owned();
        let root = site.scratch.path().display();
        let text = format!(
            "[repository]\nurl = \"file://{root}/repository\"\n[encryption]\nrecipients = [\"{recipient}\"]\n\
             identity_file = \"{}\"\n[command.secrets]\nrun = [\"{}\", \"get\", \"secrets\"]\n{more}\n",
            key.display(),
            site.program.display(),
        );
        fs::write(site.verbs.configuration(), text).expect("write the configuration");
        site.run(&["init"]);
        site
    }

    /// Makes the program one that prints this.
    pub fn prints(&self, text: &str) {
        self.does(&format!("cat <<'END'\n{text}END"));
    }

    /// Makes the program one that does this.
    pub fn does(&self, script: &str) {
        fs::write(&self.program, format!("#!/bin/bash\n{script}\n")).expect("write the program");
        fs::set_permissions(&self.program, fs::Permissions::from_mode(0o755)).expect("make it one");
    }

    /// Starts the agent.
    pub fn agent(&self) -> Running {
        let log = self.scratch.path().join("agent.log");
        let file = fs::File::create(&log).expect("make the agent's log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["agent", "-v"]).env("HOLDFAST_CONFIG", self.verbs.configuration()).current_dir(self.scratch.path());
        command.stdout(file.try_clone().expect("share the log")).stderr(file);
        Running { child: command.spawn().expect("start the agent"), log }
    }

    /// The files that hold the content of backups.
    pub fn stored(&self) -> Vec<PathBuf> {
        files_below(&self.scratch.path().join("repository/command/secrets/data"))
    }
}

/// An agent; dropped, it is killed.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("kill the agent");
        self.child.wait().expect("wait for the agent");
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
