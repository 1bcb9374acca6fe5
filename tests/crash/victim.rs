//! A process of the program, which dies at a fail point, is killed, or ends.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pg_fixtures::agent::Holdfast;

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By the point that was armed in it.
    AtPoint,
    /// By itself.
    Ended(ExitStatus),
    /// Killed from outside.
    Killed,
}

/// A running process. Dropped, it is killed.
pub struct Victim {
    process: Child,
    log: PathBuf,
    name: String,
    peak_memory: u64,
}

impl Victim {
    /// Starts a verb, with a fail point armed or none.
    pub fn start(holdfast: &Holdfast, arguments: &[&str], rule: Option<&str>) -> Self {
        let log = holdfast.scratch().path().join("victims.log");
        let output = OpenOptions::new().create(true).append(true).open(&log).expect("open a log");
        let mut command = holdfast.command(arguments);
        command.envs(rule.map(|rule| ("HOLDFAST_FAIL_POINTS", rule))).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("share a log")).stderr(output);
        let process = command.spawn().unwrap_or_else(|error| panic!("start {arguments:?}: {error}"));
        Self { process, log, name: format!("{arguments:?} with {rule:?}"), peak_memory: 0 }
    }

    /// Waits for its end at most so long; `None` if it goes on.
    pub fn wait(&mut self, limit: Duration) -> Option<End> {
        let deadline = Instant::now() + limit;
        loop {
            self.look();
            if let Some(status) = self.process.try_wait().expect("ask for a child's state") {
                return Some(if status.signal() == Some(9) { End::AtPoint } else { End::Ended(status) });
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits for its end at most so long, and kills it then.
    pub fn end_within(&mut self, limit: Duration) -> End {
        self.wait(limit).unwrap_or_else(|| {
            self.kill();
            End::Killed
        })
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.look();
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// Asks it to end (SIGTERM), and waits until it has, in good order.
    pub fn stop(&mut self, limit: Duration) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("Linux has process ids of at most 22 bits"));
        kill(pid, Signal::SIGTERM).expect("signal a process");
        let end = self.wait(limit);
        // One that has just been started may not listen for the signal yet.
        let ended =
            matches!(end, Some(End::Ended(status)) if status.success() || status.signal() == Some(Signal::SIGTERM as i32));
        assert!(ended, "{end:?}: {}", self.last_words());
    }

    /// What it took of memory at its peak, in bytes, as far as it was seen.
    pub const fn peak_memory(&self) -> u64 {
        self.peak_memory
    }

    /// What it is, and the end of what all of them have said.
    pub fn last_words(&self) -> String {
        format!("{}; the log ends:\n{}", self.name, tail(&self.log))
    }

    fn look(&mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
        self.peak_memory = self.peak_memory.max(kilobytes << 10);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
