//! Reading a base backup back: every byte of every pack, every file against PostgreSQL's own manifest, and the WAL from its start to its stop.

use crate::codec::FrameIndex;
use crate::pg::page::check_segment;
use crate::pg::{SegmentName, SegmentNumber, WalFileName};
use crate::repository::{self, BackupEntry, BackupObject, Backups, EntryKind, PackEntry, PackIndex, WalArchive, WalObject};
use crate::resources::postgres::archive::coverage::stored_through;
use crate::resources::postgres::backup::manifest::ManifestReader;
use crate::resources::postgres::backup::tally::FileTally;
use crate::resources::{Result, Run, Verified};

/// Reads back a base backup and the WAL that it needs.
pub(super) async fn verify(run: &Run, backup: &BackupEntry) -> Result<Verified> {
    let detail = backup.postgres();
    let work = Work { run, backup, backups: run.repository.backups(&backup.resource) };
    let mut verified = Verified::begin(backup);
    run.progress.expect(backup.plain_bytes + detail.stop_lsn.bytes_since(detail.start_lsn));
    if let Some(locked) = work.locked().await {
        verified.say_sealed(&locked);
        for object in &backup.objects {
            verified.read_stored(run, backup, object).await?;
        }
        work.wal_is_there(&mut verified).await?;
        return Ok(verified);
    }
    let files = work.packs(&mut verified).await?;
    work.manifest(files, &mut verified).await?;
    work.wal(&mut verified).await?;
    Ok(verified)
}

struct Work<'a> {
    run: &'a Run,
    backup: &'a BackupEntry,
    backups: Backups,
}

impl Work<'_> {
    fn key(&self, object: &BackupObject) -> String {
        self.backups.key(&self.backup.id, &object.name)
    }

    /// Reads every pack and its index; returns the files as they are in the packs.
    async fn packs(&self, verified: &mut Verified) -> Result<FileTally> {
        let mut files = FileTally::default();
        for (pack, object, index_object) in self.backup.packs() {
            self.run.progress.say(format!("reading {}", object.name));
            verified.read_stored(self.run, self.backup, index_object).await?;
            let index = self.backups.get_index(&self.backup.id, pack).await;
            let Some(index) = verified.note(&self.key(index_object), index)? else { continue };
            self.pack(object, index, &mut files, verified).await?;
        }
        Ok(files)
    }

    async fn pack(&self, object: &BackupObject, index: PackIndex, files: &mut FileTally, verified: &mut Verified) -> Result<()> {
        let key = self.key(object);
        let content = self.backups.read_whole(&self.backup.id, object, &index.frames);
        let mut members = Members::new(&index);
        if !verified.read_content(self.run, &key, object, content, |plain| members.take(plain)).await? {
            return Ok(());
        }
        for entry in members.differing {
            verified.add_damage(&key, format!("file {} in it does not have the checksum of its index", entry.path));
        }
        let of_files = index.entries.iter().filter(|entry| entry.kind == EntryKind::File);
        of_files.for_each(|entry| files.add(&index.archive.manifest_path(entry.path.as_bytes()), entry.size, entry.crc32c));
        Ok(())
    }

    /// Compares the files with the manifest.
    async fn manifest(&self, files: FileTally, verified: &mut Verified) -> Result<()> {
        let manifest = &self.backup.postgres().manifest;
        let Some(object) = self.backup.object(&manifest.name) else {
            verified
                .add_damage(self.backups.key(&self.backup.id, &manifest.name), "the catalog entry does not list the manifest");
            return Ok(());
        };
        let key = self.key(object);
        let (mut reader, mut wrong) = (ManifestReader::new(files.compare()), None);
        let content = self.backups.read_whole(&self.backup.id, object, &FrameIndex::clone(&manifest.frames));
        let take = |plain: &[u8]| wrong = wrong.take().or_else(|| reader.write(plain).err());
        if !verified.read_content(self.run, &key, object, content, take).await? {
            return Ok(());
        }
        let compared = match wrong {
            Some(wrong) => Err(wrong),
            None => reader.finish(),
        };
        match compared {
            Err(wrong) => verified.add_damage(&key, wrong),
            Ok((_, files)) => {
                let count = files.len();
                let problems = files.into_problems();
                problems.named().iter().for_each(|problem| verified.add_damage(&key, problem.to_string()));
                if problems.is_empty() {
                    verified.compared.push(format!("{count} files have the checksums of backup_manifest"));
                }
            }
        }
        Ok(())
    }

    /// What is said of the backup's content where no identity is at hand that opens it.
    async fn locked(&self) -> Option<repository::Error> {
        let (pack, ..) = self.backup.packs().first().copied()?;
        self.backups.get_index(&self.backup.id, pack).await.err().filter(repository::Error::is_locked)
    }

    /// Whether there is WAL from the start to the stop without a hole: that shows without a key.
    async fn wal_is_there(&self, verified: &mut Verified) -> Result<WalArchive> {
        let detail = self.backup.postgres();
        let lineage = self.run.repository.lineage_of(&self.backup.resource, detail.system_id).await?;
        let archive = self.run.repository.wal(&self.backup.resource, &lineage);
        let coverage = stored_through(&archive, detail.timeline, detail.start_lsn..detail.stop_lsn).await?;
        if coverage.end < detail.stop_lsn {
            let detail = format!("WAL of timeline {} from {} to {} is not there", detail.timeline, coverage.end, detail.stop_lsn);
            verified.add_damage(format!("{}/wal", self.backup.resource), detail);
        }
        Ok(archive)
    }

    /// Reads the WAL without which the backup is not consistent.
    async fn wal(&self, verified: &mut Verified) -> Result<()> {
        let detail = self.backup.postgres();
        self.run.progress.say(format!("reading WAL from {} to {}", detail.start_lsn, detail.stop_lsn));
        let archive = self.wal_is_there(verified).await?;
        let size = archive.segment_size();
        let last = SegmentNumber::before(detail.stop_lsn, size).0;
        let sound_before = verified.damage.len();
        for number in SegmentNumber::containing(detail.start_lsn, size).0..=last {
            let segment = SegmentName::new(detail.timeline, SegmentNumber(number), size);
            let reading = async { Ok::<_, crate::resources::Error>(read_segment(&archive, segment).await) };
            match self.run.until_cancelled(reading).await? {
                Ok(read) => {
                    verified.stored_bytes += read.stored_bytes;
                    self.run.progress.done(read.plain_bytes);
                }
                failed => {
                    verified.note(&archive.key(WalFileName::Segment(segment)).to_string(), failed)?;
                }
            }
        }
        if verified.damage.len() == sound_before {
            verified.compared.push(format!("the WAL from {} to {} is there and sound", detail.start_lsn, detail.stop_lsn));
        }
        Ok(())
    }
}

