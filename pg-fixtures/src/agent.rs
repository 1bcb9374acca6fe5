//! The program under test: `holdfast`, as an agent that runs and as single commands.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Scratch, ServerUser, poll};

const STOP: Duration = Duration::from_secs(60);

/// A `holdfast` program with a configuration file of its own. It runs as the user that the servers run as, so that it can share files
/// and sockets with them. Dropped, a running agent is killed.
#[derive(Debug)]
pub struct Holdfast {
    program: PathBuf,
    configuration: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
    agent: Mutex<Option<Child>>,
    scratch: Scratch,
}

impl Holdfast {
    /// The program (in a test: `env!("CARGO_BIN_EXE_holdfast")`) with this configuration, in which `{scratch}` stands for a directory
    /// of its own that exists while this value does.
    ///
    /// # Panics
    /// When the configuration cannot be written.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, configuration: &str) -> Self {
        let scratch = Scratch::new();
        let holdfast = Self {
            program: ServerUser::current().reachable(&program.into()),
            configuration: scratch.path().join("holdfast.toml"),
            environment: vec![],
            log: scratch.path().join("agent.log"),
            agent: Mutex::new(None),
            scratch,
        };
        holdfast.configure(configuration);
        holdfast
    }

    /// Sets an environment variable for everything that is run from now on.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes another configuration. A running agent keeps its own until it is restarted.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, configuration: &str) {
        let text = configuration.replace("{scratch}", &self.scratch.path().display().to_string());
        fs::write(&self.configuration, text).expect("write the configuration");
        fs::set_permissions(&self.configuration, fs::Permissions::from_mode(0o600)).expect("set the mode of the configuration");
        ServerUser::current().own(&self.configuration);
    }

    /// The path of the configuration file.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Its own directory.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// A command of the program with this configuration, to be run by the test.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = ServerUser::current().command(&self.program);
        command.args(arguments).env("HOLDFAST_CONFIG", &self.configuration).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command and returns its output.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Output {
        self.command(arguments).output().unwrap_or_else(|error| panic!("run {}: {error}", self.program.display()))
    }

    /// Runs a command and returns its standard output.
    ///
    /// # Panics
    /// When it fails, with all its output and the end of the agent's log.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> String {
        let output = self.try_run(arguments);
        let (standard, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let verb: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        let status = output.status;
        assert!(status.success(), "holdfast {verb:?} failed ({status}):\n{errors}{standard}\nthe agent's log:\n{}", self.log());
        standard.into_owned()
    }

    /// Starts `holdfast agent`, its output going to a log, and returns at once.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn start_agent(&self) {
        let mut running = self.agent();
        assert!(running.is_none(), "the agent runs already");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("open the agent's log");
        let mut command = self.command(&["agent"]);
        command.stdout(log.try_clone().expect("share the agent's log")).stderr(log);
        *running = Some(command.spawn().unwrap_or_else(|error| panic!("start the agent: {error}")));
    }

    /// Kills the agent with SIGKILL.
    pub fn kill9(&self) {
        if let Some(mut agent) = self.agent().take() {
            end(&mut agent);
        }
    }

    /// Asks the agent to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// When it does not run, or does not end in time.
    pub fn terminate(&self) -> ExitStatus {
        self.ask_to_terminate();
        let ended = poll::try_for(STOP, || self.ended());
        ended.unwrap_or_else(|| panic!("the agent did not end within {STOP:?}; its log:\n{}", self.log()))
    }

    /// Asks the agent to end (SIGTERM), and returns at once.
    ///
    /// # Panics
    /// When it does not run.
    pub fn ask_to_terminate(&self) {
        let pid = self.agent_pid().expect("the agent runs");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("signal the agent");
    }

    /// Asks the agent to read its configuration anew (SIGHUP), and returns at once.
    ///
    /// # Panics
    /// When it does not run.
    pub fn hang_up(&self) {
        let pid = self.agent_pid().expect("the agent runs");
        kill(Pid::from_raw(pid), Signal::SIGHUP).expect("signal the agent");
    }

    /// How the agent ended, if it did.
    ///
    /// # Panics
    /// When it was not started.
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut running = self.agent();
        let status = running.as_mut().expect("the agent was started").try_wait().expect("ask for a child's state");
        if status.is_some() {
            *running = None;
        }
        status
    }

    /// Kills the agent and starts it again.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn crash_and_restart(&self) {
        self.kill9();
        self.start_agent();
    }

    /// The process id of the agent, if it was started: for its memory in `/proc`, or signals.
    #[must_use]
    pub fn agent_pid(&self) -> Option<i32> {
        self.agent().as_ref().map(|agent| i32::try_from(agent.id()).expect("Linux has process ids of at most 22 bits"))
    }

    /// Everything the agent has logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until it is true.
    ///
    /// # Panics
    /// When the deadline passes first, with the agent's log.
    pub fn wait_until(&self, deadline: Duration, what: &str, question: impl FnMut() -> bool) {
        if !poll::try_until(deadline, question) {
            panic!("not within {deadline:?}: {what}; the agent's log:\n{}", self.log());
        }
    }

    fn agent(&self) -> MutexGuard<'_, Option<Child>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holdfast {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.log().is_empty() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        self.kill9();
    }
}

/// The path of a shim (`holdfast-archive-command`), as it is shipped, for the configuration of a server.
///
/// `program` is the program under test (`env!("CARGO_BIN_EXE_holdfast")`): the shims are built into the same target directory.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn shim(program: &str, name: &str) -> PathBuf {
    let target = Path::new(program).ancestors().nth(2).expect("the program is in a folder of the target directory");
    let path = target.join("shim").join(name);
    assert!(path.exists(), "{} is not built: run make shims", path.display());
    ServerUser::current().reachable(&path)
}

fn end(process: &mut Child) {
    drop(process.kill());
    drop(process.wait());
}
