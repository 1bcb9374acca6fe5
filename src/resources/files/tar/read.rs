//! From an archive to its members. Nothing in an archive is trusted: what could lead out of a directory, or make a device, is refused.

use std::io::{self, Read};
use std::ops::Range;

use super::header::{Header, field};
use super::write::padding;
use super::{BLOCK, Kind, Member, pax};

/// The largest pax header that is read: an extended attribute has at most 64 KiB, all of a file hardly more.
const PAX_BYTES_MAX: u64 = 16 << 20;
/// The most parts of a sparse file.
const PARTS_MAX: u64 = 1 << 20;
/// How much content is handed on at once.
const PIECE_BYTES: usize = 128 << 10;

/// Why an archive is not unpacked any further.
#[derive(Debug, thiserror::Error)]
pub(in crate::resources::files) enum Refused {
    /// It cannot be read, or what its content was for failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no archive, or damaged.
    #[error("the archive is malformed: {0}")]
    Malformed(String),
    /// A member would be written where it does not belong.
    #[error("the archive has a member {0:?} that leads out of its directory")]
    Escapes(String),
    /// A member is a device or something else that no backup has.
    #[error("the archive has a member {0:?} that is neither a file nor a directory nor a link")]
    Foreign(String),
}

/// An archive that is being read.
pub(in crate::resources::files) struct Archive<R> {
    source: R,
    /// The content of the last member that has not been read: data and padding.
    rest: u64,
    padding: u64,
    parts: std::vec::IntoIter<Range<u64>>,
}

/// What pax headers say of the member behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<(i64, u32)>,
    size: Option<u64>,
    sparse_name: Option<Vec<u8>>,
    real_size: Option<u64>,
    is_sparse: bool,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

