//! From the trees to one tar archive, as a stream. Blocks: it has a thread of its own.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::attributes::{Owners, data_of, read_attributes};
use super::error::{Error, Result};
use super::tar::{END, Kind, Member, content_bytes, encode, padding};
use super::walk::{Denied, Found, bare_links, is_skipped, times, walk};
use crate::config::Files;
use crate::resources::Progress;

/// How much is handed on at once.
const PIECE_BYTES: usize = 256 << 10;
/// A file up to this size is read whole, and stored when it is known that it did not change meanwhile.
const WHOLE_BYTES_MAX: u64 = 4 << 20;
/// How often a file that changes while it is read is read again.
const TRIES: usize = 4;

/// What went into an archive.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub files: u64,
    pub directories: u64,
    pub links: u64,
    pub skipped: u64,
    /// The content of files, in bytes: what the archive puts around it is more than small files hold.
    pub bytes: u64,
    /// What was left out, and what kept changing, in sentences.
    pub remarks: Vec<String>,
}

/// The most remarks: a tree full of sockets needs no list of them.
const REMARKS_MAX: usize = 20;

/// Writes the archive of the trees.
pub(super) struct Archiver {
    pieces: mpsc::Sender<Vec<u8>>,
    pending: Vec<u8>,
    progress: Progress,
    owners: Owners,
    /// The first name of each file that has several, under which its content stands in the archive.
    names: HashMap<Inode, Vec<u8>>,
    tally: Tally,
}

/// What became of reading a file: what was opened is not always what was found under its name before.
enum Reading {
    /// It was the same before and after.
    Steady(Metadata),
    /// It changed.
    Changed(Metadata),
    /// It is gone, and nothing of it is in the archive.
    Gone,
}

impl Archiver {
    /// An archiver that hands what it makes to `pieces`.
    pub(super) fn new(pieces: mpsc::Sender<Vec<u8>>, progress: Progress) -> Self {
        let (owners, names, tally) = (Owners::default(), HashMap::new(), Tally::default());
        Self { pieces, pending: Vec::with_capacity(PIECE_BYTES), progress, owners, names, tally }
    }

    /// Archives everything.
    pub(super) fn run(mut self, section: &Files) -> Result<Tally> {
        bare_links(section).into_iter().for_each(|remark| self.remark(remark));
        let mut denied = Denied::default();
        walk(section, &mut denied, &mut |found, denied| self.add(&found, denied))?;
        denied.into_result()?;
        self.write(&END)?;
        self.flush()?;
        Ok(self.tally)
    }

