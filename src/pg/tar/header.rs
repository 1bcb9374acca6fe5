//! The header of a member.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{BLOCK_BYTES, Kind, Member, TarError, inner_path};

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MODIFIED: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const VERSION: Range<usize> = 263..265;
const PREFIX: Range<usize> = 345..500;

/// Reads the header that begins at `offset` of the stream.
pub(super) fn read(block: &[u8; BLOCK_BYTES], offset: u64) -> Result<Member, TarError> {
    let error = |reason| TarError::Header { offset, reason };
    if block[MAGIC] != *b"ustar\0" || block[VERSION] != *b"00" {
        return Err(error("not a ustar header"));
    }
    if number(&block[CHECKSUM]) != Some(checksum(block)) {
        return Err(error("the header's checksum is wrong"));
    }
    let field = |range: Range<usize>, reason| number(&block[range]).ok_or(TarError::Header { offset, reason });
    let kind = match block[KIND] {
        b'0' | 0 => Kind::File,
        b'5' => Kind::Directory,
        b'2' => Kind::Link(Path::new(OsStr::from_bytes(text(&block[LINK]))).to_owned()),
        _ => return Err(error("neither a file nor a directory nor a symbolic link")),
    };
    let size = field(SIZE, "the size is no number")?;
    if kind != Kind::File && size > 0 {
        return Err(error("a member that is no file has content"));
    }
    let mode = field(MODE, "the mode is no number")? & 0o7777;
    Ok(Member {
        path: path(block)?,
        kind,
        size,
        mode: u32::try_from(mode).map_err(|_| error("the mode is no number"))?,
        uid: field(UID, "the owner is no number")?,
        gid: field(GID, "the group is no number")?,
        modified: field(MODIFIED, "the time is no number")?,
    })
}

fn path(block: &[u8; BLOCK_BYTES]) -> Result<std::path::PathBuf, TarError> {
    let (prefix, name) = (text(&block[PREFIX]), text(&block[NAME]));
    let joined = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
    inner_path(Path::new(OsStr::from_bytes(&joined))).ok_or_else(|| TarError::Name {
        path: String::from_utf8_lossy(&joined).into_owned(),
        reason: "does not stay inside the directory",
    })
}

/// The text of a field: up to the first zero, or all of it.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The number in a field: octal digits, or in base 256 behind a byte 0x80. `None` if it is neither, or too large.
fn number(field: &[u8]) -> Option<u64> {
    if field.first() == Some(&0x80) {
        return field[1..].iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// The sum of all bytes, those of the checksum itself taken as spaces.
fn checksum(block: &[u8; BLOCK_BYTES]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(block) - sum(&block[CHECKSUM]) + 8 * u64::from(b' ')
}

/// Writes the header of `member`.
pub(super) fn write(member: &Member) -> Result<[u8; BLOCK_BYTES], TarError> {
    let mut block = [0; BLOCK_BYTES];
    let (kind, link) = match &member.kind {
        Kind::File => (b'0', None),
        Kind::Directory => (b'5', None),
        Kind::Link(target) => (b'2', Some(target)),
    };
    put_path(&mut block, member)?;
    if let Some(target) = link {
        put_text(&mut block[LINK], target.as_os_str().as_bytes(), member)?;
    }
    block[KIND] = kind;
    block[MAGIC].copy_from_slice(b"ustar\0");
    block[VERSION].copy_from_slice(b"00");
    put_number(&mut block[MODE], u64::from(member.mode & 0o7777));
    put_number(&mut block[UID], member.uid);
    put_number(&mut block[GID], member.gid);
    put_number(&mut block[SIZE], if kind == b'0' { member.size } else { 0 });
    put_number(&mut block[MODIFIED], member.modified);
    let sum = checksum(&block);
    put_number(&mut block[CHECKSUM], sum);
    Ok(block)
}

fn name_error(member: &Member, reason: &'static str) -> TarError {
    TarError::Name { path: member.path.display().to_string(), reason }
}

fn put_text(field: &mut [u8], text: &[u8], member: &Member) -> Result<(), TarError> {
    if text.is_empty() || text.contains(&0) {
        return Err(name_error(member, "is empty or contains a zero"));
    }
    let place = field.get_mut(..text.len()).ok_or_else(|| name_error(member, "is too long for the tar format"))?;
    place.copy_from_slice(text);
    Ok(())
}

/// A path of up to 100 bytes, or one that can be split at a slash into up to 155 and up to 100.
fn put_path(block: &mut [u8; BLOCK_BYTES], member: &Member) -> Result<(), TarError> {
    let mut path = inner_path(&member.path)
        .ok_or_else(|| name_error(member, "does not stay inside the directory"))?
        .into_os_string()
        .into_encoded_bytes();
    if member.kind == Kind::Directory {
        path.push(b'/');
    }
    if path.len() <= NAME.len() {
        return put_text(&mut block[NAME], &path, member);
    }
    let fits = |at: &usize| *at <= PREFIX.len() && (1..=NAME.len()).contains(&(path.len() - at - 1));
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let at = slashes.rev().find(fits).ok_or_else(|| name_error(member, "is too long for the tar format"))?;
    put_text(&mut block[PREFIX], &path[..at], member)?;
    put_text(&mut block[NAME], &path[at + 1..], member)
}

/// Octal digits with a zero behind them, or base 256 if they are too many.
fn put_number(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let octal = format!("{number:0digits$o}");
    if octal.len() == digits {
        field[..digits].copy_from_slice(octal.as_bytes());
        return;
    }
    let bytes = number.to_be_bytes();
    let significant = &bytes[bytes.len() - digits.min(bytes.len())..];
    let start = field.len() - significant.len();
    field[0] = 0x80;
    field[start..].copy_from_slice(significant);
}
