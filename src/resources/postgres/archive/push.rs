//! One file from PostgreSQL's `pg_wal` into the repository: what `archive_command` asks for.
//!
//! Invariants: a file is checked against its name, its cluster and its size before a byte of it is stored. When `push` returns `Ok`
//! all of it is durable. The same content again is success, other content under the same name is an error. Memory does not grow with
//! the segment size: segments of more than `PIECE_BYTES` are read and stored piece by piece.

mod cluster;
mod error;
mod read;

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::agreement::{Agreement, Offer};
use super::foreign::foreign_wal;
use super::gap::of_minimal_wal;
use super::joins;
use crate::pg::history::TimelineHistory;
use crate::pg::page::{check_first_page, check_segment};
use crate::pg::records::{Activity, Scanner};
use crate::pg::{Lsn, SegmentName, SegmentSize, SystemId, WalFileName};
use crate::repository::{self, Conflict, Repository, ResourceName, Slice, Stored, WalAbout, WalArchive, WalObject, WalSource};
use crate::sys::clock;
use read::SourceFile;

pub use error::{Error, Result};

/// Segments up to this size are one object; larger ones are stored for good as slices that begin and end at multiples of it.
pub const PIECE_BYTES: u64 = 16 << 20;

/// The same as a step.
const PIECE_STEP: usize = 16 << 20;

/// No history or `.backup` file is larger.
const SMALL_FILE_BYTES_MAX: u64 = 1 << 20;

/// Pushes the files of one resource. Remembers which clusters the repository knows, so that one value serves many files.
#[derive(Debug)]
pub struct Pusher {
    repository: Repository,
    resource: ResourceName,
    archives: Mutex<HashMap<SystemId, WalArchive>>,
}

/// A file that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Its name.
    pub name: WalFileName,
    /// Whether it was stored before, with the same content.
    pub stored: Stored,
}

impl Pusher {
    /// Pushes into `repository`, under the name `resource`.
    #[must_use]
    pub fn new(repository: Repository, resource: ResourceName) -> Self {
        Self { repository, resource, archives: Mutex::default() }
    }

    /// As `Repository::room_for`.
    #[must_use]
    pub fn room_for(&self, plain_bytes: u64) -> u64 {
        self.repository.room_for(plain_bytes)
    }

    /// Stores the file at `path`, which lies in the `pg_wal` of its cluster, or is a copy of such a file.
    ///
    /// # Errors
    /// When it is not what its name says, is another cluster's, or cannot be stored. Nothing of it counts as stored then.
    pub async fn push(&self, path: &Path) -> Result<Pushed> {
        let pushed = self.try_push(path).await;
        if let Err(error) = &pushed {
            self.note_conflict(path, error).await;
        }
        pushed
    }

    async fn try_push(&self, path: &Path) -> Result<Pushed> {
        let name: WalFileName = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().parse()?;
        let file = SourceFile::open(path).await?;
        let archive = self.archive_of(&file, name).await?;
        let stored = match name {
            WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
                if archive.segment_size().bytes() <= PIECE_BYTES {
                    whole(&archive, &file, name, segment).await?
                } else {
                    pieces(&archive, &file, name, segment).await?
                }
            }
            WalFileName::Backup(..) | WalFileName::History(_) => small(&archive, &file, name).await?,
        };
        Ok(Pushed { name, stored })
    }

    /// Records that a segment was refused, if that is what the error says. That it cannot be recorded makes nothing worse.
    async fn note_conflict(&self, path: &Path, error: &Error) {
        let Some(WalFileName::Segment(segment)) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { return };
        let (at, stored) = match error {
            Error::Contradiction(found) => (found.at, found.stored.clone()),
            Error::NotJoined(broken) => (broken.first, "the segment beside it".to_owned()),
            Error::Repository(repository::Error::Conflict { object, .. }) => (Lsn::INVALID, object.clone()),
            _ => return,
        };
        let Ok(Some(system_id)) = cluster::of_directory(path).await else { return };
        let Ok(archive) = self.known(system_id).await else { return };
        let at = at.max(start_of(segment, archive.segment_size()));
        let conflict = Conflict { segment, at, stored, refused: path.display().to_string(), noticed_at: clock::now() };
        if let Err(error) = archive.put_conflict(&conflict).await {
            tracing::warn!(resource = %self.resource, "the conflict could not be recorded: {error}");
        }
    }

    /// The segment size of the cluster whose `pg_wal` a file lies in, if that cluster is known.
    pub async fn segment_size_of(&self, path: &Path) -> Option<SegmentSize> {
        let system_id = cluster::of_directory(path).await.ok()??;
        self.known(system_id).await.ok().map(|archive| archive.segment_size())
    }

    /// The WAL of the cluster that the file belongs to.
    async fn archive_of(&self, file: &SourceFile, name: WalFileName) -> Result<WalArchive> {
        let system_id = match cluster::of_file(file, name).await? {
            Some(system_id) => system_id,
            None => self.only_cluster(file).await?,
        };
        self.known(system_id).await
    }

    /// The WAL of a cluster that the repository knows.
    async fn known(&self, system_id: SystemId) -> Result<WalArchive> {
        let mut archives = self.archives.lock().await;
        if let Some(archive) = archives.get(&system_id) {
            return Ok(archive.clone());
        }
        let lineage = self.repository.lineage_of(&self.resource, system_id).await?;
        let archive = self.repository.wal(&self.resource, &lineage);
        archives.insert(system_id, archive.clone());
        Ok(archive)
    }

    async fn only_cluster(&self, file: &SourceFile) -> Result<SystemId> {
        match self.repository.only_lineage(&self.resource).await? {
            Some(lineage) => Ok(lineage.system_id),
            None => Err(Error::UnknownCluster { path: file.path().to_owned(), resource: self.resource.to_string() }),
        }
    }
}

