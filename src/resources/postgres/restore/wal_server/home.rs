//! The server's folder in the data directory: lock, socket, spool, log.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

use crate::sys::clock::Deadline;

/// The folder, relative to the data directory, which is the current directory: a socket's path may not be longer than 107 bytes.
pub const FOLDER: &str = "holdfast-restore";

/// How long a server that is just ending may take to leave the folder.
const TAKE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is tried to remove the spool: every segment that is being fetched can come in between.
const REMOVALS: usize = 20;

/// The folder of this server alone. The lock ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Home {
    folder: PathBuf,
    listener: UnixListener,
    /// Device and inode of the socket.
    socket: (u64, u64),
    _lock: File,
}

impl Home {
    /// Takes the folder, and empties the spool that an earlier server may have left; `None` where another server has it.
    pub(super) async fn take(folder: &Path) -> io::Result<Option<Self>> {
        let Some(lock) = lock(folder).await? else { return Ok(None) };
        let (socket, spool) = (folder.join("wal.sock"), folder.join("spool"));
        absent_is_fine(fs::remove_dir_all(&spool))?;
        absent_is_fine(fs::remove_file(&socket))?;
        DirBuilder::new().mode(0o700).create(&spool)?;
        let listener = UnixListener::bind(&socket)?;
        let identity = identity(&socket)?;
        Ok(Some(Self { folder: folder.to_owned(), listener, socket: identity, _lock: lock }))
    }

    pub(super) const fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.folder.join("spool")
    }

    /// Whether the folder is still the one that was taken.
    pub(super) fn is_ours(&self) -> bool {
        identity(&self.folder.join("wal.sock")).is_ok_and(|found| found == self.socket)
    }

    /// Removes the folder, if it is still ours. What cannot be removed stays: the next server empties it. The lock goes last, and nobody
    /// else can take the folder before.
    pub(super) fn leave(self) {
        if !self.is_ours() {
            return;
        }
        let gone = fs::remove_file(self.folder.join("wal.sock"));
        let gone =
            gone.and_then(|()| absent_is_fine(remove_filling(&self.spool()))).and_then(|()| fs::remove_dir_all(&self.folder));
        if let Err(error) = gone {
            tracing::warn!("{} could not be removed: {error}", self.folder.display());
        }
    }
}

/// Locks the folder, making it where it is missing; `None` if another process holds it.
async fn lock(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join("lock");
    let deadline = Deadline::after(TAKE);
    while !deadline.has_passed() {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // A server that is just ending may remove the folder in between.
        if let Ok(file) = OpenOptions::new().create(true).append(true).mode(0o600).open(&path) {
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Some(file)),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// Removes a folder into which something may still be fetched ahead: a file that comes meanwhile keeps it from being removed.
fn remove_filling(folder: &Path) -> io::Result<()> {
    for _ in 1..REMOVALS {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            other => return other,
        }
    }
    fs::remove_dir_all(folder)
}

fn is_at(file: &File, path: &Path) -> bool {
    let own = file.metadata().map(|own| (own.dev(), own.ino()));
    matches!((own, identity(path)), (Ok(own), Ok(found)) if own == found)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
