//! A cluster: a data directory and, while it runs, its server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::postmaster::Postmaster;
use super::{Builder, Installation, StopMode};
use crate::guard::Guard;
use crate::{FreePort, Scratch, ServerUser, poll};

const STOP: Duration = Duration::from_secs(120);
const TAIL_LINES: usize = 60;

/// A PostgreSQL cluster of its own, on a free port of 127.0.0.1 and a Unix socket. Dropped, it stops and its files are removed.
///
/// Every method takes `&self`: a test may share it between threads.
#[derive(Debug)]
pub struct Cluster {
    installation: Installation,
    data_directory: PathBuf,
    overrides: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    port: FreePort,
    socket_directory: PathBuf,
    log: PathBuf,
    postmaster: Mutex<Option<Postmaster>>,
    _guard: Guard,
    scratch: Scratch,
}

impl Cluster {
    /// Begins the plan of a new cluster.
    #[must_use]
    pub fn builder(installation: &Installation) -> Builder {
        Builder::new(installation)
    }

    pub(super) fn new(
        installation: Installation,
        scratch: Scratch,
        data_directory: PathBuf,
        overrides: Vec<(String, String)>,
    ) -> Self {
        let socket_directory = scratch.new_directory("s");
        Self {
            _guard: Guard::over(&data_directory, scratch.path()).expect("start the guard of a cluster"),
            log: scratch.path().join("server.log"),
            port: FreePort::take(),
            postmaster: Mutex::new(None),
            installation,
            data_directory,
            overrides,
            environment: vec![],
            socket_directory,
            scratch,
        }
    }

    pub(super) fn with_environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = environment;
        self
    }

    /// Starts the server and waits until it takes connections (a standby: until it is consistent).
    ///
    /// # Panics
    /// When it does not come up, with the end of its log.
    pub fn start(&self) {
        if let Err(log) = self.try_start() {
            panic!("the server ended while starting; the end of its log:\n{log}");
        }
    }

    /// Starts the server, or returns the end of its log if it ends before it takes connections.
    ///
    /// # Errors
    /// When the server ends by itself: its log says why.
    ///
    /// # Panics
    /// When it runs already, or neither ends nor takes connections.
    pub fn try_start(&self) -> Result<(), String> {
        let mut command = ServerUser::current().command(&self.program("postgres"));
        command.arg("-D").arg(&self.data_directory).arg("-k").arg(&self.socket_directory);
        command.arg("-p").arg(self.port().to_string()).args(["-c", "listen_addresses=127.0.0.1"]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for (name, value) in &self.overrides {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut running = self.postmaster();
        assert!(running.as_mut().is_none_or(|postmaster| !postmaster.is_running()), "the server runs already");
        *running = Postmaster::start(command, &self.data_directory, &self.log);
        running.is_some().then_some(()).ok_or_else(|| tail(&self.log))
    }

    /// Stops the server and waits for its end.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&self, mode: StopMode) {
        self.ask_to_stop(mode);
        assert!(self.has_stopped_within(STOP), "the server did not stop; the end of its log:\n{}", tail(&self.log));
    }

    /// Asks the server to stop, and returns at once.
    pub fn ask_to_stop(&self, mode: StopMode) {
        if let Some(postmaster) = self.postmaster().as_ref() {
            postmaster.ask_to_stop(mode);
        }
    }

    /// Waits for the end of the server; whether it came before the deadline.
    pub fn has_stopped_within(&self, deadline: Duration) -> bool {
        let mut running = self.postmaster();
        let stopped = running.as_mut().is_none_or(|postmaster| postmaster.wait(deadline).is_some());
        if stopped {
            *running = None;
        }
        stopped
    }

    /// Whether the server's process is alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.postmaster().as_mut().is_some_and(Postmaster::is_running)
    }

    /// Stops (fast) and starts the server.
    ///
    /// # Panics
    /// When it does not stop or does not come up.
    pub fn restart(&self) {
        self.stop(StopMode::Fast);
        self.start();
    }

    /// Kills the server's processes, all of them, with SIGKILL.
    pub fn kill9(&self) {
        if let Some(mut postmaster) = self.postmaster().take() {
            postmaster.kill();
        }
    }

    /// Makes the server read its configuration files again.
    ///
    /// # Panics
    /// When the server does not run.
    pub fn reload(&self) {
        assert_eq!(self.sql("SELECT pg_reload_conf()"), "t");
    }

    /// Waits until it is true.
    ///
    /// # Panics
    /// When the deadline passes first, with the end of the server's log.
    pub fn wait_until(&self, deadline: Duration, what: &str, question: impl FnMut() -> bool) {
        if !poll::try_until(deadline, question) {
            panic!("not within {deadline:?}: {what}; the end of the server's log:\n{}", tail(&self.log));
        }
    }

    /// The installation whose programs it uses.
    #[must_use]
    pub const fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The path of one of the installation's programs, such as `pg_waldump`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.installation.program(name)
    }

    /// The data directory.
    #[must_use]
    pub fn data_directory(&self) -> &Path {
        &self.data_directory
    }

    /// The directory of the Unix socket: `host` in a conninfo.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// The TCP port on 127.0.0.1, and the number in the socket's name.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Everything the server has logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// A new directory beside the data directory that the server may write to: for a tablespace, an archive, a restore.
    #[must_use]
    pub fn new_directory(&self, name: &str) -> PathBuf {
        self.scratch.new_directory(name)
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of the server in {}:\n{}", self.data_directory.display(), tail(&self.log));
        }
        let mut running = self.postmaster();
        if let Some(postmaster) = running.as_mut() {
            postmaster.ask_to_stop(StopMode::Immediate);
            if postmaster.wait(Duration::from_secs(10)).is_none() {
                postmaster.kill();
            }
        }
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
