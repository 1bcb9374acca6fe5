//! How much memory the program takes, and how large the tests of it are.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use pg_fixtures::Verbs;

/// What no run may take, whatever there is in a bucket or a repository.
const MEMORY_MAX: u64 = 150 << 20;

/// A number from the environment: the measures that the project keeps to take long, and each test says what they are.
pub fn measure(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Done,
    Failed,
    Killed,
}

/// Runs the program to its end, which must be a good one, in bounded memory.
pub fn bounded(verbs: &Verbs, arguments: &[&str]) {
    assert_eq!(bounded_until(verbs, arguments, || false), Ended::Done, "{arguments:?}");
}

/// Runs the program in bounded memory, and kills it once `enough` is true.
pub fn bounded_until(verbs: &Verbs, arguments: &[&str], enough: impl Fn() -> bool) -> Ended {
    let mut child: Child = verbs.command(arguments).stdout(Stdio::null()).spawn().expect("run the program");
    let (mut peak, mut killed) = (0, false);
    loop {
        // The most memory that it took, as the system counts it.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        if !killed && enough() {
            child.kill().expect("kill the program");
            killed = true;
        }
        if let Some(status) = child.try_wait().expect("wait for the program") {
            println!("{arguments:?}: {} MiB", peak >> 20);
            assert!(peak < MEMORY_MAX, "{arguments:?} took {peak} bytes of memory");
            return match status.success() {
                true => Ended::Done,
                false if killed => Ended::Killed,
                false => Ended::Failed,
            };
        }
        thread::sleep(Duration::from_millis(5));
    }
}
