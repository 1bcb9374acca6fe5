//! Memory does not grow with the data.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use pg_fixtures::redis::{Program, Redis};

use super::site::Site;

/// What Holdfast promises, in bytes.
const MEMORY_MAX: u64 = 150 << 20;

#[test]
fn two_hundred_megabytes_are_backed_up_verified_and_restored_in_bounded_memory() {
    let program = Program::named("redis");
    let lines = "rdbcompression no\nenable-debug-command yes\n";
    let server = Redis::start(&program, lines);
    server.ask(&["DEBUG", "POPULATE", "200000", "key", "1000"]);
    let target = Redis::start(&program, lines);
    let site = Site::new(&server.url(), "");
    let url = target.url();
    for arguments in [&["backup", "redis/cache"][..], &["verify"], &["restore", "redis/cache", "--into", &url]] {
        let mut command = site.command(arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("run the program");
        let peak = peak_memory(child);
        assert!(peak < MEMORY_MAX, "{arguments:?} took {peak} bytes of memory");
        println!("{arguments:?}: {} MB of memory", peak >> 20);
    }
    let taken = site.json(&["backups"]);
    assert!(taken["backups"][0]["plain_bytes"].as_u64().is_some_and(|bytes| bytes > 200_000_000), "{taken}");
    assert_eq!(target.ask(&["DEBUG", "DIGEST"]), server.ask(&["DEBUG", "DIGEST"]));
}

/// The most memory that a program took, as the system counts it, when it has succeeded.
fn peak_memory(mut child: Child) -> u64 {
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        if let Some(status) = child.try_wait().expect("wait for the program") {
            assert!(status.success(), "{status}");
            return peak;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
