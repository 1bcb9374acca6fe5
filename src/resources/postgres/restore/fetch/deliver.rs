//! Writing what was fetched to where PostgreSQL wants it: beside it first, then under its name in one step.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::error::{Error, Result};
use crate::pg::page::check_first_page;
use crate::pg::{SegmentName, WalFileName};
use crate::repository::{Slice, WalArchive, WalObject};
use crate::resources::postgres::archive::coverage::minimal_chain;
use crate::sys::durable::{Draft, parent_of};

/// As PostgreSQL makes its WAL files, before the umask that it gives to its children.
const MODE: u32 = 0o640;
/// How many bytes are filled up at a time.
const FILLER_BYTES: usize = 64 << 10;

/// Whether slices could be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assembled {
    /// The segment is where it was wanted.
    Delivered,
    /// One of them is not there any more: the segment has become whole, or larger slices have replaced it.
    Vanished,
}

/// Writes a whole file.
pub(super) async fn write(destination: &Path, bytes: Bytes) -> Result<()> {
    let path = destination.to_owned();
    blocking(destination, move || {
        let mut draft = Draft::begin(parent_of(&path), MODE)?;
        draft.write(&bytes)?;
        draft.sync()?.replace(&path)
    })
    .await
}

/// Writes a segment from slices that follow one another from its beginning, and fills it up: with what the server has itself behind the same
/// bytes, otherwise with zeros. Where others of `stored`, all slices that it has, overlap with them, they have to hold the same bytes. Holds
/// two slices at a time.
pub(super) async fn assemble(
    archive: &WalArchive,
    name: SegmentName,
    slices: &[Slice],
    stored: &[Slice],
    destination: &Path,
) -> Result<Assembled> {
    let size = archive.segment_size();
    let path = destination.to_owned();
    let mut filling = blocking(destination, move || {
        let own = Own::beside(&path, name, size.bytes());
        Ok(Filling { draft: Draft::begin(parent_of(&path), MODE)?, written: 0, own })
    })
    .await?;
    let mut written = 0;
    for slice in slices {
        let Some((_, bytes)) = archive.get_slice(slice).await? else { return Ok(Assembled::Vanished) };
        let new = news(archive, slice, &bytes, written)?;
        agree(archive, slice, &bytes, stored).await?;
        if written == 0 {
            let object = || archive.key(WalFileName::Segment(name)).to_string();
            let first = check_first_page(&bytes, name, size, Some(archive.system_id()));
            first.map_err(|source| Error::Segment { object: object(), source })?;
        }
        written = slice.bytes.end;
        filling = blocking(destination, move || filling.append(&new).map(|()| filling)).await?;
    }
    let path = destination.to_owned();
    blocking(destination, move || filling.finish(size.bytes())?.sync()?.replace(&path)).await?;
    Ok(Assembled::Delivered)
}

/// The same from the fewest of the stored slices that hold the first `end` bytes; false where they do not hold them, or one has vanished.
pub(super) async fn assemble_first(
    archive: &WalArchive,
    name: SegmentName,
    end: u64,
    stored: &[Slice],
    destination: &Path,
) -> Result<bool> {
    let ranges: Vec<_> = stored.iter().map(|slice| slice.bytes.clone()).collect();
    let Some(chain) = minimal_chain(&ranges, end) else { return Ok(false) };
    let chain: Vec<Slice> = chain.into_iter().map(|bytes| Slice { segment: name, bytes }).collect();
    Ok(assemble(archive, name, &chain, stored, destination).await? == Assembled::Delivered)
}

/// Compares a slice with the others that overlap with it. Those of one cluster never disagree; two clones' may.
async fn agree(archive: &WalArchive, slice: &Slice, bytes: &Bytes, stored: &[Slice]) -> Result<()> {
    let overlaps = |other: &&Slice| other.bytes.start < slice.bytes.end && slice.bytes.start < other.bytes.end;
    for other in stored.iter().filter(|other| *other != slice).filter(overlaps) {
        // One that was replaced meanwhile agreed with what replaced it.
        let Some((_, theirs)) = archive.get_slice(other).await? else { continue };
        let from = slice.bytes.start.max(other.bytes.start);
        let behind =
            |bytes: &Bytes, start: u64| bytes.slice(usize::try_from(from - start).unwrap_or(usize::MAX).min(bytes.len())..);
        let (ours, theirs) = (behind(bytes, slice.bytes.start), behind(&theirs, other.bytes.start));
        if let Some(offset) = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
            let key = |slice: &Slice| archive.key_of(&WalObject::Slice(slice.clone())).to_string();
            return Err(Error::Contradiction { object: key(slice), other: key(other), offset: from + offset as u64 });
        }
    }
    Ok(())
}

/// What of a slice lies behind what is written already.
fn news(archive: &WalArchive, slice: &Slice, bytes: &Bytes, written: u64) -> Result<Bytes> {
    let expected = slice.bytes.end - slice.bytes.start;
    if bytes.len() as u64 != expected {
        return Err(Error::Content {
            object: format!(
                "slice {}-{} of {}",
                slice.bytes.start,
                slice.bytes.end,
                archive.key(WalFileName::Segment(slice.segment))
            ),
            detail: format!("it has {} bytes instead of {expected}", bytes.len()),
        });
    }
    let known = usize::try_from(written.saturating_sub(slice.bytes.start)).unwrap_or(usize::MAX);
    Ok(bytes.slice(known.min(bytes.len())..))
}

/// A segment that is being written.
struct Filling {
    draft: Draft,
    written: u64,
    own: Option<Own>,
}

impl Filling {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.own.take_if(|own| !own.holds(bytes, self.written));
        self.draft.write(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Fills it up to `size`.
    fn finish(mut self, size: u64) -> io::Result<Draft> {
        let mut filler = vec![0; FILLER_BYTES];
        while self.written < size {
            let now = usize::try_from(size - self.written).unwrap_or(FILLER_BYTES).min(FILLER_BYTES);
            match &self.own {
                Some(own) => own.file.read_exact_at(&mut filler[..now], self.written)?,
                None => filler.fill(0),
            }
            self.draft.write(&filler[..now])?;
            self.written += now as u64;
        }
        Ok(self.draft)
    }
}

/// The server's own file of the segment that it asks for, which the one that it gets takes the place of (`KeepFileRestoredFromArchive` in
/// `access/transam/xlogarchive.c`). A standby may have received more from its primary than is stored; it has told others that it has it,
/// and a walsender reads it from this file. What lies behind the same beginning is kept. A file that once had another name does not have that
/// beginning.
struct Own {
    file: File,
}

impl Own {
    fn beside(destination: &Path, name: SegmentName, size: u64) -> Option<Self> {
        let path = parent_of(destination).join(name.to_string());
        let file = File::open(&path).ok().filter(|_| path != destination)?;
        file.metadata().ok().filter(|found| found.len() == size).map(|_| Self { file })
    }

    /// Whether it has these bytes at that place.
    fn holds(&self, bytes: &[u8], at: u64) -> bool {
        let mut own = vec![0; bytes.len()];
        self.file.read_exact_at(&mut own, at).is_ok() && own == bytes
    }
}

/// Runs a writer on a thread that may wait.
async fn blocking<T: Send + 'static>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|panic| Error::Interrupted { detail: panic.to_string() })?;
    done.map_err(|source| Error::Write { path: path.to_owned(), source })
}
