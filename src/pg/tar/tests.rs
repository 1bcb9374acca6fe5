use std::io::Read;
use std::process::Command;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn member(path: &str, kind: Kind, size: u64) -> Member {
    Member { path: path.into(), kind, size, mode: 0o600, uid: 26, gid: 26, modified: 1_795_000_000 }
}

fn write(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (member, content) in members {
        stream.extend(member.header().unwrap());
        stream.extend(content);
        stream.extend(&END[..member.padding()]);
    }
    stream.extend(END);
    stream
}

fn read(pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<(Member, Vec<u8>)>, TarError> {
    let mut parser = TarParser::new();
    let (mut members, mut open) = (Vec::new(), None);
    for piece in pieces {
        parser.push(Bytes::from(piece));
        while let Some(event) = parser.next_event()? {
            match event {
                Event::Member { member, header } => {
                    assert_eq!(header.len(), BLOCK_BYTES);
                    assert!(open.replace((member, Vec::new())).is_none());
                }
                Event::Content(content) => open.as_mut().unwrap().1.extend(content),
                Event::MemberEnd => members.push(open.take().unwrap()),
            }
        }
    }
    parser.finish()?;
    Ok(members)
}

fn sample() -> Vec<(Member, Vec<u8>)> {
    let long = format!("pg_tblspc/16384/{}/{}", "a".repeat(90), "b".repeat(99));
    vec![
        (member("base", Kind::Directory, 0), vec![]),
        (member("base/PG_VERSION", Kind::File, 3), b"17\n".to_vec()),
        (member("empty", Kind::File, 0), vec![]),
        (member(&long, Kind::File, 1024), vec![7; 1024]),
        (member("pg_tblspc/16384", Kind::Link("/srv/space one".into()), 0), vec![]),
    ]
}

#[test]
fn the_program_tar_unpacks_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.tar");
    let mut members = sample();
    members.swap_remove(3); // its path goes through the link
    std::fs::write(&file, write(&members)).unwrap();
    let output = Command::new("tar").args(["-C", directory.path().to_str().unwrap(), "-xvf"]).arg(&file).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(std::fs::read(directory.path().join("base/PG_VERSION")).unwrap(), b"17\n");
    let link = std::fs::read_link(directory.path().join("pg_tblspc/16384")).unwrap();
    assert_eq!(link.to_str(), Some("/srv/space one"));
}

#[test]
fn the_crate_tar_reads_what_is_written() {
    let stream = write(&sample());
    let mut archive = tar::Archive::new(&stream[..]);
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        found.push((entry.path().unwrap().components().collect::<PathBuf>(), content));
    }
    let expected: Vec<_> = sample().into_iter().map(|(member, content)| (member.path, content)).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_the_program_tar_packs_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("in");
    std::fs::create_dir_all(inside.join("./sub")).unwrap();
    std::fs::write(inside.join("sub/file"), [1; 1000]).unwrap();
    std::os::unix::fs::symlink("/a/b", inside.join("link")).unwrap();
    let output = Command::new("tar")
        .args(["--format=ustar", "--sort=name", "-cf", "-", "-C"])
        .arg(&inside)
        .arg("./sub")
        .arg("link")
        .output();
    let members = read([output.unwrap().stdout]).unwrap();
    let found: Vec<_> =
        members.iter().map(|(member, content)| (member.path.to_str().unwrap(), &member.kind, content.len())).collect();
    let link = Kind::Link("/a/b".into());
    assert_eq!(found, [("sub", &Kind::Directory, 0), ("sub/file", &Kind::File, 1000), ("link", &link, 0)]);
}

#[test]
fn a_size_beyond_eight_gigabytes_is_written_and_read() {
    for size in [(8 << 30) - 1, 8 << 30, 1 << 40, u64::MAX] {
        let header = member("big", Kind::File, size).header().unwrap();
        assert_eq!(header::read(&header, 0).map(|member| member.size), Ok(size));
        let oracle = tar::Header::from_byte_slice(&header).entry_size().unwrap();
        assert_eq!(oracle, size);
    }
    let large = Member { uid: 4_000_000_000, ..member("x", Kind::File, 0) };
    assert_eq!(header::read(&large.header().unwrap(), 0), Ok(large));
}

#[test]
fn a_name_that_leads_outside_is_refused() {
    for name in ["/etc/passwd", "../x", "base/../../x", ".", ""] {
        let mut header = member("x", Kind::File, 0).header().unwrap();
        header[..100].fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        resign(&mut header);
        assert!(matches!(read([header.to_vec()]), Err(TarError::Name { .. })), "{name}");
        assert!(member(name, Kind::File, 0).header().is_err(), "{name}");
    }
    assert!(member(&"x".repeat(101), Kind::File, 0).header().is_err());
}

#[test]
fn what_is_neither_file_nor_directory_nor_link_is_refused() {
    for kind in *b"1346789xgLKS" {
        let mut header = member("x", Kind::File, 0).header().unwrap();
        header[156] = kind;
        resign(&mut header);
        assert!(matches!(read([header.to_vec()]), Err(TarError::Header { offset: 0, .. })), "{}", char::from(kind));
    }
}

fn resign(header: &mut [u8; BLOCK_BYTES]) {
    let sum: u32 = header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
}

#[test]
fn a_stream_without_its_end_blocks_is_complete_and_a_cut_one_is_not() {
    let stream = write(&sample());
    let end = stream.len() - END.len();
    assert_eq!(read([stream[..end].to_vec()]).map(|members| members.len()), Ok(5));
    for length in [end - 1, end - 513, 1, 511, 513] {
        assert!(matches!(read([stream[..length].to_vec()]), Err(TarError::Truncated { .. })), "{length} bytes");
    }
    assert!(read([[&stream[..], b"more"].concat()]).is_err());
}

proptest! {
    #[test]
    fn any_split_gives_the_same(sizes in prop::collection::vec(1_usize..1500, 1..30)) {
        let stream = write(&sample());
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        for size in sizes.iter().cycle() {
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            pieces.push(head.to_vec());
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(pieces), Ok(sample()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, changes in prop::collection::vec((0_usize..3000, any::<u8>()), 1..8)) {
        read([bytes]).ok();
        let mut stream = write(&sample());
        for (at, byte) in changes {
            stream[at] = byte;
        }
        let mut header: [u8; BLOCK_BYTES] = *stream.first_chunk().unwrap();
        resign(&mut header);
        stream[..BLOCK_BYTES].copy_from_slice(&header);
        read([stream]).ok();
    }

    #[test]
    fn any_member_is_read_as_it_was_written(
        path in "[a-z]{1,40}(/[a-z0-9 é]{1,40}){0,5}", size: u64, mode in 0_u32..0o10000, uid in 0_u64..1 << 40, modified in 0_u64..1 << 35,
    ) {
        let member = Member { path: path.into(), kind: Kind::File, size, mode, uid, gid: uid, modified };
        if let Ok(header) = member.header() {
            prop_assert_eq!(header::read(&header, 0), Ok(member));
        } else {
            prop_assert!(member.path.as_os_str().len() > 100);
        }
    }
}
