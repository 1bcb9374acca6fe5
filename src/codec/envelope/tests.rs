use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::json;

use super::*;

const BOTH: [Compression; 2] = [Compression::Zstd { level: 1 }, Compression::Lz4];

/// Something between noise and zeros, like WAL.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| if at % 7 < 3 { 0 } else { u8::try_from(at * at % 251).unwrap_or(0) }).collect()
}

fn sealed(plain: &[u8], compression: Compression) -> Bytes {
    seal("segment", "000000010000000000000001", &json!({"commits": 3}), plain, compression).unwrap().0
}

fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program} failed");
    output.stdout
}

#[test]
fn what_is_sealed_opens_and_its_header_says_what_it_is() {
    for compression in BOTH {
        for size in [0, 1, 1000, 3_000_000] {
            let plain = content(size);
            let object = sealed(&plain, compression);
            let (header, opened) = open(&object, size as u64).unwrap();
            assert_eq!(opened, plain);
            assert_eq!((header.size, header.blake3), (size as u64, Hash::of(&plain)));
            assert_eq!((header.kind.as_str(), header.about["commits"].as_u64()), ("segment", Some(3)));
            assert_eq!(read_header(&object[..object.len().min(HEADER_BYTES)]), Ok(header));
        }
    }
}

#[test]
fn the_public_programs_open_an_object() {
    for size in [0, 777, 5_000_000] {
        let plain = content(size);
        assert!(run("zstd", &["-dc"], &sealed(&plain, BOTH[0])) == plain, "zstd, {size} bytes");
        assert!(run("lz4", &["-dc"], &sealed(&plain, BOTH[1])) == plain, "lz4, {size} bytes");
        let header = read_header(&sealed(&plain, BOTH[0])).unwrap();
        let b3sum = String::from_utf8(run("b3sum", &["--no-names"], &plain)).unwrap();
        assert_eq!(b3sum.trim(), header.blake3.to_string());
    }
}

#[test]
fn more_content_than_allowed_is_refused_before_memory_is_taken() {
    let object = sealed(&content(1000), BOTH[0]);
    assert_eq!(open(&object, 999), Err(Error::TooLarge { part: Part::Content, size: 1000, size_max: 999 }));
}

#[test]
fn a_header_too_long_is_refused_when_it_is_written() {
    let about = json!({"name": "x".repeat(HEADER_BYTES)});
    assert!(matches!(seal("k", "n", &about, b"", BOTH[0]), Err(Error::TooLarge { part: Part::Header, .. })));
}

#[test]
fn other_files_are_not_envelopes() {
    for bytes in [&b"just some text"[..], &compress(b"text", BOTH[0], 0).unwrap(), &[0; 64]] {
        assert!(matches!(open(bytes, 100), Err(Error::NotAnEnvelope { .. })));
    }
    let endless = [&MAGIC[..], &u32::MAX.to_le_bytes(), &[b'{'; 9000]].concat();
    assert!(matches!(open(&endless, 100), Err(Error::NotAnEnvelope { .. })));
}

#[test]
fn a_newer_format_is_named() {
    let header = frame_header(br#"{"format":7,"something":"new"}"#).unwrap();
    let object = put_in_front(&header, compress(b"", BOTH[0], HEADER_BYTES).unwrap());
    let error = open(&object, 0).unwrap_err();
    assert_eq!(error, Error::NewerFormat { found: 7, known: FORMAT });
    assert!(error.hint().is_some());
}

#[test]
fn every_single_changed_bit_is_detected() {
    for compression in BOTH {
        let object = sealed(&content(300), compression);
        for bit in 0..object.len() * 8 {
            let mut changed = object.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&changed, 1 << 20).is_err(), "{compression}, bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_any_appended_byte_is_detected() {
    for compression in BOTH {
        let object = sealed(&content(300), compression);
        for length in 0..object.len() {
            assert!(open(&object[..length], 1 << 20).is_err(), "{compression}, {length} bytes");
        }
        assert!(open(&[&object[..], b"\0"].concat(), 1 << 20).is_err());
    }
}

/// The header of an envelope cannot help a frame: the frame's own checksum must find what its decoder does not.
#[test]
fn every_truncation_of_a_frame_is_detected_without_an_envelope() {
    for compression in BOTH {
        let stored = compress(&content(300), compression, 0).unwrap();
        for length in 0..stored.len() {
            assert!(decompress(&stored[..length], 1 << 20).is_err(), "{compression}, {length} bytes");
        }
    }
}

proptest! {
    #[test]
    fn any_changed_byte_is_detected(plain: Vec<u8>, at: prop::sample::Index, change in 1_u8.., lz4: bool) {
        let mut object = sealed(&plain, BOTH[usize::from(lz4)]).to_vec();
        let at = at.index(object.len());
        object[at] ^= change;
        prop_assert!(open(&object, 1 << 20).is_err());
    }

    #[test]
    fn any_truncation_is_detected(plain: Vec<u8>, at: prop::sample::Index, lz4: bool) {
        let object = sealed(&plain, BOTH[usize::from(lz4)]);
        prop_assert!(open(&object[..at.index(object.len())], 1 << 20).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes: Vec<u8>, lz4: bool) {
        let frame_magic = if lz4 { 0x184D_2204_u32 } else { 0xFD2F_B528 };
        prop_assert!(decompress(&[&frame_magic.to_le_bytes()[..], &bytes].concat(), 1 << 20).is_err());
        prop_assert!(open(&[&MAGIC[..], &bytes].concat(), 1 << 20).is_err());
    }
}
