//! The server's process: starting, signals, the end of it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::poll;

const START: Duration = Duration::from_secs(120);
const KILL: Duration = Duration::from_secs(30);

/// How a server is asked to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopMode {
    /// Waits for the sessions to end (SIGTERM).
    Smart,
    /// Ends the sessions, writes a checkpoint, waits until WAL senders have sent everything (SIGINT).
    Fast,
    /// Stops without a checkpoint; recovery follows (SIGQUIT).
    Immediate,
}

impl StopMode {
    pub(crate) const fn signal(self) -> Signal {
        match self {
            Self::Smart => Signal::SIGTERM,
            Self::Fast => Signal::SIGINT,
            Self::Immediate => Signal::SIGQUIT,
        }
    }
}

/// A running `postgres` process.
#[derive(Debug)]
pub struct Postmaster {
    process: Child,
    pid_file: PathBuf,
}

impl Postmaster {
    /// Starts `command`, which writes to `log`, and waits until the server takes connections; `None` when it ends instead.
    pub fn start(mut command: Command, data_directory: &Path, log: &Path) -> Option<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log).expect("open the server's log");
        command.stdin(std::process::Stdio::null());
        command.stdout(output.try_clone().expect("share the server's log")).stderr(output);
        let process = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let mut postmaster = Self { process, pid_file: data_directory.join("postmaster.pid") };
        let up =
            poll::try_for(START, || if postmaster.is_running() { postmaster.is_ready().then_some(true) } else { Some(false) });
        if up.is_none() {
            postmaster.kill();
            panic!("the server did not take connections within {START:?}; the end of its log:\n{}", super::cluster::tail(log));
        }
        up.filter(|ready| *ready).map(|_| postmaster)
    }

    /// Whether the process is alive.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("ask for a child's state").is_none()
    }

    /// Reads what `pg_ctl` reads: the eighth line of `postmaster.pid` (`LOCK_FILE_LINE_PM_STATUS`).
    fn is_ready(&self) -> bool {
        let Ok(text) = fs::read_to_string(&self.pid_file) else { return false };
        let mut lines = text.lines();
        let own = lines.next() == Some(self.process.id().to_string().as_str());
        own && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"))
    }

    /// Asks the server to stop, and returns at once.
    pub fn ask_to_stop(&self, mode: StopMode) {
        self.signal(mode.signal());
    }

    /// Waits for the end of the process; `None` when the deadline passes first.
    pub fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        poll::try_for(deadline, || self.process.try_wait().expect("ask for a child's state"))
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).expect("Linux has process ids of at most 22 bits"))
    }

    /// Kills the process and its children with SIGKILL, as a power cut would, and waits until none is left.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGSTOP); // so that it starts no more children
        let mut children = children_of(self.pid());
        self.signal(Signal::SIGKILL);
        drop(self.process.wait());
        // One that was just being started may not have been seen; all of a server work in its data directory, and the next server
        // would find its shared memory in use.
        poll::until(KILL, "every child of the killed server is gone", || {
            children.extend(working_in(self.pid_file.parent()));
            for child in &children {
                kill(*child, Signal::SIGKILL).ok(); // one that has just ended is as good
            }
            children.retain(|child| parent_of(*child).is_some());
            children.is_empty()
        });
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).ok(); // an error means that it has ended already, which every caller checks by waiting
    }
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("list /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The processes whose working directory this is.
fn working_in(directory: Option<&Path>) -> Vec<Pid> {
    let directory = directory.and_then(|directory| fs::canonicalize(directory).ok());
    let processes = fs::read_dir("/proc").expect("list /proc").flatten();
    let inside = processes.filter(|process| directory.is_some() && fs::read_link(process.path().join("cwd")).ok() == directory);
    inside.filter_map(|process| process.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

/// The parent of a process; `None` when it has ended, or is only waiting to be reaped.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.next()?.parse().ok().map(Pid::from_raw)
}
