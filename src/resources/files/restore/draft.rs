//! Names of drafts: what is written beside its place until it is whole, and what restores that were killed have left of it.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::codec::Hash;
use crate::sys::{clock, host};

/// What all of them begin with.
const BEGIN: &str = ".holdfast-";
/// So many digits tell a host from others.
const HOST_DIGITS: usize = 8;

/// A name that no other draft has: the host, the time, the process and a count.
pub(super) fn draft_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    named(&this_host(), clock::now().as_nanosecond(), std::process::id(), count)
}

/// Whether this is the name of a draft whose process was one of this host's, and is gone: nobody will come back for it.
pub(super) fn is_abandoned(name: &OsStr) -> bool {
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(BEGIN)) else { return false };
    process_of(rest, &this_host()).is_some_and(|process| kill(process, None::<Signal>) == Err(Errno::ESRCH))
}

fn named(host: &str, nanosecond: i128, process: u32, count: u64) -> String {
    format!("{BEGIN}{host}-{nanosecond:x}-{process:x}-{count:x}")
}

fn this_host() -> String {
    Hash::of(host::name().as_bytes()).to_string()[..HOST_DIGITS].to_owned()
}

/// The process that a draft of `host` is of; `rest`: its name without the beginning.
fn process_of(rest: &str, host: &str) -> Option<Pid> {
    let parts: Vec<&str> = rest.split('-').collect();
    let [of, time, process, count] = parts[..] else { return None };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let process = i32::from_str_radix(process, 16).ok().filter(|process| *process > 0)?;
    (of == host && is_number(time) && is_number(count)).then(|| Pid::from_raw(process))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No system gives out numbers of processes as large as this.
    const NOBODY: u32 = 0x7FFF_FFF0;

    #[test]
    fn only_drafts_of_processes_of_this_host_that_are_gone_are_abandoned() {
        let is_left = |name: &str| is_abandoned(OsStr::new(name));
        assert!(is_left(&named(&this_host(), 1, NOBODY, 0)));
        assert!(!is_left(&draft_name()), "this process is at work on it");
        assert!(!is_left(&named("01234567", 1, NOBODY, 0)), "nothing is known of another host's");
        for other in [".holdfast-", ".holdfast-notes", ".holdfast-a-b-c-d", "holdfast-1", ".holdfast-1-2-7ffffff0-0"] {
            assert!(!is_left(other), "{other}");
        }
        let more = named(&this_host(), 1, NOBODY, 0) + "-1";
        assert!(!is_left(&more) && !is_left(&named(&this_host(), 1, 0, 0)));
    }
}