/// Stores a segment, or the unfinished one of a timeline that has ended, as one object.
async fn whole(archive: &WalArchive, file: &SourceFile, name: WalFileName, segment: SegmentName) -> Result<Stored> {
    let (size, system_id) = (archive.segment_size(), archive.system_id());
    file.check_length(segment, size)?;
    let bytes = file.read(0..size.bytes()).await?;
    let checked = tokio::task::spawn_blocking(move || {
        check_segment(&bytes, segment, size, Some(system_id))?;
        let mut scanner = Scanner::new(start_of(segment, size), size);
        scanner.feed(&bytes);
        Ok::<_, Error>((bytes, scanner.take_activity()))
    });
    let (bytes, activity) = checked.await.map_err(|panic| Error::Interrupted { detail: panic.to_string() })??;
    let start = start_of(segment, size);
    let end = match name {
        // Behind the last record of an unfinished segment there is no WAL, whatever bytes the file has there.
        WalFileName::Partial(_) => activity.end.unwrap_or(start),
        _ => Lsn(start.0 + size.bytes()),
    };
    let about = about(archive, start..end, &activity);
    if name != WalFileName::Segment(segment) {
        let stored = archive.put_file(name, bytes, &about).await?;
        note_minimal(archive, segment, &activity).await?;
        return Ok(stored);
    }
    let offer = Offer { object: WalObject::File(name), segment, range: 0..size.bytes(), plain: bytes, around: None };
    let mut created = false;
    let stored = Agreement::new(archive.clone()).store(&offer, &about, &mut created).await?;
    joined(archive, segment, &activity, &[offer.object], created).await?;
    note_minimal(archive, segment, &activity).await?;
    Ok(stored)
}

/// Records where the server went over to `wal_level = minimal`, before the segment with that record counts as stored.
async fn note_minimal(archive: &WalArchive, segment: SegmentName, activity: &Activity) -> Result<()> {
    if let Some(gap) = of_minimal_wal(segment.timeline(), activity) {
        archive.put_gap(&gap).await?;
    }
    Ok(())
}

/// Sees whether a segment that was just stored joins its neighbours; takes back what was created of it where it does not. Looking
/// afterwards, of two neighbours that are pushed at once the later one sees the other.
async fn joined(
    archive: &WalArchive,
    segment: SegmentName,
    activity: &Activity,
    objects: &[WalObject],
    created: bool,
) -> Result<()> {
    let Err(broken) = joins::check_both(archive, segment, activity).await? else { return Ok(()) };
    if created {
        for object in objects {
            archive.delete(object).await?;
        }
    }
    Err(broken.into())
}

