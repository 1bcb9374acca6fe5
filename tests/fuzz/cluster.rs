//! The binary files of a cluster, and archives of them; the seeds are a real cluster's.

use std::path::Path;

use bytes::Bytes;
use holdfast::pg::control::ControlFile;
use holdfast::pg::manifest::{ManifestError, ManifestParser};
use holdfast::pg::page::{check_first_page, check_segment};
use holdfast::pg::records::Scanner;
use holdfast::pg::tar::{Event, TarParser};
use holdfast::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId};
use pg_fixtures::fuzz::fuzz;
use pg_fixtures::postgres::{Cluster, Installation};

const SEGMENT_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 8192;

fn size() -> SegmentSize {
    SegmentSize::try_from(SEGMENT_BYTES as u64).expect("a size")
}

/// The first segment of a new cluster.
fn first_segment(cluster: &Cluster) -> (SegmentName, Vec<u8>) {
    let directory = cluster.data_directory().join("pg_wal");
    let files = std::fs::read_dir(directory).expect("read pg_wal").flatten();
    let names = files.filter_map(|file| file.file_name().to_str().map(str::to_owned)).filter(|name| name.len() == 24);
    let name = names.min().expect("a segment");
    let bytes = std::fs::read(cluster.data_directory().join("pg_wal").join(&name)).expect("read a segment");
    (name.parse().expect("a segment's name"), bytes)
}

#[test]
fn no_wal_breaks_the_reader_of_records() {
    let cluster = Cluster::builder(&Installation::newest()).wal_segment_size(1).create();
    let (name, bytes) = first_segment(&cluster);
    let start = name.number(size()).expect("a number").start(size());
    let seeds: Vec<Vec<u8>> = bytes.chunks(2 * PAGE_BYTES).take(12).map(<[u8]>::to_vec).collect();
    fuzz("records of WAL", &seeds, |input| {
        let mut scanner = Scanner::new(start, size()).checking_records();
        // In pieces of all sizes, as a stream brings them.
        for piece in input.chunks(1 + input.len() / 7) {
            scanner.feed(piece);
        }
        let mut elsewhere = Scanner::new(Lsn(start.0 + 24), size());
        elsewhere.feed(input);
        scanner.position() == Lsn(start.0 + input.len() as u64) && scanner.problem().is_none()
    });
}

#[test]
fn no_segment_breaks_its_check() {
    let cluster = Cluster::builder(&Installation::newest()).wal_segment_size(1).create();
    let (name, bytes) = first_segment(&cluster);
    fuzz("pages of a segment", &[bytes[..PAGE_BYTES].to_vec(), bytes], |input| {
        let first = check_first_page(input, name, size(), None).is_ok();
        let other = SegmentName::new(TimelineId(7), SegmentNumber(u64::MAX >> 20), size());
        let whole = check_segment(input, name, size(), None).is_ok() || check_segment(input, other, size(), None).is_ok();
        first || whole
    });
}

#[test]
fn no_control_file_breaks_its_parser() {
    for installation in Installation::all() {
        let cluster = Cluster::builder(&installation).create();
        let file = std::fs::read(cluster.data_directory().join("global/pg_control")).expect("read the control file");
        let covered = (16..1000).find(|at| file[*at..at + 4] == crc32c::crc32c(&file[..*at]).to_le_bytes());
        let covered = covered.expect("a control file has a checksum");
        fuzz("control file", &[file], |input| {
            let as_it_is = ControlFile::parse(input).is_ok();
            let mut mended = input.to_vec();
            // What a checksum would keep out is let in, for it protects against accidents only.
            if mended.len() >= covered + 4 {
                let crc = crc32c::crc32c(&mended[..covered]).to_le_bytes();
                mended[covered..covered + 4].copy_from_slice(&crc);
            }
            ControlFile::parse(&mended).is_ok() || as_it_is
        });
    }
}

#[test]
fn no_manifest_breaks_its_parser() {
    let real = "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7711756762816087890,\n\"Files\": [\n\
                { \"Path\": \"base/1/2\", \"Size\": 8192, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \
                \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"0102abcd\" },\n\
                { \"Encoded-Path\": \"ff20\", \"Size\": 0, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\" }\n],\n\
                \"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n\
                \"Manifest-Checksum\": \"0000000000000000000000000000000000000000000000000000000000000000\"}\n";
    fuzz("backup manifest", &[real.as_bytes().to_vec()], |input| {
        let mut parser = ManifestParser::new();
        let fed = input.chunks(1 + input.len() / 5).all(|piece| parser.feed(piece, |_| {}).is_ok());
        // The checksum is wrong from the start: what comes behind it is reached all the same.
        fed && matches!(parser.finish(), Ok(_) | Err(ManifestError::Checksum { .. }))
    });
}

/// A small archive as a server sends them: a directory, files, a link.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        match kind {
            tar::EntryType::Symlink => archive.append_link(&mut header, path, "/elsewhere"),
            _ => archive.append_data(&mut header, Path::new(path), content),
        }
        .expect("build an archive");
    };
    add("base/", tar::EntryType::Directory, b"");
    add("base/1", tar::EntryType::Regular, &[7; 700]);
    add("pg_tblspc/16384", tar::EntryType::Symlink, b"");
    add("backup_label", tar::EntryType::Regular, b"START WAL LOCATION");
    archive.into_inner().expect("end an archive")
}

#[test]
fn no_archive_breaks_its_parser() {
    fuzz("tar archive", &[archive()], |input| {
        let mut parser = TarParser::default();
        for piece in input.chunks(1 + input.len() / 9) {
            parser.push(Bytes::copy_from_slice(piece));
            loop {
                match parser.next_event() {
                    Ok(None) => break,
                    Ok(Some(Event::Member { member, .. })) => drop(member.header()),
                    Ok(Some(_)) => {}
                    Err(_) => return false,
                }
            }
        }
        parser.finish().is_ok()
    });
}
