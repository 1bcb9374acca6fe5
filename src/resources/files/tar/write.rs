//! From a member to the blocks that stand before its content.

use std::ops::Range;

use super::header::{Header, field};
use super::{BLOCK, Kind, Member, pax};

/// What ends an archive.
pub(in crate::resources::files) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The zeros behind content.
type Padding = &'static [u8];

/// The longest number that an octal field of eight bytes holds.
const ID_MAX: u32 = 0o7_777_777;
/// The largest size that a plain header holds.
const SIZE_MAX: u64 = 0o77_777_777_777;

/// How many bytes of the archive the content of a member takes, without padding: data and the map of a sparse file.
pub(in crate::resources::files) fn content_bytes(member: &Member) -> u64 {
    match (&member.kind, &member.data) {
        (Kind::File, Some(data)) => map(data).len() as u64 + data.iter().map(|part| part.end - part.start).sum::<u64>(),
        (Kind::File, None) => member.size,
        _ => 0,
    }
}

/// The zeros that follow content of so many bytes.
pub(in crate::resources::files) fn padding(bytes: u64) -> Padding {
    let over = usize::try_from(bytes % BLOCK as u64).unwrap_or(0);
    if over == 0 { &[] } else { &END[..BLOCK - over] }
}

/// Everything that stands before the data of a member: headers, and the map of a sparse file.
pub(in crate::resources::files) fn encode(member: &Member) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(3 * BLOCK);
    let records = records(member);
    if !records.is_empty() {
        let mut header = Header::new(b'x');
        header.text(field::NAME, b"./PaxHeaders/member");
        header.number(field::MODE, 0o600);
        header.number(field::SIZE, records.len() as u64);
        blocks.extend_from_slice(&header.finish());
        blocks.extend_from_slice(&records);
        blocks.extend_from_slice(padding(records.len() as u64));
    }
    blocks.extend_from_slice(&own_header(member));
    if let (Kind::File, Some(data)) = (&member.kind, &member.data) {
        blocks.extend_from_slice(&map(data));
    }
    blocks
}

fn own_header(member: &Member) -> [u8; BLOCK] {
    let kind = match member.kind {
        Kind::File => b'0',
        Kind::HardLink(_) => b'1',
        Kind::Symlink(_) => b'2',
        Kind::Directory => b'5',
    };
    let mut header = Header::new(kind);
    header.text(field::NAME, &stored_name(member));
    header.number(field::MODE, u64::from(member.mode));
    header.number(field::UID, u64::from(member.uid));
    header.number(field::GID, u64::from(member.gid));
    header.number(field::SIZE, content_bytes(member));
    header.number(field::MTIME, u64::try_from(member.modified.0).unwrap_or(0));
    if let Kind::Symlink(target) | Kind::HardLink(target) = &member.kind {
        header.text(field::LINK, target);
    }
    // A name that is cut would be another one's.
    for (at, name) in [(field::USER, &member.user), (field::GROUP, &member.group)] {
        header.text(at.clone(), if name.len() < at.len() { name.as_bytes() } else { b"" });
    }
    header.finish()
}

/// The name in the plain header: directories end in a slash, and sparse files have one that no reader without the map takes for theirs.
fn stored_name(member: &Member) -> Vec<u8> {
    let mut name = member.path.clone();
    if member.kind == Kind::Directory {
        name.push(b'/');
    }
    if member.kind == Kind::File && member.data.is_some() {
        name.splice(..0, *b"GNUSparseFile.0/");
    }
    name
}

/// What the plain header has no room for.
fn records(member: &Member) -> Vec<u8> {
    let mut records = Vec::new();
    let name = stored_name(member);
    if name.len() > field::NAME.len() {
        pax::push(&mut records, b"path", &name);
    }
    if let Kind::Symlink(target) | Kind::HardLink(target) = &member.kind
        && target.len() > field::LINK.len()
    {
        pax::push(&mut records, b"linkpath", target);
    }
    for (key, id) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if id > ID_MAX {
            pax::push(&mut records, key, id.to_string().as_bytes());
        }
    }
    if member.modified.1 != 0 || !(0..=0o77_777_777_777).contains(&member.modified.0) {
        pax::push(&mut records, b"mtime", pax::time(member.modified).as_bytes());
    }
    if content_bytes(member) > SIZE_MAX {
        pax::push(&mut records, b"size", content_bytes(member).to_string().as_bytes());
    }
    if member.kind == Kind::File && member.data.is_some() {
        pax::push(&mut records, b"GNU.sparse.major", b"1");
        pax::push(&mut records, b"GNU.sparse.minor", b"0");
        pax::push(&mut records, b"GNU.sparse.name", &member.path);
        pax::push(&mut records, b"GNU.sparse.realsize", member.size.to_string().as_bytes());
    }
    for (name, value) in &member.attributes {
        pax::push(&mut records, &pax::attribute_key(name), value);
    }
    records
}

/// Where the data of a sparse file lies: the number of parts, then offset and size of each, a line for each number, padded to a block.
fn map(data: &[Range<u64>]) -> Vec<u8> {
    let mut text = format!("{}\n", data.len());
    data.iter().for_each(|part| text.push_str(&format!("{}\n{}\n", part.start, part.end - part.start)));
    let mut map = text.into_bytes();
    map.extend_from_slice(padding(map.len() as u64));
    map
}
