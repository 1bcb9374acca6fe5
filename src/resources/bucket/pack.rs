//! Packs: tar files in which the content of objects lies, many small ones in one, a large one alone.

use super::error::Result;
use super::line::Place;
use crate::repository::{BackupId, BackupObject, Draft, ObjectWriter};

/// A pack that has so many bytes takes no more objects.
const PACK_BYTES: u64 = 128 << 20;
/// An object of this size or more has a pack of its own: when it changes, nothing else is kept with its old content.
const ALONE_BYTES: u64 = 64 << 20;
/// A tar file consists of blocks of this size.
const BLOCK: usize = 512;
/// What stands in for content that is not to be had.
const ZEROS: [u8; 4096] = [0; 4096];

/// The packs of one backup, one of which is open.
pub(super) struct Packs<'a> {
    draft: &'a Draft,
    open: Option<OpenPack>,
    begun: u32,
    finished: Vec<BackupObject>,
}

struct OpenPack {
    name: String,
    writer: ObjectWriter,
    bytes: u64,
    members: u32,
}

/// An object on its way into a pack.
#[derive(Debug)]
pub(super) struct Member {
    /// Where its content is.
    pub place: Place,
    missing: u64,
    size: u64,
}

impl<'a> Packs<'a> {
    /// No pack yet.
    pub const fn new(draft: &'a Draft) -> Self {
        Self { draft, open: None, begun: 0, finished: Vec::new() }
    }

    /// Begins a member of that size, which is then written.
    pub async fn begin(&mut self, size: u64) -> Result<Member> {
        if self.open.as_ref().is_some_and(|open| open.bytes >= PACK_BYTES || size >= ALONE_BYTES) {
            self.close().await?;
        }
        let id = self.draft.id();
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                self.begun += 1;
                self.open.insert(OpenPack::begin(self.draft, self.begun))
            }
        };
        let place = open.begin_member(id, size).await?;
        Ok(Member { place, missing: size, size })
    }

    /// Writes content of a member; all of it must come before the next member begins.
    pub async fn write(&mut self, member: &mut Member, content: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        member.missing = member.missing.saturating_sub(content.len() as u64);
        open.write(content).await?;
        if member.missing == 0 {
            open.pad(member.size).await?;
            if member.size >= ALONE_BYTES {
                self.close().await?;
            }
        }
        Ok(())
    }

    /// Gives a member up that cannot be read to its end: it stays as one that nothing refers to, or goes with its pack.
    pub async fn give_up(&mut self, mut member: Member) -> Result<()> {
        if member.size >= ALONE_BYTES {
            self.open = None;
            return Ok(());
        }
        while member.missing > 0 {
            let zeros = usize::try_from(member.missing).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.write(&mut member, &ZEROS[..zeros]).await?;
        }
        Ok(())
    }

    /// Ends the last pack; all of them, each followed by its index.
    pub async fn finish(mut self) -> Result<Vec<BackupObject>> {
        self.close().await?;
        Ok(self.finished)
    }

    async fn close(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        // Two blocks of zeros end a tar file.
        open.write(&[0; 2 * BLOCK]).await?;
        self.finished.extend(self.draft.finish_object(open.writer).await?);
        Ok(())
    }
}

impl OpenPack {
    fn begin(draft: &Draft, number: u32) -> Self {
        let name = format!("content-{number:06}.tar");
        let writer = draft.begin_object(&name);
        let name = format!("{name}.{}", draft.writers().compression().extension());
        Self { name, writer, bytes: 0, members: 0 }
    }

    async fn begin_member(&mut self, id: &BackupId, size: u64) -> Result<Place> {
        let member = format!("{:06}", self.members);
        self.members += 1;
        self.write(&header(&member, size)).await?;
        Ok(Place { pack: format!("{id}/{}", self.name), member, offset: self.bytes })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(self.writer.write(bytes).await?)
    }

    async fn pad(&mut self, size: u64) -> Result<()> {
        let beyond = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or_default();
        self.write(&[0; BLOCK][..beyond]).await
    }
}

/// The header of a member in the ustar format. Sizes that eight octal digits and three more do not hold are written as GNU tar does.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    match size {
        small if small < 1 << 33 => put(124, format!("{small:011o}\0").as_bytes()),
        large => {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &large.to_be_bytes());
        }
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_by_another_reader() {
        for size in [0, 1, 511, (1 << 33) - 1, 1 << 33, 5 << 40] {
            let bytes = header("000042", size);
            let header = tar::Header::from_byte_slice(&bytes);
            assert_eq!(header.size().expect("a size"), size);
            assert_eq!(header.path().expect("a path").to_str(), Some("000042"));
            let sum: u32 =
                bytes.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
            assert_eq!(header.cksum().expect("a checksum"), sum);
        }
    }
}
