//! The place of the story: a directory with the original cluster, the store, the programs and the restored cluster.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::{Error, Options};
use crate::pg::Lsn;
use crate::sys::clock::Deadline;
use crate::sys::local_postgres::{Account, LocalPostgres, Programs, Stop};

/// The programs that the story needs.
const PROGRAMS: [&str; 3] = ["holdfast", "holdfast-archive-command", "holdfast-restore-command"];
/// How long WAL may take into the store.
const STORED_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A process that ends with this value.
pub(super) struct Running(Child);

impl Running {
    /// Ends it at once, without a word.
    pub(super) fn kill(&mut self) {
        // It may have ended already; then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The scratch directory; it goes when this does, and the servers in it.
pub(super) struct Scratch {
    directory: TempDir,
    account: Account,
    programs: Programs,
    conninfo: String,
}

impl Scratch {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let programs = Programs::find(None)?;
        let failed = || Error::system("making the scratch directory");
        let directory = tempfile::Builder::new().prefix("holdfast-demo-").tempdir().map_err(failed())?;
        let account = Account::for_directory(directory.path())?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).map_err(failed())?;
        account.give(directory.path()).map_err(failed())?;
        let conninfo = format!("host={} port=5432 user=postgres dbname=postgres", directory.path().display());
        let scratch = Self { directory, account, programs, conninfo };
        scratch.copy_programs(&options.program)?;
        scratch.write_configuration()?;
        Ok(scratch)
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) const fn major(&self) -> u32 {
        self.programs.major()
    }

    pub(super) fn conninfo(&self) -> &str {
        &self.conninfo
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The user that runs the server may not be able to enter the directory that the programs lie in.
    fn copy_programs(&self, program: &Path) -> Result<(), Error> {
        let from = program.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir(self.path("bin")).map_err(Error::system("making the scratch directory"))?;
        for name in PROGRAMS {
            let source = from.join(name);
            fs::copy(&source, self.path("bin").join(name)).map_err(Error::system(format!("copying {}", source.display())))?;
        }
        Ok(())
    }

    fn write_configuration(&self) -> Result<(), Error> {
        let listen = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let listen = listen.map_err(Error::system("looking for a free port"))?;
        let directory = self.directory().display();
        let text = format!(
            "[repository]\nurl = \"file://{directory}/store\"\n\n[agent]\nlisten = \"{listen}\"\nsocket = \"{directory}/agent.sock\"\n\n\
             [postgres.main]\nconninfo = \"{}\"\n",
            self.conninfo
        );
        fs::write(self.path("holdfast.toml"), text).map_err(Error::system("writing the configuration"))
    }

    /// Makes the original cluster and starts it.
    pub(super) async fn start_original(&self) -> Result<LocalPostgres, Error> {
        let server = LocalPostgres::new(self.programs.clone(), self.account, self.path("original"));
        let directory = self.directory().display().to_string();
        let started = server.clone();
        // The settings stand in the cluster's own file, so that the restored one has them too.
        let settings = format!("listen_addresses = ''\nunix_socket_directories = '{directory}'\nport = 5432\n");
        let file = self.path("original").join("postgresql.conf");
        let work = move || {
            started.initdb(&[])?;
            let text = fs::read_to_string(&file).map_err(Error::system("reading postgresql.conf"))?;
            fs::write(&file, text + &settings).map_err(Error::system("writing postgresql.conf"))?;
            started.start(&[]).map_err(Error::from)
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::told)??;
        Ok(server)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.account.command(&self.path("bin").join("holdfast"));
        command
            .current_dir(self.directory())
            .args(arguments)
            .arg("--config")
            .arg(self.path("holdfast.toml"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of ours to its end; what it prints as JSON.
    pub(super) async fn holdfast(&self, arguments: &[&str]) -> Result<Value, Error> {
        let mut command = self.command(arguments);
        command.args(["--output", "json"]);
        let shown = arguments.join(" ");
        let output = tokio::task::spawn_blocking(move || command.output()).await.map_err(Error::told)?;
        let output = output.map_err(Error::system(format!("running holdfast {shown}")))?;
        if !output.status.success() {
            return Err(Error::told(format!("holdfast {shown}: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| Error::told(format!("holdfast {shown} printed no JSON: {error}")))
    }

    pub(super) fn spawn_agent(&self) -> Result<Running, Error> {
        let log = fs::File::create(self.path("agent.log")).map_err(Error::system("making the agent's log"))?;
        let child = self.command(&["agent"]).stdout(Stdio::null()).stderr(log).spawn();
        child.map(Running).map_err(Error::system("starting the agent"))
    }

    async fn status(&self) -> Result<Value, Error> {
        self.holdfast(&["status"]).await
    }

    /// Waits until the store has everything up to there.
    pub(super) async fn wait_until_stored(&self, end: Lsn) -> Result<(), Error> {
        let deadline = Deadline::after(STORED_WITHIN);
        loop {
            let status = self.status().await?;
            let to = status.pointer("/clusters/0/windows/0/to").and_then(Value::as_str).and_then(|to| to.parse::<Lsn>().ok());
            match to {
                Some(to) if to >= end => return Ok(()),
                _ if deadline.has_passed() => {
                    return Err(Error::told(format!("WAL up to {end} was not stored within 30 s: {status}")));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// What the agent measured: how long a commit was at risk.
    pub(super) async fn loss_window(&self) -> Option<f64> {
        self.status().await.ok()?.pointer("/agent/clusters/0/delay/p99_seconds").and_then(Value::as_f64)
    }

    pub(super) async fn restore(&self, target: Timestamp) -> Result<(), Error> {
        let (to, target) = (self.path("restored").display().to_string(), target.to_string());
        let arguments =
            ["restore", "postgres/main", "--to", &to, "--target-time", &target, "--target-action", "promote", "--start"];
        self.holdfast(&arguments).await.map(drop)
    }

    pub(super) fn stop_restored(&self) -> Result<(), Error> {
        Ok(self.server("restored").stop(Stop::Fast)?)
    }

    fn server(&self, name: &str) -> LocalPostgres {
        LocalPostgres::new(self.programs.clone(), self.account, self.path(name))
    }

    /// The ends of all logs.
    pub(super) fn logs(&self) -> String {
        let agent = fs::read_to_string(self.path("agent.log")).unwrap_or_default();
        let mut agent: Vec<&str> = agent.lines().rev().take(20).collect();
        agent.reverse();
        let server = |name| format!("--- server log of {name}\n{}", self.server(name).log_tail(20));
        format!("--- agent\n{}\n{}\n{}", agent.join("\n"), server("original"), server("restored"))
    }

    /// Removes everything, or keeps it and says where it is.
    pub(super) fn leave(self, keep: bool) -> Option<PathBuf> {
        keep.then(|| self.directory.keep())
    }
}
