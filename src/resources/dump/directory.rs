//! The directory format: on a disk in the clear while it is made and restored, in the store as a tar file.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::sync::mpsc;

use super::error::{Error, Result};
use crate::config;
use crate::pg::tar::{END, Event, Kind, Member, TarParser};
use crate::repository::{Content, ObjectWriter};
use crate::resources::Progress;
use crate::sys::durable::{parent_of, sync_folder};
use crate::sys::fail_point;
use crate::sys::scratch::ScratchDirectory;

/// The directory that `pg_dump` makes itself.
const DUMP: &str = "dump";
const PIECE_BYTES: usize = 1 << 20;
const PIECES_WAITING: usize = 4;

/// A place for one dump.
#[derive(Debug)]
pub(super) struct Spool {
    _directory: ScratchDirectory,
    dump: PathBuf,
}

impl Spool {
    /// Makes one in the configured directory.
    pub(super) fn make(section: &config::Dump) -> Result<Self> {
        // A pg_dump that a killed process has left running ends when it finds its directory gone.
        let spool = section.spool.as_deref().ok_or(Error::NoSpool)?;
        let directory = ScratchDirectory::make(spool, "dump", |_| ()).map_err(Error::file("make a directory in", spool))?;
        let dump = directory.path().join(DUMP);
        Ok(Self { _directory: directory, dump })
    }

    /// The directory of the dump, which is not there yet.
    pub(super) fn path(&self) -> &Path {
        &self.dump
    }
}

/// Writes the directory as a tar file.
pub(super) async fn pack(dump: &Path, writer: &mut ObjectWriter, progress: &Progress) -> Result<()> {
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(PIECES_WAITING);
    let dump = dump.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_all(&dump, &sender));
    while let Some(piece) = pieces.recv().await {
        writer.write(&piece).await?;
        progress.done(piece.len() as u64);
    }
    reading.await.map_err(|panic| Error::Interrupted(panic.to_string()))?
}

/// Sends all files as members of a tar, in the order of their names.
fn read_all(dump: &Path, sender: &mpsc::Sender<Vec<u8>>) -> Result<()> {
    let failed = || Error::file("read", dump);
    let entries: std::io::Result<Vec<PathBuf>> =
        fs::read_dir(dump).map_err(failed())?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = entries.map_err(failed())?;
    paths.sort();
    for path in paths {
        // Nobody takes pieces any more where the store has failed: that is reported from there.
        if !send_file(&path, sender)? {
            return Ok(());
        }
    }
    drop(sender.blocking_send(END.to_vec()));
    Ok(())
}

fn send_file(path: &Path, sender: &mpsc::Sender<Vec<u8>>) -> Result<bool> {
    let failed = || Error::file("read", path);
    let mut file = File::open(path).map_err(failed())?;
    let size = file.metadata().map_err(failed())?.len();
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    let member = Member { path: name, kind: Kind::File, size, mode: 0o600, uid: 0, gid: 0, modified: 0 };
    if sender.blocking_send(member.header()?.to_vec()).is_err() {
        return Ok(false);
    }
    let mut left = size;
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
        file.read_exact(&mut piece).map_err(failed())?;
        left -= piece.len() as u64;
        if sender.blocking_send(piece).is_err() {
            return Ok(false);
        }
    }
    Ok(sender.blocking_send(vec![0; member.padding()]).is_ok())
}

/// Writes the files of a tar file into a new directory that only Holdfast's user may enter.
pub(super) async fn unpack(mut content: Content, to: &Path, progress: &Progress) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to).map_err(Error::file("create", to))?;
    let (mut parser, mut unpacking) = (TarParser::new(), Unpacking { to: to.to_owned(), file: None });
    while let Some(piece) = content.try_next().await? {
        progress.done(piece.len() as u64);
        parser.push(piece);
        while let Some(event) = parser.next_event()? {
            unpacking.take(event)?;
        }
    }
    Ok(parser.finish()?)
}

/// Brings a directory that was unpacked to disk, with its files: what is said to be restored outlives a power cut. Blocks.
pub(super) fn sync(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::file("read", directory))? {
        let path = entry.map_err(Error::file("read", directory))?.path();
        fail_point::reach("sync.before", || path.display().to_string()).map_err(Error::file("sync", &path))?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::file("sync", &path))?;
    }
    sync_folder(directory).map_err(Error::file("sync", directory))?;
    let parent = parent_of(directory);
    sync_folder(parent).map_err(Error::file("sync", parent))
}

struct Unpacking {
    to: PathBuf,
    file: Option<(PathBuf, File)>,
}

impl Unpacking {
    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Member { member, .. } => self.begin(&member),
            Event::Content(content) => self.write(&content),
            Event::MemberEnd => {
                self.file = None;
                Ok(())
            }
        }
    }

    fn begin(&mut self, member: &Member) -> Result<()> {
        let refused = |reason| crate::pg::tar::TarError::Name { path: member.path.display().to_string(), reason };
        if member.kind != Kind::File || member.path.components().count() != 1 {
            return Err(refused("is not that of a plain file of a dump").into());
        }
        let path = self.to.join(&member.path);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        self.file = Some((path.clone(), file.map_err(Error::file("create", &path))?));
        Ok(())
    }

    fn write(&mut self, content: &Bytes) -> Result<()> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        file.write_all(content).map_err(Error::file("write", path))
    }
}
