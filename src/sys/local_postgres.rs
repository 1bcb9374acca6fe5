//! A PostgreSQL server on this machine: finding its programs, and starting and stopping it as the right user.

mod account;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use account::Account;
pub use programs::Programs;

/// Why a local server could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such programs are installed.
    #[error("the programs of PostgreSQL{wanted} are not installed (looked in {looked_in})")]
    NotInstalled {
        /// ` 15`, or nothing where any version would do.
        wanted: String,
        /// The directories, separated by commas.
        looked_in: String,
    },
    /// The programs that are there are older than the server that they are to work with.
    #[error("{program} of PostgreSQL {wanted} or newer is needed, and {found}")]
    TooOld {
        /// The first of the programs.
        program: &'static str,
        /// The least major version.
        wanted: u32,
        /// What there is instead, and where.
        found: String,
    },
    /// The server must not run as root, and there is nobody else.
    #[error("PostgreSQL does not run as root, and there is no user 'postgres'")]
    NoUser,
    /// A program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// What it printed, or what the system said.
        output: String,
    },
}

impl Error {
    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotInstalled { .. } => Some("install the package of that major version (on Debian and Ubuntu: postgresql-NN)"),
            Self::TooOld { .. } => Some("install the client programs of that version, or name their directory: 'programs'"),
            Self::NoUser => Some("create a user 'postgres', or run this as another user than root"),
            Self::Program { .. } => None,
        }
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, everything is written.
    Fast,
    /// As in a crash.
    Immediate,
}

/// A data directory with the programs that serve it, as the user that owns it. Dropping it leaves the server as it is.
#[derive(Debug, Clone)]
pub struct LocalPostgres {
    programs: Programs,
    account: Account,
    data_directory: PathBuf,
    /// Variables of this process that its programs do not inherit.
    hidden: Vec<String>,
}

impl LocalPostgres {
    /// The server of a data directory, existing or to be made.
    #[must_use]
    pub const fn new(programs: Programs, account: Account, data_directory: PathBuf) -> Self {
        Self { programs, account, data_directory, hidden: Vec::new() }
    }

    /// The same, whose programs do not inherit these variables.
    #[must_use]
    pub fn without_variables<'a>(self, names: impl Iterator<Item = &'a str>) -> Self {
        Self { hidden: names.map(str::to_owned).collect(), ..self }
    }

    /// Where its log goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data_directory.join("holdfast-server.log")
    }

    /// Makes a new cluster that lets every local user in: for scratch use.
    ///
    /// # Errors
    /// What `initdb` says.
    pub fn initdb(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut command = self.command("initdb");
        command.args(["--no-locale", "--encoding=UTF8", "--auth=trust", "--username=postgres"]).args(arguments);
        run(command.arg("-D").arg(&self.data_directory)).map(drop)
    }

    /// Starts the server without waiting until it takes connections: recovery can take long.
    ///
    /// # Errors
    /// What `pg_ctl` says.
    pub fn start(&self, settings: &[(String, String)]) -> Result<(), Error> {
        let options: Vec<String> = settings.iter().map(|(name, value)| format!("-c {name}={}", quoted(value))).collect();
        let mut command = self.command("pg_ctl");
        command.args(["start", "--no-wait", "--silent", "-o"]).arg(options.join(" ")).arg("-l").arg(self.log());
        // The server inherits them; a pipe would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        run(command.arg("-D").arg(&self.data_directory)).map(drop)
    }

    /// Stops the server and waits for it.
    ///
    /// # Errors
    /// What `pg_ctl` says; that it is not running, for one.
    pub fn stop(&self, stop: Stop) -> Result<(), Error> {
        let mode = match stop {
            Stop::Fast => "--mode=fast",
            Stop::Immediate => "--mode=immediate",
        };
        run(self.command("pg_ctl").args(["stop", "--silent", mode]).arg("-D").arg(&self.data_directory)).map(drop)
    }

    /// Whether a postmaster is running there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        run(self.command("pg_ctl").args(["status"]).arg("-D").arg(&self.data_directory)).is_ok()
    }

    /// What a setting is in the configuration of a server that is not running, with its unit left out (`postgres -C`).
    ///
    /// # Errors
    /// What `postgres` says of the configuration.
    pub fn setting(&self, name: &str) -> Result<String, Error> {
        run(self.command("postgres").args(["-C", name]).arg("-D").arg(&self.data_directory))
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.account.command(&self.programs.program(program));
        // PostgreSQL refuses to start where it cannot read the working directory.
        command.current_dir("/").stdin(Stdio::null());
        for name in &self.hidden {
            command.env_remove(name);
        }
        command
    }
}

/// Quotes a value for the shell that `pg_ctl` hands its options to.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Runs a program to its end and returns what it printed.
fn run(command: &mut Command) -> Result<String, Error> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |output: String| Error::Program { program: program.clone(), output };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
}