/// How much was read of something.
#[derive(Default)]
struct Amount {
    plain_bytes: u64,
    stored_bytes: u64,
}

impl Amount {
    async fn add(&mut self, archive: &WalArchive, object: &WalObject, plain: &[u8]) -> repository::Result<()> {
        self.plain_bytes += plain.len() as u64;
        self.stored_bytes += archive.stored_bytes(object).await?.unwrap_or_default();
        Ok(())
    }
}

/// Reads what is stored of a segment and checks it; returns how much that was.
async fn read_segment(archive: &WalArchive, segment: SegmentName) -> repository::Result<Amount> {
    let (name, mut amount) = (WalFileName::Segment(segment), Amount::default());
    if let Some((_, plain)) = archive.get_file(name).await? {
        let malformed = |error: &dyn std::fmt::Display| repository::Error::Malformed {
            object: archive.key(name).to_string(),
            detail: error.to_string(),
        };
        let checked = check_segment(&plain, segment, archive.segment_size(), Some(archive.system_id()));
        checked.map_err(|error| malformed(&error))?;
        amount.add(archive, &WalObject::File(name), &plain).await?;
        return Ok(amount);
    }
    for slice in archive.slices(segment).await? {
        // One that is gone meanwhile lies in a larger object now.
        if let Some((_, plain)) = archive.get_slice(&slice).await? {
            amount.add(archive, &WalObject::Slice(slice), &plain).await?;
        }
    }
    Ok(amount)
}

/// Takes the checksums of a pack's members as its bytes pass.
struct Members<'a> {
    rest: std::slice::Iter<'a, PackEntry>,
    open: Option<&'a PackEntry>,
    crc32c: u32,
    position: u64,
    differing: Vec<&'a PackEntry>,
}

impl<'a> Members<'a> {
    fn new(index: &'a PackIndex) -> Self {
        let mut members = Self { rest: index.entries.iter(), open: None, crc32c: 0, position: 0, differing: Vec::new() };
        members.next();
        members
    }

    fn next(&mut self) {
        self.crc32c = 0;
        self.open = self.rest.by_ref().find(|entry| entry.size > 0);
    }

    fn take(&mut self, plain: &[u8]) {
        let (start, end) = (self.position, self.position + plain.len() as u64);
        while let Some(entry) = self.open {
            let content = entry.offset.max(start)..(entry.offset + entry.size).min(end);
            if content.start >= end {
                break;
            }
            let at = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX).min(plain.len());
            self.crc32c = crc32c::crc32c_append(self.crc32c, &plain[at(content.start)..at(content.end.max(content.start))]);
            if entry.offset + entry.size > end {
                break;
            }
            if self.crc32c != entry.crc32c {
                self.differing.push(entry);
            }
            self.next();
        }
        self.position = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{EntryPath, PackArchive};

    fn entry(offset: u64, content: &[u8]) -> PackEntry {
        PackEntry {
            path: EntryPath(b"a".to_vec()),
            kind: EntryKind::File,
            mode: 0o600,
            modified: 0,
            offset,
            size: content.len() as u64,
            crc32c: crc32c::crc32c(content),
        }
    }

    #[test]
    fn each_member_is_compared_whatever_the_pieces() {
        let plain: Vec<u8> = (0..=255).collect();
        let entries = vec![entry(3, &plain[3..50]), entry(50, b""), entry(60, &plain[60..61]), entry(61, &plain[61..256])];
        let index = PackIndex { format: 1, archive: PackArchive::Base, frames: FrameIndex::default(), entries };
        for piece in 1..=plain.len() {
            let mut members = Members::new(&index);
            plain.chunks(piece).for_each(|piece| members.take(piece));
            assert!(members.differing.is_empty() && members.open.is_none(), "pieces of {piece}");
            let mut altered = plain.clone();
            altered[60] ^= 1;
            let mut members = Members::new(&index);
            altered.chunks(piece).for_each(|piece| members.take(piece));
            assert_eq!(members.differing, [&index.entries[2]], "pieces of {piece}");
        }
    }
}