/// Stores a segment of more than `PIECE_BYTES` as slices; of an unfinished one those that hold WAL.
async fn pieces(archive: &WalArchive, file: &SourceFile, name: WalFileName, segment: SegmentName) -> Result<Stored> {
    let size = archive.segment_size();
    file.check_length(segment, size)?;
    let start = start_of(segment, size);
    let mut scanner = Scanner::new(start, size);
    let (mut stored, agreement) = (Stored::Identical, Agreement::new(archive.clone()));
    let (mut all, mut created) = (Activity::default(), Vec::new());
    let limit = match name {
        WalFileName::Partial(_) => wal_bytes(archive, file, segment).await?,
        _ => size.bytes(),
    };
    for at in (0..limit).step_by(PIECE_STEP) {
        let range = at..(at + PIECE_BYTES).min(limit);
        let bytes = file.read(range.clone()).await?;
        if at == 0 {
            check_first_page(&bytes, segment, size, Some(archive.system_id()))?;
        }
        let (bytes, activity, back) = scan(scanner, bytes).await?;
        scanner = back;
        all.extend(activity.clone());
        let slice = Slice { segment, bytes: range.clone() };
        let about = about(archive, Lsn(start.0 + range.start)..Lsn(start.0 + range.end), &activity);
        let put = if matches!(name, WalFileName::Partial(_)) {
            // What it holds behind its last record is no WAL, and need not agree with anything.
            archive.put_slice(&slice, bytes, &about).await?
        } else {
            let offer = Offer { object: WalObject::Slice(slice), segment, range, plain: bytes, around: None };
            let mut new = false;
            let put = agreement.store(&offer, &about, &mut new).await?;
            created.extend(new.then_some(offer.object));
            put
        };
        if put == Stored::New {
            stored = Stored::New;
        }
    }
    if name == WalFileName::Segment(segment) {
        joined(archive, segment, &all, &created, true).await?;
    }
    note_minimal(archive, segment, &all).await?;
    Ok(stored)
}

/// How much of an unfinished segment is WAL, in bytes. Behind its last record the file holds zeros or what was there before: stored as
/// this timeline's, that would contradict what its server may have written there.
async fn wal_bytes(archive: &WalArchive, file: &SourceFile, segment: SegmentName) -> Result<u64> {
    let size = archive.segment_size();
    let start = start_of(segment, size);
    let (mut scanner, mut end) = (Scanner::new(start, size), start);
    for at in (0..size.bytes()).step_by(PIECE_STEP) {
        let (_, activity, back) = scan(scanner, file.read(at..at + PIECE_BYTES).await?).await?;
        scanner = back;
        end = activity.end.map_or(end, |found| end.max(found));
    }
    Ok(end.bytes_since(start))
}

/// Follows the records of one piece, on a thread that may be busy.
async fn scan(mut scanner: Scanner, bytes: Bytes) -> Result<(Bytes, Activity, Scanner)> {
    let scanned = tokio::task::spawn_blocking(move || {
        scanner.feed(&bytes);
        (bytes, scanner.take_activity(), scanner)
    });
    scanned.await.map_err(|panic| Error::Interrupted { detail: panic.to_string() })
}

/// Stores a history or `.backup` file.
async fn small(archive: &WalArchive, file: &SourceFile, name: WalFileName) -> Result<Stored> {
    if file.length() > SMALL_FILE_BYTES_MAX {
        return Err(file.malformed(format!("{} bytes are more than such a file has", file.length())));
    }
    let bytes = file.read(0..file.length()).await?;
    check_small(&bytes, name).map_err(|detail| file.malformed(detail))?;
    if let WalFileName::History(timeline) = name {
        let history = TimelineHistory::parse(timeline, &bytes).map_err(|error| file.malformed(error.to_string()))?;
        if let Some(foreign) = foreign_wal(archive, &history).await? {
            return Err(foreign.into());
        }
    }
    let about =
        WalAbout { system_id: archive.system_id(), source: WalSource::ArchiveCommand, start: None, end: None, activity: None };
    Ok(archive.put_file(name, bytes, &about).await?)
}

fn check_small(bytes: &[u8], name: WalFileName) -> std::result::Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    match name {
        WalFileName::History(timeline) => {
            let history = TimelineHistory::parse(timeline, bytes).map_err(|error| error.to_string())?;
            if history.parent().is_none() {
                return Err("it names no ancestor".to_owned());
            }
        }
        // As `pg_backup_stop` writes it: the segment in its first line is that of the name.
        WalFileName::Backup(segment, _) if !text.lines().next().is_some_and(|line| line.contains(&segment.to_string())) => {
            return Err(format!("its first line does not name segment {segment}"));
        }
        _ => {}
    }
    Ok(())
}

fn start_of(segment: SegmentName, size: SegmentSize) -> Lsn {
    segment.number(size).map_or(Lsn::INVALID, |number| number.start(size))
}

fn about(archive: &WalArchive, range: std::ops::Range<Lsn>, activity: &Activity) -> WalAbout {
    WalAbout {
        system_id: archive.system_id(),
        source: WalSource::ArchiveCommand,
        start: Some(range.start),
        end: Some(range.end),
        activity: Some(activity.clone()),
    }
}

#[cfg(test)]
mod tests;
