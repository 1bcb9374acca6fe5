use proptest::prelude::*;

use super::*;
use crate::pg::checksum::{ChecksumAlgorithm, FileChecksum};

fn signed(body: &str) -> String {
    let mut checksum = FileChecksum::new(ChecksumAlgorithm::Sha256);
    checksum.update(body.as_bytes());
    format!("{body}\"Manifest-Checksum\": \"{}\"}}\n", hex(&checksum.finish()))
}

/// As PostgreSQL 17 writes it, with names that are hard to read.
fn manifest() -> String {
    signed(
        r#"{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 7611111111111111111,
"Files": [
{ "Path": "backup_label", "Size": 225, "Last-Modified": "2026-11-22 07:05:25 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "8a744722" },
{ "Encoded-Path": "626173652fff", "Size": 8192, "Last-Modified": "2026-11-22 07:05:26 GMT" },
{ "Path": "a \"quoted}\" [\\name", "Size": 0, "Last-Modified": "2026-11-22 07:05:26 GMT", "Checksum-Algorithm": "SHA224", "Checksum": "" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000120" }
],
"#,
    )
}

fn parse(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<(Manifest, Vec<ManifestFile>), ManifestError> {
    let mut parser = ManifestParser::new();
    let mut files = Vec::new();
    for piece in pieces {
        parser.feed(piece.as_ref(), |file| files.push(file))?;
    }
    Ok((parser.finish()?, files))
}

#[test]
fn a_manifest_is_read_file_by_file() {
    let (manifest, files) = parse([manifest()]).unwrap();
    assert_eq!((manifest.version, manifest.system_id), (2, Some(SystemId(7_611_111_111_111_111_111))));
    assert_eq!((manifest.files, manifest.bytes), (3, 8417));
    let range = WalRange { timeline: TimelineId(1), start: Lsn(0x200_0028), end: Lsn(0x200_0120) };
    assert_eq!(manifest.wal_ranges, [range]);
    let paths: Vec<_> = files.iter().map(|file| file.path.as_os_str().as_encoded_bytes().to_vec()).collect();
    assert_eq!(paths, [&b"backup_label"[..], b"base/\xff", b"a \"quoted}\" [\\name"]);
    assert_eq!((files[0].algorithm, &files[0].checksum[..]), (ChecksumAlgorithm::Crc32c, &[0x8A, 0x74, 0x47, 0x22][..]));
    assert_eq!(files[1].algorithm, ChecksumAlgorithm::None);
}

#[test]
fn a_manifest_without_files_or_system_identifier_is_read() {
    let body = "{\"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n\"WAL-Ranges\": [\n],\n";
    let (manifest, files) = parse([signed(body)]).unwrap();
    assert_eq!((manifest.version, manifest.system_id, files.len()), (1, None, 0));
}

#[test]
fn any_changed_byte_is_detected() {
    let manifest = manifest();
    let (checked, files) = parse([&manifest]).unwrap();
    for at in 0..manifest.len() {
        for change in [1, 0x20] {
            let mut changed = manifest.clone().into_bytes();
            changed[at] ^= change;
            match parse([changed]) {
                Err(_) => {}
                // The case of a digit of the checksum, and the line end behind everything, mean nothing.
                Ok(same) => assert!(same == (checked.clone(), files.clone()), "byte {at}: {:?}", &manifest[at..]),
            }
        }
    }
}

#[test]
fn any_truncation_is_detected() {
    let manifest = manifest();
    for length in 0..manifest.len() - 1 {
        let error = parse([&manifest[..length]]).unwrap_err();
        assert_eq!(error, ManifestError::Truncated { length: length as u64 });
    }
}

#[test]
fn a_path_that_leads_out_of_the_data_directory_is_refused() {
    for path in ["../x", "/etc/passwd", "base/../../x", "", ".", "a\\u0000b"] {
        let body = format!("{{\"PostgreSQL-Backup-Manifest-Version\": 1,\"Files\": [{{\"Path\": \"{path}\", \"Size\": 1}}],");
        assert!(matches!(parse([signed(&body)]), Err(ManifestError::Path { .. })), "{path}");
    }
}

#[test]
fn an_endless_entry_does_not_take_endless_memory() {
    let mut parser = ManifestParser::new();
    parser.feed(b"{\"Files\": [{\"Path\": \"", |_| {}).unwrap();
    let endless = vec![b'x'; 100_000];
    assert!(parser.feed(&endless, |_| {}).is_err());
}

#[test]
fn a_later_version_is_named() {
    let error = parse([signed("{\"PostgreSQL-Backup-Manifest-Version\": 3,")]).unwrap_err();
    assert_eq!(error, ManifestError::Version { found: 3 });
}

proptest! {
    #[test]
    fn any_split_gives_the_same(sizes in prop::collection::vec(1_usize..200, 1..40)) {
        let manifest = manifest();
        let mut pieces = Vec::new();
        let mut rest = manifest.as_bytes();
        for size in sizes.iter().cycle() {
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            pieces.push(head);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(parse(pieces), parse([&manifest]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, at: prop::sample::Index) {
        prop_assert!(parse([&bytes]).is_err());
        let mut spliced = manifest().into_bytes();
        let at = at.index(spliced.len());
        spliced.splice(at..at, bytes.iter().copied());
        prop_assert!(parse([spliced]).is_err() || bytes.iter().all(u8::is_ascii_whitespace));
    }
}
