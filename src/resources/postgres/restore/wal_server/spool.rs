//! The segments that are fetched before they are asked for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::pg::SegmentName;
use crate::resources::postgres::restore::fetch::Fetcher;
use crate::sys::durable::{Draft, parent_of};

/// The most that may lie in the spool, and the most segments.
const AHEAD_BYTES: u64 = 64 << 20;
const AHEAD_SEGMENTS: u64 = 8;
/// How many are fetched at once. Each takes up to twice a segment's size of memory.
const AT_ONCE: usize = 3;
const COPY_BYTES: usize = 1 << 20;

/// What is ahead of recovery: for every segment a task that ends with whether it lies in the spool, whole and checked.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    ahead: BTreeMap<SegmentName, JoinHandle<bool>>,
    permits: Arc<Semaphore>,
}

impl Spool {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, ahead: BTreeMap::new(), permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Puts a segment at `destination` if it was fetched ahead. False says nothing about whether it is stored.
    pub(super) async fn hand_over(&mut self, name: SegmentName, destination: &Path) -> bool {
        let Some(task) = self.ahead.remove(&name) else { return false };
        if !task.await.unwrap_or(false) {
            return false;
        }
        let (spooled, destination) = (self.path(name), destination.to_owned());
        let moved = tokio::task::spawn_blocking(move || move_file(&spooled, &destination)).await;
        match moved.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(segment = %name, "fetched ahead and not handed over, fetching again: {error}");
                false
            }
        }
    }

    /// Fetches what follows `name` on its timeline, and forgets everything else.
    pub(super) fn fetch_ahead(&mut self, fetcher: &Fetcher, name: SegmentName) {
        let size = fetcher.segment_size();
        let count = AHEAD_SEGMENTS.min(AHEAD_BYTES / size.bytes());
        let numbers = name.number(size).map(|number| std::iter::successors(Some(number.next()), |number| Some(number.next())));
        let following = numbers.into_iter().flatten().take(usize::try_from(count).unwrap_or(0));
        let wanted: Vec<SegmentName> = following.map(|number| SegmentName::new(name.timeline(), number, size)).collect();
        let folder = &self.folder;
        self.ahead.retain(|name, task| wanted.contains(name) || forget(folder, *name, task));
        for name in wanted {
            if !self.ahead.contains_key(&name) {
                let task = fetch(Arc::clone(&self.permits), fetcher.clone(), name, self.path(name));
                self.ahead.insert(name, tokio::spawn(task));
            }
        }
    }

    fn path(&self, name: SegmentName) -> PathBuf {
        self.folder.join(name.to_string())
    }
}

/// Stops a task and removes what it fetched.
fn forget(folder: &Path, name: SegmentName, task: &JoinHandle<bool>) -> bool {
    task.abort();
    match fs::remove_file(folder.join(name.to_string())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(segment = %name, "left in the spool: {error}"),
        _ => {}
    }
    false
}

/// Whether the segment is in the spool now. Whatever stands in the way is met again, and reported, when it is asked for.
async fn fetch(permits: Arc<Semaphore>, fetcher: Fetcher, name: SegmentName, path: PathBuf) -> bool {
    let Ok(_permit) = permits.acquire_owned().await else { return false };
    fetcher.fetch_whole(name, &path).await.unwrap_or_else(|error| {
        tracing::debug!(segment = %name, "not fetched ahead: {error}");
        false
    })
}

/// Renames, or copies where `pg_wal` lies on another file system.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(from, to)?;
            fs::remove_file(from)
        }
        other => other,
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut draft = Draft::begin(parent_of(to), 0o640)?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match source.read(&mut buffer)? {
            0 => return draft.sync()?.replace(to),
            length => draft.write(&buffer[..length])?,
        }
    }
}