    fn add(&mut self, found: &Found, denied: &mut Denied) -> Result<()> {
        if is_skipped(&found.metadata) {
            self.tally.skipped += 1;
            self.remark(format!("left out {}: it is a socket, a pipe or a device", found.path.display()));
            return Ok(());
        }
        let added = if found.metadata.is_file() { self.add_file(found) } else { self.add_other(found) };
        match added {
            Err(Error::File { path, source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                denied.add(&path, &source);
                Ok(())
            }
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// A directory or a symbolic link.
    fn add_other(&mut self, Found { path, metadata }: &Found) -> Result<()> {
        let kind = if metadata.is_dir() {
            self.tally.directories += 1;
            Kind::Directory
        } else {
            let target = fs::read_link(path).map_err(Error::file("read", path))?;
            self.tally.links += 1;
            Kind::Symlink(target.as_os_str().as_bytes().to_vec())
        };
        let member = self.member(path, metadata, kind)?;
        self.write(&encode(&member))
    }

    fn add_file(&mut self, found: &Found) -> Result<()> {
        if let Some(first) = self.names.get(&inode(&found.metadata)) {
            let kind = Kind::HardLink(first.clone());
            let member = self.member(&found.path, &found.metadata, kind)?;
            self.tally.links += 1;
            return self.write(&encode(&member));
        }
        for _ in 0..TRIES {
            match self.read_file(&found.path, false)? {
                Reading::Steady(read) => {
                    self.added(&found.path, &read);
                    return Ok(());
                }
                Reading::Gone => return Ok(()),
                Reading::Changed(_) => {}
            }
        }
        let (Reading::Steady(read) | Reading::Changed(read)) = self.read_file(&found.path, true)? else { return Ok(()) };
        let path = found.path.display();
        self.remark(format!("{path} changed each of {TRIES} times that it was read: what is stored of it may be a mixture"));
        self.added(&found.path, &read);
        Ok(())
    }

    /// Takes note of a file in the archive: of the one that was read.
    fn added(&mut self, path: &Path, read: &Metadata) {
        self.tally.files += 1;
        if read.nlink() > 1 {
            self.names.insert(inode(read), stored_path(path));
        }
    }

    /// Reads a file into the archive; a small one that changes meanwhile only if it `must` be stored. Of a large one that changes the
    /// archive has the state that follows as well, behind this one: the last of one name is what is restored.
    fn read_file(&mut self, path: &Path, must: bool) -> Result<Reading> {
        let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::Gone),
            opened => opened.map_err(Error::file("read", path))?,
        };
        let before = file.metadata().map_err(Error::file("read", path))?;
        if !before.is_file() {
            return Ok(Reading::Gone);
        }
        let data = data_of(&file, before.len(), before.blocks()).map_err(Error::file("read", path))?;
        let member = Member { size: before.len(), data, ..self.member(path, &before, Kind::File)? };
        let steady = |file: &File| Ok::<_, Error>(same(&before, &file.metadata().map_err(Error::file("read", path))?));
        if member.size > WHOLE_BYTES_MAX || member.data.is_some() {
            self.write(&encode(&member))?;
            self.copy(&file, &member, path)?;
            return Ok(if steady(&file)? { Reading::Steady(before) } else { Reading::Changed(before) });
        }
        let mut content = Vec::with_capacity(usize::try_from(member.size).unwrap_or(0));
        (&file).take(member.size).read_to_end(&mut content).map_err(Error::file("read", path))?;
        let steady = steady(&file)? && content.len() as u64 == member.size;
        if steady || must {
            content.resize(usize::try_from(member.size).unwrap_or(content.len()), 0);
            self.write(&encode(&member))?;
            self.content(&content)?;
            self.write(padding(member.size))?;
        }
        Ok(if steady { Reading::Steady(before) } else { Reading::Changed(before) })
    }

    /// Copies the data of a file; what is missing because it was cut short meanwhile is zeros.
    fn copy(&mut self, file: &File, member: &Member, path: &Path) -> Result<()> {
        let whole: Vec<Range<u64>> = std::iter::once(0..member.size).collect();
        let mut piece = vec![0; PIECE_BYTES];
        for part in member.data.as_ref().unwrap_or(&whole) {
            let mut at = part.start;
            while at < part.end {
                let wanted = usize::try_from(part.end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                let read = file.read_at(&mut piece[..wanted], at).map_err(Error::file("read", path))?;
                let read = if read == 0 {
                    piece[..wanted].fill(0);
                    wanted
                } else {
                    read
                };
                self.content(&piece[..read])?;
                at += read as u64;
            }
        }
        self.write(padding(content_bytes(member)))
    }

    fn member(&mut self, path: &Path, metadata: &Metadata, kind: Kind) -> Result<Member> {
        let attributes = read_attributes(path).map_err(Error::file("read the extended attributes of", path))?;
        Ok(Member {
            path: stored_path(path),
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            user: self.owners.user(metadata.uid()),
            group: self.owners.group(metadata.gid()),
            modified: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0)),
            size: 0,
            attributes,
            data: None,
        })
    }

    fn remark(&mut self, remark: String) {
        tracing::warn!("{remark}");
        match self.tally.remarks.len() {
            REMARKS_MAX => self.tally.remarks.push("and more, see the log".to_owned()),
            fewer if fewer < REMARKS_MAX => self.tally.remarks.push(remark),
            _ => {}
        }
    }

    fn content(&mut self, bytes: &[u8]) -> Result<()> {
        self.progress.done(bytes.len() as u64);
        self.tally.bytes += bytes.len() as u64;
        self.write(bytes)
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.pending.len()));
            self.pending.extend_from_slice(head);
            bytes = rest;
            if self.pending.len() >= PIECE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let piece = std::mem::replace(&mut self.pending, Vec::with_capacity(PIECE_BYTES));
        let sent = self.pieces.blocking_send(piece);
        // The half that stores has failed and says why, or the backup was cancelled.
        sent.map_err(|_| Error::Interrupted("nobody takes the archive any more".to_owned()))
    }
}

/// The path in the archive: relative to the root directory, with one slash between two names and none at its end.
pub(super) fn stored_path(path: &Path) -> Vec<u8> {
    let names: PathBuf = path.components().filter(|part| *part != Component::RootDir).collect();
    names.into_os_string().into_vec()
}

/// What tells a file from every other one: device, number, and, where the file system knows it, when it was made, since the number of a file
/// that is removed goes to the next one.
type Inode = (u64, u64, Option<SystemTime>);

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino(), metadata.created().ok())
}

/// Whether nothing happened to a file in between.
fn same(before: &Metadata, after: &Metadata) -> bool {
    before.len() == after.len() && times(before) == times(after)
}

#[cfg(test)]
mod tests;
