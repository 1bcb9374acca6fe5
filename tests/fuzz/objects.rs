//! Stored objects, which anybody who can write to the store may have altered, and what the shims send.

use holdfast::codec::{Compression, Identities, KeyFile, Recipients, Reveal, compress_frame, decompress_frame};
use holdfast::codec::{encrypt_envelope, open, open_any, outline, read_header, seal};
use holdfast::repository::{BackupEntry, Gap, Lineage, PackIndex, WalAbout};
use holdfast_archive_command::{HEADER_BYTES, Header, Operation, Request};
use pg_fixtures::fuzz::fuzz;

const PLAIN_MAX: u64 = 1 << 20;

fn sealed(compression: Compression) -> Vec<u8> {
    let about = serde_json::json!({ "system_id": 7, "source": "streaming", "start": "0/1", "end": "0/2" });
    let plain: Vec<u8> = (0..3000_u32).flat_map(u32::to_le_bytes).collect();
    seal("wal-slice", "000000010000000000000002.00-FF", &about, &plain, compression).expect("seal").0.to_vec()
}

#[test]
fn no_envelope_breaks_its_reader() {
    let seeds = [Compression::Zstd { level: 1 }, Compression::Lz4].map(sealed);
    fuzz("envelope", &seeds, |input| {
        drop(read_header(input));
        open(input, PLAIN_MAX).is_ok_and(|(_, plain)| plain.len() as u64 <= PLAIN_MAX)
    });
}

#[test]
fn no_encrypted_object_breaks_its_reader() {
    let key = KeyFile::generate("2026-01-01T00:00:00Z".parse().expect("a time"));
    let recipients = Recipients::parse(&[key.recipient().to_owned()]).expect("a recipient");
    let seeds = [Reveal::Nothing, Reveal::About(serde_json::json!({ "system_id": 7 }))]
        .map(|reveal| encrypt_envelope(&sealed(Compression::Zstd { level: 1 }), reveal, &recipients).expect("encrypt").to_vec());
    let strangers = Identities::default();
    fuzz("encrypted object", &seeds, |input| {
        assert!(open_any(input, PLAIN_MAX, &strangers).is_err(), "an encrypted object was opened without a key");
        outline(input).is_ok()
    });
}

#[test]
fn no_compressed_frame_breaks_its_reader() {
    let plain: Vec<u8> = (0..5000_u32).flat_map(|number| (number % 97).to_le_bytes()).collect();
    let seeds = [Compression::Zstd { level: 1 }, Compression::Lz4]
        .map(|compression| compress_frame(&plain, compression).expect("compress"));
    fuzz("compressed frame", &seeds, |input| {
        decompress_frame(input, PLAIN_MAX).is_ok_and(|plain| plain.len() as u64 <= PLAIN_MAX)
    });
}

#[test]
fn no_record_breaks_its_reader() {
    let seeds = [
        r#"{"system_id":7711756762816087890,"segment_size":16777216,"postgres_major":18,"created_at":"2026-01-01T00:00:00Z"}"#,
        r#"{"timeline":1,"start":"0/1000000","end":"0/2000000","cause":"removed-by-server","noticed_at":"2026-01-01T00:00:00Z"}"#,
        r#"{"format":1,"archive":{"tablespace":16384},"frames":[{"plain_offset":0,"plain_size":9,"stored_offset":0,"stored_size":4,"crc32c":1}],"entries":[{"path":{"hex":"ff"},"kind":"file","mode":384,"modified":0,"offset":512,"size":9,"crc32c":1}]}"#,
        r#"{"system_id":7,"source":"streaming","start":"0/1","end":"0/2","activity":{}}"#,
    ];
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
    fuzz("records", &seeds, |input| {
        let entry = serde_json::from_slice::<BackupEntry>(input).is_ok();
        let index = serde_json::from_slice::<PackIndex>(input).is_ok();
        let (gap, lineage) = (serde_json::from_slice::<Gap>(input).is_ok(), serde_json::from_slice::<Lineage>(input).is_ok());
        entry || index || gap || lineage || serde_json::from_slice::<WalAbout>(input).is_ok()
    });
}

#[test]
fn no_request_of_a_shim_breaks_the_agent() {
    let request = Request { operation: Operation::Push, fields: vec![b"postgres/main".to_vec(), b"/pg_wal/x".to_vec()] };
    fuzz("requests of the shims", &[request.encode()], |input| {
        let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else { return false };
        Header::parse(header).is_ok_and(|header| Request::decode(header, rest).is_ok())
    });
}
