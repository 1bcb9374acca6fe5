//! Waiting for a change: inotify is the hint, a look at everything now and then the truth.

use std::os::fd::OwnedFd;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use super::error::{Error, Result};
use super::resource::blocking;
use super::walk::{Denied, walk};
use crate::config::{Files, LOOK_EVERY};
use crate::sys::clock::Deadline;

/// How long is waited for what.
#[derive(Clone, Copy)]
struct Patience {
    /// So long after the last change a burst of changes is over.
    quiet: Duration,
    /// A burst that does not end is cut off after this: what changes all the time is backed up so often at most.
    burst_max: Duration,
    /// How often everything is looked at.
    look_every: Duration,
}

const PATIENCE: Patience = Patience { quiet: Duration::from_secs(2), burst_max: Duration::from_mins(1), look_every: LOOK_EVERY };
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

/// Begins to watch. The returned wait ends after a hint and the burst that it belongs to, or when it is time to look at everything.
pub(super) async fn begin(section: &Files) -> BoxFuture<'static, ()> {
    let section = section.clone();
    match blocking(move || watch(&section)).await {
        Ok(hints) => Box::pin(next_burst(hints, PATIENCE)),
        Err(error) => {
            tracing::warn!(
                "the trees cannot be watched, and are looked at every {} minutes instead: {error}{}",
                LOOK_EVERY.as_secs() / 60,
                limit(&error)
            );
            Box::pin(tokio::time::sleep(LOOK_EVERY))
        }
    }
}

/// What to do where the system has no more watches.
fn limit(error: &Error) -> &'static str {
    match error {
        Error::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            "; raise fs.inotify.max_user_watches (one is needed for each directory)"
        }
        _ => "",
    }
}

async fn next_burst(hints: OwnedFd, Patience { quiet, burst_max, look_every }: Patience) {
    if tokio::time::timeout(look_every, hint(&hints)).await.is_err() {
        return;
    }
    let end = Deadline::after(burst_max);
    while tokio::time::timeout(quiet.min(end.remaining()), hint(&hints)).await.is_ok() && !end.has_passed() {}
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::config::{Config, parse};
    use crate::sys::clock;

    const SHORT: Patience =
        Patience { quiet: Duration::from_millis(600), burst_max: Duration::from_secs(2), look_every: Duration::from_secs(60) };

    fn config(path: &std::path::Path) -> Config {
        let text = format!("[repository]\nurl = \"file:///b\"\n[files.a]\npaths = [\"{}\"]\n", path.display());
        parse(&text, std::path::Path::new("/c")).expect("a valid configuration")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn changes_without_end_are_cut_off() {
        let tree = tempfile::tempdir().expect("a directory");
        let config = config(tree.path());
        let hints = watch(config.files().next().expect("a section").1).expect("a watch");
        let (stop, begun) = (AtomicBool::new(false), clock::instant());
        let waited = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::fs::write(tree.path().join("a"), "x").expect("write");
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let handle = tokio::runtime::Handle::current();
            let waited = tokio::task::block_in_place(|| {
                handle.block_on(tokio::time::timeout(Duration::from_secs(30), next_burst(hints, SHORT)))
            });
            stop.store(true, Ordering::Relaxed);
            waited
        });
        assert!(waited.is_ok(), "it never comes to an end");
        assert!(begun.elapsed() >= SHORT.burst_max, "the burst was not over after {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn without_hints_it_is_time_to_look_now_and_then() {
        let tree = tempfile::tempdir().expect("a directory");
        let config = config(tree.path());
        let hints = watch(config.files().next().expect("a section").1).expect("a watch");
        let often = Patience { look_every: Duration::from_millis(300), ..SHORT };
        tokio::time::timeout(Duration::from_secs(30), next_burst(hints, often)).await.expect("it is time to look");
    }
}