fn malformed<T>(what: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Malformed(what.into()))
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl<R: Read> Archive<R> {
    pub(in crate::resources::files) fn new(source: R) -> Self {
        Self { source, rest: 0, padding: 0, parts: Vec::new().into_iter() }
    }

    /// The next member; `None` at the end of the archive. What was not read of the content of the one before is passed over.
    pub(in crate::resources::files) fn next_member(&mut self) -> Result<Option<Member>, Refused> {
        self.content(|_, _| Ok(()))?;
        let mut extended = Extended::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.read_number(field::SIZE).ok_or_else(|| Refused::Malformed("a size is no number".into()))?;
            match header.0[field::KIND] {
                b'x' => extended.read(&self.block(size)?)?,
                b'g' => drop(self.block(size)?),
                _ => return self.member(&header, size, extended).map(Some),
            }
        }
    }

    /// Hands on the content of the member: pieces and their offsets in the file. Holes are passed over.
    pub(in crate::resources::files) fn content(
        &mut self,
        mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), Refused> {
        let mut piece = vec![0; if self.rest > 0 { PIECE_BYTES } else { 0 }];
        for part in std::mem::take(&mut self.parts) {
            let mut at = part.start;
            while at < part.end {
                let wanted = usize::try_from(part.end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                self.source.read_exact(&mut piece[..wanted])?;
                self.rest -= wanted as u64;
                take(at, &piece[..wanted])?;
                at += wanted as u64;
            }
        }
        let over = std::mem::take(&mut self.padding) + std::mem::take(&mut self.rest);
        let passed = io::copy(&mut self.source.by_ref().take(over), &mut io::sink())?;
        if passed == over { Ok(()) } else { malformed("it ends within a member") }
    }

    /// Reads what follows the end mark, so that the whole source was read.
    pub(in crate::resources::files) fn finish(mut self) -> Result<(), Refused> {
        io::copy(&mut self.source, &mut io::sink())?;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, Refused> {
        let mut header = Header([0; BLOCK]);
        self.source.read_exact(&mut header.0)?;
        if header.0.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if header.read_number(field::CHECKSUM) != Some(header.sum()) {
            return malformed("the checksum of a header is wrong");
        }
        Ok(Some(header))
    }

    /// Content that is read whole: that of a pax header.
    fn block(&mut self, size: u64) -> Result<Vec<u8>, Refused> {
        if size > PAX_BYTES_MAX {
            return malformed(format!("a pax header of {size} bytes"));
        }
        let mut content = Vec::new();
        self.source.by_ref().take(size + padding(size).len() as u64).read_to_end(&mut content)?;
        if (content.len() as u64) < size {
            return malformed("it ends within a pax header");
        }
        content.truncate(usize::try_from(size).unwrap_or(content.len()));
        Ok(content)
    }

    fn member(&mut self, header: &Header, size: u64, extended: Extended) -> Result<Member, Refused> {
        let number = |field: Range<usize>| header.read_number(field).and_then(|number| u32::try_from(number).ok());
        let wrong = || Refused::Malformed("a number in a header is none".into());
        let path = member_path(header, &extended)?;
        let link = extended.link.clone().unwrap_or_else(|| header.read_text(field::LINK).to_vec());
        let kind = match header.0[field::KIND] {
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink(inside(&link)?),
            b'2' => Kind::Symlink(link),
            b'5' => Kind::Directory,
            _ => return Err(Refused::Foreign(shown(&path))),
        };
        let stored = extended.size.unwrap_or(size);
        (self.rest, self.padding) = (stored, padding(stored).len() as u64);
        let data = if extended.is_sparse && kind == Kind::File { Some(self.read_map(&extended)?) } else { None };
        let real = if data.is_some() { extended.real_size.unwrap_or(0) } else { stored };
        let whole = Range { start: 0, end: if kind == Kind::File { stored } else { 0 } };
        self.parts = data.clone().unwrap_or_else(|| vec![whole]).into_iter();
        Ok(Member {
            mode: number(field::MODE).ok_or_else(wrong)? & 0o7777,
            uid: extended.uid.or_else(|| number(field::UID)).ok_or_else(wrong)?,
            gid: extended.gid.or_else(|| number(field::GID)).ok_or_else(wrong)?,
            user: shown(header.read_text(field::USER)),
            group: shown(header.read_text(field::GROUP)),
            modified: match extended.modified {
                Some(time) => time,
                None => (header.read_number(field::MTIME).and_then(|time| i64::try_from(time).ok()).ok_or_else(wrong)?, 0),
            },
            size: if kind == Kind::File { real } else { 0 },
            attributes: extended.attributes,
            path,
            kind,
            data,
        })
    }

    /// The map of a sparse file, which stands before its data.
    fn read_map(&mut self, extended: &Extended) -> Result<Vec<Range<u64>>, Refused> {
        let (mut numbers, mut line, mut read) = (Vec::new(), Vec::new(), 0_u64);
        let mut wanted = 1;
        let mut block = [0; BLOCK];
        while (numbers.len() as u64) < wanted {
            if self.rest < BLOCK as u64 {
                return malformed("the map of a sparse file is cut short");
            }
            self.source.read_exact(&mut block)?;
            self.rest -= BLOCK as u64;
            for byte in block {
                match byte {
                    b'\n' => {
                        let text = std::str::from_utf8(&line).ok().and_then(|text| text.parse::<u64>().ok());
                        let Some(number) = text else {
                            return malformed("the map of a sparse file has something else than numbers");
                        };
                        numbers.push(number);
                        line.clear();
                        if numbers.len() == 1 {
                            wanted = number.min(PARTS_MAX + 1) * 2 + 1;
                        }
                    }
                    0 => {}
                    other if line.len() < 20 => line.push(other),
                    _ => return malformed("the map of a sparse file has something else than numbers"),
                }
                if numbers.len() as u64 == wanted {
                    break;
                }
            }
            read += BLOCK as u64;
            if read > PARTS_MAX * 48 {
                return malformed("the map of a sparse file is too long");
            }
        }
        self.parts_of(&numbers[1..], extended)
    }

    fn parts_of(&self, numbers: &[u64], extended: &Extended) -> Result<Vec<Range<u64>>, Refused> {
        let (mut parts, mut end, mut data) = (Vec::new(), 0_u64, 0_u64);
        for pair in numbers.chunks_exact(2) {
            let Some(part_end) = pair[0].checked_add(pair[1]) else { return malformed("the map of a sparse file overflows") };
            if pair[0] < end || part_end > extended.real_size.unwrap_or(0) {
                return malformed("the map of a sparse file is not in order");
            }
            (end, data) = (part_end, data + pair[1]);
            parts.push(pair[0]..part_end);
        }
        if data == self.rest { Ok(parts) } else { malformed("the map of a sparse file does not fit its data") }
    }
}

impl Extended {
    fn read(&mut self, records: &[u8]) -> Result<(), Refused> {
        let number = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let id = |value: &[u8]| number(value).and_then(|id| u32::try_from(id).ok());
        for (key, value) in pax::parse(records).ok_or_else(|| Refused::Malformed("a pax header has no records".into()))? {
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.uid = id(value),
                b"gid" => self.gid = id(value),
                b"mtime" => self.modified = pax::parse_time(value),
                b"size" => self.size = number(value),
                b"GNU.sparse.major" => self.is_sparse = value == b"1",
                b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
                b"GNU.sparse.realsize" => self.real_size = number(value),
                key => self.attributes.extend(pax::attribute_name(key).map(|name| (name, value.to_vec()))),
            }
        }
        Ok(())
    }
}

fn member_path(header: &Header, extended: &Extended) -> Result<Vec<u8>, Refused> {
    if let Some(path) = extended.sparse_name.as_ref().filter(|_| extended.is_sparse).or(extended.path.as_ref()) {
        return inside(path);
    }
    let (prefix, name) = (header.read_text(field::PREFIX), header.read_text(field::NAME));
    let is_posix = &header.0[field::MAGIC] == b"ustar\x0000";
    if prefix.is_empty() || !is_posix { inside(name) } else { inside(&[prefix, b"/", name].concat()) }
}

/// A path that stays in its directory: relative, of plain names. Slashes at its end, and second ones between names, mean nothing.
fn inside(path: &[u8]) -> Result<Vec<u8>, Refused> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let plain = |name: &&[u8]| *name != b"." && *name != b".." && !name.contains(&0);
    let fits = !names.is_empty() && !path.starts_with(b"/") && names.iter().all(plain);
    if fits { Ok(names.join(&b'/')) } else { Err(Refused::Escapes(shown(path))) }
}
