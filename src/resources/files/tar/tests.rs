//! What is written is read again, and what leads astray is refused.

use proptest::prelude::*;

use super::header::{Header, field};
use super::*;

fn file(path: &[u8], size: u64) -> Member {
    Member {
        path: path.to_vec(),
        kind: Kind::File,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: "deploy".to_owned(),
        group: "deploy".to_owned(),
        modified: (1_790_000_000, 123_456_789),
        size,
        attributes: Vec::new(),
        data: None,
    }
}

/// An archive of members, the data of each made of its offsets.
fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        bytes.extend_from_slice(&encode(member));
        let whole = std::iter::once(0..member.size).collect();
        let parts = if member.kind == Kind::File { member.data.clone().unwrap_or(whole) } else { Vec::new() };
        bytes.extend(parts.into_iter().flatten().map(|offset| u8::try_from(offset % 251).unwrap()));
        bytes.extend_from_slice(padding(content_bytes(member)));
    }
    bytes.extend_from_slice(&END);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Member>, Refused> {
    let mut archive = Archive::new(bytes);
    let mut members = Vec::new();
    while let Some(member) = archive.next_member()? {
        let mut read = 0;
        archive.content(|offset, piece| {
            let expected = (offset..offset + piece.len() as u64).map(|offset| u8::try_from(offset % 251).unwrap());
            assert!(expected.eq(piece.iter().copied()), "{member:?}");
            read += piece.len() as u64;
            Ok(())
        })?;
        let data = member.data.clone().map(|parts| parts.iter().map(|part| part.end - part.start).sum());
        assert_eq!(read, data.unwrap_or(member.size), "{member:?}");
        members.push(member);
    }
    archive.finish()?;
    Ok(members)
}

#[test]
fn content_that_is_not_read_is_passed_over() {
    let members = [file(b"a", 1000), file(b"b", 0), file(b"c", 5)];
    let bytes = archive(&members);
    let mut archive = Archive::new(&bytes[..]);
    let names: Vec<Vec<u8>> = std::iter::from_fn(|| archive.next_member().unwrap().map(|member| member.path)).collect();
    assert_eq!(names, [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
}

#[test]
fn slashes_that_mean_nothing_are_passed_over() {
    for path in ["a/b", "a//b", "a/b//"] {
        let member = read(&archive(&[file(path.as_bytes(), 0)])).expect("a path in its directory").remove(0);
        assert_eq!(member.path, b"a/b", "{path}");
    }
}

#[test]
fn what_leads_out_of_the_directory_is_refused() {
    for path in ["../a", "/etc/passwd", "a/../../b", "./a", "/", "//a", "", "a/./b"] {
        assert!(matches!(read(&archive(&[file(path.as_bytes(), 0)])), Err(Refused::Escapes(_))), "{path}");
        let mut link = file(b"link", 0);
        link.kind = Kind::HardLink(path.as_bytes().to_vec());
        assert!(matches!(read(&archive(&[link])), Err(Refused::Escapes(_))), "{path}");
    }
    let long = [&b"../"[..], &[b'a'; 200]].concat();
    assert!(matches!(read(&archive(&[file(&long, 0)])), Err(Refused::Escapes(_))));
}

#[test]
fn devices_and_other_foreign_members_are_refused() {
    for kind in [b'3', b'4', b'6', b'S', b'V'] {
        let mut header = Header::new(kind);
        header.text(field::NAME, b"dev");
        for field in [field::MODE, field::UID, field::GID, field::SIZE, field::MTIME] {
            header.number(field, 0);
        }
        let bytes = [&header.finish()[..], &END].concat();
        assert!(matches!(read(&bytes), Err(Refused::Foreign(_))), "{}", char::from(kind));
    }
}

#[test]
fn an_archive_that_is_cut_short_or_altered_is_refused() {
    let bytes = archive(&[file(b"a", 3000), file(&[b'b'; 150], 10)]);
    assert_eq!(read(&bytes).unwrap().len(), 2);
    for length in (0..bytes.len() - END.len()).step_by(101) {
        assert!(read(&bytes[..length]).is_err(), "cut at {length}");
    }
    let mut altered = bytes;
    altered[BLOCK * 2 + 3] ^= 1;
    assert!(matches!(read(&altered), Err(Refused::Malformed(_))));
}

#[test]
fn a_map_that_does_not_fit_is_refused() {
    let mut sparse = file(b"s", 100);
    for data in [&[(0, 200)][..], &[(10, 20), (5, 8)], &[(0, 1 << 40)]] {
        sparse.data = Some(data.iter().map(|(start, end)| *start..*end).collect());
        let bytes = [encode(&sparse), vec![0; 4096], END.to_vec()].concat();
        assert!(read(&bytes).is_err(), "{data:?}");
    }
}

fn attributes() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name = "[a-z]{1,5}\\.[a-z=%.]{1,20}".prop_map(String::into_bytes);
    prop::collection::vec((name, prop::collection::vec(any::<u8>(), 0..100)), 0..3)
}

prop_compose! {
    fn member()(
        names in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..80), 1..4),
        target in prop::collection::vec(1_u8..=255, 1..200),
        kind in 0..4,
        (mode, uid, gid) in (0_u32..0o10000, any::<u32>(), any::<u32>()),
        modified in (-10_000_000_000_i64..100_000_000_000, 0_u32..1_000_000_000),
        size in 0_u64..3000,
        holes in prop::option::of((0_u64..1000, 0_u64..1000, 0_u64..1000)),
        attributes in attributes(),
    ) -> Member {
        let clean = |name: Vec<u8>| [&b"n"[..], &name.into_iter().filter(|byte| *byte != b'/').collect::<Vec<u8>>()].concat();
        let path = names.into_iter().map(clean).collect::<Vec<_>>().join(&b'/');
        let kind = match kind {
            0 => Kind::Directory,
            1 => Kind::Symlink(target),
            2 => Kind::HardLink(clean(target)),
            _ => Kind::File,
        };
        let data = holes.filter(|_| kind == Kind::File).map(|(from, length, gap)| {
            let from = from.min(size);
            let end = (from + length).min(size);
            let next = (end + gap).min(size);
            vec![from..end, next..size]
        });
        let size = if kind == Kind::File { size } else { 0 };
        Member { path, kind, mode, uid, gid, modified, size, attributes, data, ..file(b"", 0) }
    }
}

#[test]
fn binary_numbers_of_any_width_are_read() {
    let mut header = Header::new(b'0');
    header.0[field::UID].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 1, 2]);
    header.0[field::SIZE].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    assert_eq!((header.read_number(field::UID), header.read_number(field::SIZE)), (Some(258), Some(2 << 32)));
    for wrong in [[0xFF; 12], [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        header.0[field::SIZE].copy_from_slice(&wrong);
        assert_eq!(header.read_number(field::SIZE), None);
    }
}

proptest! {
    #[test]
    fn members_come_back_as_they_were(members in prop::collection::vec(member(), 0..5)) {
        prop_assert_eq!(read(&archive(&members)).unwrap(), members);
    }

    #[test]
    fn no_bytes_make_it_panic_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(read(&bytes).is_err() || bytes.len() >= BLOCK);
    }

    #[test]
    fn no_altered_archive_makes_it_panic(members in prop::collection::vec(member(), 1..4), at: usize, byte: u8) {
        let mut bytes = archive(&members);
        let at = at % bytes.len();
        bytes[at] = byte;
        let mut archive = Archive::new(&bytes[..]);
        while let Ok(Some(_)) = archive.next_member() {}
    }
}
