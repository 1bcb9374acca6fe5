//! Waiting for a change: inotify is the hint, a look at everything now and then the truth.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use super::error::{Error, Result};
use super::resource::blocking;
use super::walk::{Denied, walk};
use crate::config::Files;
use crate::sys::clock::Deadline;

/// So long after the last change a burst of changes is over.
const QUIET: Duration = Duration::from_secs(2);
/// A burst that does not end is cut off after this.
const BURST_MAX: Duration = Duration::from_secs(30);
/// How often everything is looked at, whatever the hints say: they can be lost, and some file systems give none.
const LOOK_EVERY: Duration = Duration::from_mins(15);

/// How often it is asked whether there are hints.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// What may change the content of a tree.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);

/// Waits for a hint, and until the burst that it belongs to is over; or until it is time to look at everything.
pub(super) async fn next_change(section: &Files) -> Result<()> {
    let section = section.clone();
    let hints = match blocking(move || watch(&section)).await {
        Ok(hints) => hints,
        Err(error) => {
            tracing::warn!("changes are noticed every {} minutes only: {error}", LOOK_EVERY.as_secs() / 60);
            tokio::time::sleep(LOOK_EVERY).await;
            return Ok(());
        }
    };
    if tokio::time::timeout(LOOK_EVERY, hint(&hints)).await.is_err() {
        return Ok(());
    }
    let end = Deadline::after(BURST_MAX);
    while tokio::time::timeout(QUIET.min(end.remaining()), hint(&hints)).await.is_ok() && !end.has_passed() {}
    Ok(())
}

/// Watches every directory of the trees, and files that are trees themselves. New directories show as changes of those above them.
fn watch(section: &Files) -> Result<OwnedFd> {
    let no_hints = |errno: rustix::io::Errno| Error::Interrupted(format!("no inotify: {errno}"));
    let hints = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(no_hints)?;
    let mut denied = Denied::default();
    walk(section, &mut denied, &mut |found, _| {
        if !found.metadata.is_dir() && !section.paths.contains(&found.path) {
            return Ok(());
        }
        match add_watch(&hints, &found.path, CHANGES) {
            Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ACCESS) => Ok(()),
            Err(errno) => Err(Error::file("watch", &found.path)(errno.into())),
        }
    })?;
    Ok(hints)
}

/// Waits for hints and takes those that are there. What they say does not matter: that there are some does.
///
/// Asking four times a second costs nothing that could be measured, and needs neither a thread nor the reactor's unsafe registration.
async fn hint(hints: &OwnedFd) {
    let mut buffer = [0; 4096];
    while rustix::io::read(hints, &mut buffer) == Err(rustix::io::Errno::AGAIN) {
        tokio::time::sleep(ASK_EVERY).await;
    }
}
