//! Pushing for a server that asks for one file at a time: the segments that wait behind the one asked for are pushed meanwhile.
//!
//! Invariants: only what `Pusher` has stored counts, and only for the very file that was read (device, inode, length, time). What failed
//! ahead is forgotten, and tried anew when it is asked for. At most `AHEAD_SEGMENTS` are remembered, in memory alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::push::{Error, PIECE_BYTES, Pusher, Result};
use crate::pg::{SegmentName, WalFileName};
use crate::sys::places::place_for;

/// How many segments behind the one asked for are pushed or remembered.
const AHEAD_SEGMENTS: usize = 4;

/// Pushes the files of one cluster.
#[derive(Debug)]
pub struct PushAhead {
    pusher: Arc<Pusher>,
    ahead: Mutex<BTreeMap<PathBuf, Ahead>>,
}

#[derive(Debug)]
struct Ahead {
    file: Identity,
    push: JoinHandle<bool>,
}

/// Which file it is, and in which state.
type Identity = (u64, u64, u64, i64, i64);

impl PushAhead {
    /// Pushes with `pusher`.
    #[must_use]
    pub fn new(pusher: Pusher) -> Self {
        Self { pusher: Arc::new(pusher), ahead: Mutex::default() }
    }

    /// Stores the file at `path`, durably. Returns at once where that was done ahead.
    ///
    /// # Errors
    /// As `Pusher::push`.
    pub async fn push(&self, path: &Path) -> Result<()> {
        let name: WalFileName = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().parse()?;
        let before = self.turn_to(path, name).await?;
        if let Some(ahead) = before
            && identity(path).await? == Some(ahead.file)
            && ahead.push.await.unwrap_or(false)
        {
            return Ok(());
        }
        let _place = place_for(self.pusher.room_for(most_bytes(name))).await;
        self.pusher.push(path).await.map(|_| ())
    }

    /// Begins to push what waits behind `name`, forgets what does not, and returns what was begun for `path`.
    async fn turn_to(&self, path: &Path, name: WalFileName) -> Result<Option<Ahead>> {
        let mut ahead = self.ahead.lock().await;
        let own = ahead.remove(path);
        let WalFileName::Segment(segment) = name else { return Ok(own) };
        let waiting = self.waiting(path, segment).await?;
        ahead.retain(|path, begun| {
            let wanted = waiting.iter().any(|(waiting, _)| waiting == path);
            if !wanted {
                begun.push.abort();
            }
            wanted
        });
        for (path, file) in waiting {
            ahead.entry(path.clone()).or_insert_with(|| Ahead { file, push: tokio::spawn(self.begin(path)) });
        }
        Ok(own)
    }

    fn begin(&self, path: PathBuf) -> impl Future<Output = bool> + use<> {
        let pusher = Arc::clone(&self.pusher);
        async move {
            let _place = place_for(pusher.room_for(PIECE_BYTES)).await;
            match pusher.push(&path).await {
                Ok(_) => true,
                // Reported when PostgreSQL asks for this file.
                Err(error) => {
                    tracing::debug!(path = %path.display(), "not stored ahead: {error}");
                    false
                }
            }
        }
    }

    /// The following segments that the server wants to have archived: it says so with a file `archive_status/NAME.ready`.
    async fn waiting(&self, path: &Path, segment: SegmentName) -> Result<Vec<(PathBuf, Identity)>> {
        let Some(size) = self.pusher.segment_size_of(path).await else { return Ok(Vec::new()) };
        let (Some(folder), Some(number)) = (path.parent().map(Path::to_owned), segment.number(size)) else {
            return Ok(Vec::new());
        };
        let look = move || {
            let numbers = std::iter::successors(Some(number.next()), |number| Some(number.next()));
            let names = numbers.take(AHEAD_SEGMENTS).map(|number| SegmentName::new(segment.timeline(), number, size).to_string());
            let ready = names.take_while(|name| folder.join("archive_status").join(format!("{name}.ready")).exists());
            ready.filter_map(|name| identity_of(&folder.join(&name)).map(|file| (folder.join(name), file))).collect()
        };
        tokio::task::spawn_blocking(look).await.map_err(|panic| Error::Interrupted { detail: panic.to_string() })
    }
}

/// How much of a file is in memory at once, at most.
const fn most_bytes(name: WalFileName) -> u64 {
    match name {
        WalFileName::Segment(_) | WalFileName::Partial(_) => PIECE_BYTES,
        WalFileName::Backup(..) | WalFileName::History(_) => 0,
    }
}

async fn identity(path: &Path) -> Result<Option<Identity>> {
    let path = path.to_owned();
    let found = tokio::task::spawn_blocking(move || identity_of(&path)).await;
    found.map_err(|panic| Error::Interrupted { detail: panic.to_string() })
}

fn identity_of(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
