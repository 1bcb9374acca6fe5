//! Splits the server's archives into packs at file boundaries.
//!
//! A pack is an ordinary tar file: headers as they were sent, the content, padding, an end of its own. One pack belongs to one archive.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use bytes::Bytes;

use super::error::{Error, Result};
use super::limits::Limits;
use super::objects::{Objects, PackEnd};
use super::tally::FileTally;
use crate::pg::tar::{BLOCK_BYTES, END, Event, Kind, Member, TarParser, padding};
use crate::repository::{EntryKind, EntryPath, PackArchive, PackEntry, PackName};

/// The archives on their way into packs.
pub struct Packs {
    limits: Limits,
    reading: Option<(PackArchive, TarParser)>,
    open: Option<OpenPack>,
    made: u32,
    sent: Sent,
}

/// What was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// Every file.
    pub files: FileTally,
    /// How many bytes there are in the packs of each archive.
    pub bytes: BTreeMap<PackArchive, u64>,
    /// The content of `backup_label`.
    pub backup_label: Vec<u8>,
    /// The last file of the data directory.
    pub last_base_file: Vec<u8>,
}

/// `backup_label` has about 250 bytes; no other file of that name is kept.
const LABEL_BYTES_MAX: u64 = 64 << 10;
const LABEL: &[u8] = b"backup_label";

/// A pack that is being written.
struct OpenPack {
    name: PackName,
    archive: PackArchive,
    plain_bytes: u64,
    entries: Vec<PackEntry>,
}

impl Packs {
    pub fn new(limits: Limits) -> Self {
        Self { limits, reading: None, open: None, made: 0, sent: Sent::default() }
    }

    /// Begins an archive; the one before must be complete.
    pub async fn begin(&mut self, archive: PackArchive, objects: &mut Objects) -> Result<()> {
        self.end_archive(objects).await?;
        if self.sent.bytes.insert(archive, 0).is_some() {
            return Err(Error::Incomplete(format!("{archive} was sent twice")));
        }
        self.reading = Some((archive, TarParser::new()));
        Ok(())
    }

    /// Takes the next bytes of the archive.
    pub async fn write(&mut self, bytes: Bytes, objects: &mut Objects) -> Result<()> {
        if let Some((_, parser)) = self.reading.as_mut() {
            parser.push(bytes);
        }
        while let Some((archive, parser)) = self.reading.as_mut() {
            let archive = *archive;
            match parser.next_event().map_err(|source| Error::Archive { archive, source })? {
                None => return Ok(()),
                Some(Event::Member { member, header }) => self.begin_entry(archive, member, &header, objects).await?,
                Some(Event::Content(content)) => self.content(&content, objects).await?,
                Some(Event::MemberEnd) => self.end_entry(objects).await?,
            }
        }
        Err(Error::Incomplete("data before the first archive".into()))
    }

    /// Ends the last archive.
    pub async fn finish(mut self, objects: &mut Objects) -> Result<Sent> {
        self.end_archive(objects).await?;
        Ok(self.sent)
    }

    async fn end_archive(&mut self, objects: &mut Objects) -> Result<()> {
        if let Some((archive, parser)) = self.reading.take() {
            parser.finish().map_err(|source| Error::Archive { archive, source })?;
        }
        self.end_pack(objects).await
    }

    async fn begin_entry(&mut self, archive: PackArchive, member: Member, header: &[u8], objects: &mut Objects) -> Result<()> {
        if self.open.as_ref().is_some_and(|pack| !pack.has_room(member.size, &self.limits)) {
            self.end_pack(objects).await?;
        }
        if self.open.is_none() {
            self.made += 1;
            let name = PackName(self.made);
            objects.begin(&name.pack(objects.compression().extension()));
            self.open = Some(OpenPack { name, archive, plain_bytes: 0, entries: Vec::new() });
        }
        if let Some(pack) = self.open.as_mut() {
            pack.plain_bytes += header.len() as u64;
            pack.entries.push(entry(member, pack.plain_bytes));
        }
        objects.write(header).await
    }

    async fn content(&mut self, content: &[u8], objects: &mut Objects) -> Result<()> {
        if let Some(pack) = self.open.as_mut() {
            pack.plain_bytes += content.len() as u64;
            if let Some(entry) = pack.entries.last_mut() {
                entry.crc32c = crc32c::crc32c_append(entry.crc32c, content);
                if pack.archive == PackArchive::Base && is_label(entry) {
                    self.sent.backup_label.extend_from_slice(content);
                }
            }
        }
        objects.write(content).await
    }

    async fn end_entry(&mut self, objects: &mut Objects) -> Result<()> {
        let Some(pack) = self.open.as_mut() else { return Ok(()) };
        let Some(entry) = pack.entries.last().filter(|entry| entry.kind == EntryKind::File) else { return Ok(()) };
        self.sent.files.add(&pack.archive.manifest_path(entry.path.as_bytes()), entry.size, entry.crc32c);
        if pack.archive == PackArchive::Base {
            self.sent.last_base_file = entry.path.as_bytes().to_vec();
        }
        let padding = padding(entry.size);
        pack.plain_bytes += padding as u64;
        objects.write(&END[..padding]).await
    }

    async fn end_pack(&mut self, objects: &mut Objects) -> Result<()> {
        let Some(pack) = self.open.take() else { return Ok(()) };
        objects.write(&END).await?;
        *self.sent.bytes.entry(pack.archive).or_default() += pack.plain_bytes + END.len() as u64;
        objects.end_pack(PackEnd { name: pack.name, archive: pack.archive, entries: pack.entries }).await
    }
}

impl OpenPack {
    /// Whether an entry with so much content still belongs here.
    fn has_room(&self, size: u64, limits: &Limits) -> bool {
        let with_it = self.plain_bytes + (BLOCK_BYTES + END.len() + padding(size)) as u64 + size;
        with_it <= limits.pack_bytes && self.entries.len() < limits.pack_entries
    }
}

fn is_label(entry: &PackEntry) -> bool {
    entry.path.as_bytes() == LABEL && entry.size <= LABEL_BYTES_MAX
}

fn entry(member: Member, offset: u64) -> PackEntry {
    let kind = match member.kind {
        Kind::File => EntryKind::File,
        Kind::Directory => EntryKind::Directory,
        Kind::Link(target) => EntryKind::Link(path(target)),
    };
    let Member { size, mode, modified, .. } = member;
    PackEntry { path: path(member.path), kind, mode, modified, offset, size, crc32c: 0 }
}

fn path(path: PathBuf) -> EntryPath {
    EntryPath(path.into_os_string().into_vec())
}
