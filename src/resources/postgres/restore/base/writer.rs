//! Writing the files of a pack, in the order in which its bytes come.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::pack::Fetched;
use super::{CONTROL_FILE, Places, Written};
use crate::repository::{EntryKind, PackArchive, PackEntry, PackIndex};
use crate::resources::postgres::restore::error::{Error, Result};

/// Files of the data directory that say how the original server recovered; a backup of a standby has one of them.
const LEFT_OUT: [&str; 2] = ["standby.signal", "recovery.signal"];
/// The control file has 8192 bytes; what is held in memory has to have a limit.
const CONTROL_BYTES_MAX: u64 = 64 << 10;

/// What a pack had that is not written with the rest.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    /// The control file, if it was in the pack.
    pub(super) control_file: Option<Vec<u8>>,
    /// How many backup labels the pack had.
    pub(super) labels: usize,
}

/// Where the content of an entry goes.
enum Sink {
    File(PathBuf, File),
    Memory(Vec<u8>),
    Nowhere,
}

struct Open {
    entry: PackEntry,
    sink: Sink,
    crc32c: u32,
    done: u64,
}

/// Writes one pack.
pub(super) struct Writer {
    object: String,
    places: Arc<Places>,
    archive: PackArchive,
    entries: std::vec::IntoIter<PackEntry>,
    open: Option<Open>,
    held: HeldBack,
    written: Written,
}

impl Writer {
    /// `object` is the key of the pack, for messages.
    pub(super) fn new(object: String, places: Arc<Places>, index: PackIndex, written: Written) -> Self {
        let (archive, entries) = (index.archive, index.entries.into_iter());
        Self { object, places, archive, entries, open: None, held: HeldBack::default(), written }
    }

    /// Takes the frames in order until there are no more. Blocks.
    pub(super) fn run(mut self, mut frames: mpsc::Receiver<Fetched>) -> Result<HeldBack> {
        self.next_entry()?;
        while let Some(Fetched { frame, plain, .. }) = &frames.blocking_recv() {
            self.take(frame.plain_offset, plain)?;
            self.written.add(plain.len() as u64);
        }
        match self.open {
            None => Ok(self.held),
            Some(open) => Err(damaged(&self.object, format!("it ends within {:?}", open.entry.path))),
        }
    }

    /// Takes the bytes at `offset` of the tar file, which follow those taken before.
    fn take(&mut self, offset: u64, plain: &[u8]) -> Result<()> {
        let end = offset + plain.len() as u64;
        while let Some(open) = &mut self.open {
            let from = open.entry.offset + open.done;
            if from >= end {
                break;
            }
            let rest = &plain[usize::try_from(from - offset).unwrap_or(plain.len()).min(plain.len())..];
            let wanted = usize::try_from(open.entry.size - open.done).unwrap_or(usize::MAX).min(rest.len());
            open.write(&rest[..wanted])?;
            if open.done < open.entry.size {
                break;
            }
            self.close()?;
        }
        Ok(())
    }

    /// Ends the open entry and goes on to the next.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if open.crc32c != open.entry.crc32c {
            let (path, expected, found) = (&open.entry.path, open.entry.crc32c, open.crc32c);
            return Err(damaged(&self.object, format!("file {path} in it has checksum {found:08x} instead of {expected:08x}")));
        }
        if let Sink::Memory(content) = open.sink {
            self.held.control_file = Some(content);
        }
        self.next_entry()
    }

    /// Opens the next entry that has content; those that have none are complete at once.
    fn next_entry(&mut self) -> Result<()> {
        for entry in self.entries.by_ref() {
            let sink = sink_of(&self.object, &self.places, self.archive, &entry)?;
            let is_label = self.archive == PackArchive::Base && entry.path.as_bytes() == b"backup_label";
            self.held.labels += usize::from(is_label && entry.size > 0);
            if entry.size > 0 {
                self.open = Some(Open { entry, sink, crc32c: 0, done: 0 });
                return Ok(());
            }
        }
        Ok(())
    }
}

fn sink_of(object: &str, places: &Places, archive: PackArchive, entry: &PackEntry) -> Result<Sink> {
    let refused = |why: &str| damaged(object, format!("entry {:?}: {why}", entry.path));
    let is_base_file = |name: &str| archive == PackArchive::Base && entry.path.as_bytes() == name.as_bytes();
    let path = places.path(archive, &entry.path).ok_or_else(|| refused("its path leads out of its directory"))?;
    let mode = entry.mode & 0o777;
    match &entry.kind {
        EntryKind::Directory => places.create_directory(&path, mode).map(|()| Sink::Nowhere),
        EntryKind::Link(_) => Err(refused("a base backup has no links besides those of tablespaces")),
        EntryKind::File if is_base_file(CONTROL_FILE) && entry.size <= CONTROL_BYTES_MAX => Ok(Sink::Memory(Vec::new())),
        EntryKind::File if LEFT_OUT.iter().any(|name| is_base_file(name)) => Ok(Sink::Nowhere),
        EntryKind::File => places.create_file(&path, mode).map(|file| Sink::File(path, file)),
    }
}

impl Open {
    fn write(&mut self, content: &[u8]) -> Result<()> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, content);
        self.done += content.len() as u64;
        match &mut self.sink {
            Sink::File(path, file) => file.write_all(content).map_err(Error::file("write", path)),
            Sink::Memory(held) => {
                held.extend_from_slice(content);
                Ok(())
            }
            Sink::Nowhere => Ok(()),
        }
    }
}

fn damaged(object: &str, detail: String) -> Error {
    Error::Damaged { object: object.to_owned(), detail }
}
