//! Memory does not grow with the bucket: neither with the number of objects nor with their size.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use super::site::{Site, content};

const MEMORY_MAX: u64 = 150 << 20;

/// A number from the environment: the measures that the project keeps to are 200,000 objects and 2048 MiB, which take long.
fn measure(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
}

/// Runs the program; the most memory that it took, as the system counts it.
fn peak(site: &Site, arguments: &[&str]) -> u64 {
    let mut child: Child = site.command(arguments).stdout(Stdio::null()).spawn().expect("run the program");
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        if let Some(status) = child.try_wait().expect("wait for the program") {
            assert!(status.success(), "{arguments:?}: {status}");
            println!("{arguments:?}: {} MiB", peak >> 20);
            assert!(peak < MEMORY_MAX, "{arguments:?} took {peak} bytes of memory");
            return peak;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn memory_is_bounded_whatever_is_in_the_bucket() {
    let (objects, megabytes) = (measure("HOLDFAST_TEST_SMALL_OBJECTS", 1500), measure("HOLDFAST_TEST_LARGE_MEGABYTES", 150));
    let site = Site::new();
    site.put_many((0..objects).map(|number| (format!("{}/{number:06}", number % 100), format!("content {number}").into_bytes())));
    site.put_large("large", megabytes);
    site.put("medium", content(1, 20 << 20));
    // The repository in a bucket takes more memory than one in a directory.
    site.configure("", &site.repository_in_a_bucket());
    site.run(&["init"]);
    peak(&site, &["backup", "bucket/data"]);
    peak(&site, &["backup", "bucket/data"]);
    peak(&site, &["verify", "bucket/data"]);
    peak(&site, &["restore", "bucket/data", "--to", &format!("s3://{}/target", site.other)]);
    let taken = site.json(&["backups"]);
    assert_eq!(taken["backups"][1]["objects"], objects + 2, "{taken}");
}
