use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::codec::Compression;
use crate::pg::page::{PAGE_BYTES, SegmentError};
use crate::pg::{SegmentNumber, TimelineId};
use crate::repository::{self, Lineage, NewLineage};
use crate::resources::postgres::restore::fetch::{Absence, Fetched, Fetcher, Patience};
use crate::storage::FileStore;

const OURS: SystemId = SystemId(7_300_000_000_000_000_001);

struct Scratch {
    folder: tempfile::TempDir,
    repository: Repository,
    size: SegmentSize,
}

impl Scratch {
    async fn new(segment_bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let store = FileStore::create(&folder.path().join("store")).await.expect("a store");
        let (repository, _) = Repository::create(Arc::new(store), Compression::default()).await.expect("a repository");
        let size = SegmentSize::try_from(segment_bytes).expect("a valid size");
        let scratch = Self { folder, repository, size };
        let lineage = scratch.lineage();
        scratch.repository.add_lineage(&resource(), &lineage, NewLineage::OnlyFirst).await.expect("added");
        scratch
    }

    fn lineage(&self) -> Lineage {
        Lineage { system_id: OURS, segment_size: self.size, postgres_major: 17, created_at: Timestamp::UNIX_EPOCH }
    }

    fn name(&self, number: u64) -> SegmentName {
        SegmentName::new(TimelineId(1), SegmentNumber(number), self.size)
    }

    fn segment(&self, number: u64, system_id: SystemId) -> Vec<u8> {
        let start = SegmentNumber(number).start(self.size).0;
        let mut bytes = vec![0; usize::try_from(self.size.bytes()).expect("a segment fits memory")];
        for (page, address) in bytes.chunks_exact_mut(PAGE_BYTES).zip((start..).step_by(PAGE_BYTES)) {
            let flags = if address == start { 7_u16 } else { 4 };
            page[..2].copy_from_slice(&0xD116_u16.to_le_bytes());
            page[2..4].copy_from_slice(&flags.to_le_bytes());
            page[4..8].copy_from_slice(&1_u32.to_le_bytes());
            page[8..16].copy_from_slice(&address.to_le_bytes());
            page[100..108].copy_from_slice(&address.to_be_bytes());
        }
        bytes[24..32].copy_from_slice(&system_id.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&u32::try_from(self.size.bytes()).expect("at most 1 GiB").to_le_bytes());
        bytes[36..40].copy_from_slice(&8192_u32.to_le_bytes());
        bytes
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    }

    async fn push(&self, name: &str, bytes: &[u8]) -> Result<Stored> {
        let pusher = Pusher::new(self.repository.clone(), resource());
        pusher.push(&self.write(name, bytes)).await.map(|pushed| pushed.stored)
    }

    async fn fetch(&self, name: &str) -> crate::resources::postgres::restore::fetch::Result<(Fetched, Vec<u8>)> {
        let no_patience = Patience { filling: std::time::Duration::ZERO, store: std::time::Duration::ZERO };
        let archive = self.repository.wal(&resource(), &self.lineage());
        let destination = self.folder.path().join("RECOVERYXLOG");
        let fetcher = Fetcher::new(&self.repository, archive, no_patience);
        let fetched = fetcher.fetch(name.parse().expect("a valid name"), &destination).await?;
        Ok((fetched, fs::read(&destination).unwrap_or_default()))
    }
}

fn resource() -> ResourceName {
    "postgres/main".parse().expect("a valid name")
}

#[tokio::test]
async fn the_same_again_is_success_and_other_content_is_an_error() {
    let scratch = Scratch::new(1 << 20).await;
    let (name, mut bytes) = (scratch.name(3).to_string(), scratch.segment(3, OURS));
    assert_eq!(scratch.push(&name, &bytes).await.expect("stored"), Stored::New);
    assert_eq!(scratch.push(&name, &bytes).await.expect("stored"), Stored::Identical);
    assert_eq!(scratch.fetch(&name).await.expect("fetched"), (Fetched::Delivered, bytes.clone()));
    bytes[9000] ^= 1;
    let refused = scratch.push(&name, &bytes).await.expect_err("other content");
    assert!(matches!(&refused, Error::Contradiction(found) if found.at == Lsn((3 << 20) + 9000)), "{refused}");
    assert!(refused.to_string().contains("from 0/302328 on"), "{refused}");
}

#[tokio::test]
async fn what_is_not_the_segment_that_its_name_says_is_refused() {
    let scratch = Scratch::new(1 << 20).await;
    let (name, bytes) = (scratch.name(3).to_string(), scratch.segment(3, OURS));
    let truncated = scratch.push(&name, &bytes[..bytes.len() - 1]).await.expect_err("truncated");
    assert!(matches!(truncated, Error::Segment(SegmentError::WrongSize { .. })), "{truncated}");
    let recycled = scratch.push(&name, &scratch.segment(2, OURS)).await.expect_err("recycled");
    assert!(matches!(recycled, Error::Segment(SegmentError::WrongAddress { .. })), "{recycled}");
    let zeros = scratch.push(&name, &vec![0; bytes.len()]).await.expect_err("zeros");
    assert!(matches!(zeros, Error::Repository(repository::Error::OtherCluster { .. })), "{zeros}");
    let foreign = scratch.push(&name, &scratch.segment(3, SystemId(5))).await.expect_err("foreign");
    assert!(matches!(foreign, Error::Repository(repository::Error::OtherCluster { .. })), "{foreign}");
    assert!(matches!(scratch.push("xlogtemp.1", &bytes).await, Err(Error::Name(_))));
    assert_eq!(scratch.fetch(&name).await.expect("fetched").0, Fetched::Absent(Absence::End));
}

/// Segment 3 as a server has it that left timeline 1 at `fork`, in the middle of a page.
fn promoted(scratch: &Scratch, fork: usize) -> Vec<u8> {
    let mut bytes = scratch.segment(3, OURS);
    // A record of the resource manager of WAL itself comes first.
    bytes[fork..fork + 18].copy_from_slice(&[30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x90, 0]);
    for page in bytes.chunks_exact_mut(PAGE_BYTES).skip(fork / PAGE_BYTES + 1) {
        page[4..8].copy_from_slice(&2_u32.to_le_bytes());
        page[200] = 1;
    }
    bytes
}

#[tokio::test]
async fn a_history_does_not_lead_into_what_another_server_left_of_its_timeline() {
    const FORK: usize = 40 * PAGE_BYTES + 480;
    let name = SegmentName::new(TimelineId(2), SegmentNumber(3), SegmentSize::try_from(1 << 20).expect("a size")).to_string();
    let history = |lsn: usize| format!("1\t{}\tno recovery target specified\n", Lsn(lsn as u64));
    let start = 3 << 20;
    let page = 41 * PAGE_BYTES;
    for (left_at, expected) in [
        (start + FORK, None),
        (
            start + FORK + 10 * PAGE_BYTES,
            Some(format!("at {} it is not the WAL of the timeline before it", Lsn((start + FORK) as u64))),
        ),
        (start + FORK - 10 * PAGE_BYTES, Some(format!("at {} it still goes on", Lsn((start + page - 10 * PAGE_BYTES) as u64)))),
        // The next page is that of the new timeline, and the record is one of a table.
        (start + FORK - 80, Some(format!("at {} it still goes on", Lsn((start + FORK - 80) as u64)))),
        (start + (1 << 20) + FORK, Some("it begins before this server left the timeline before it".to_owned())),
    ] {
        let scratch = Scratch::new(1 << 20).await;
        let (mut parents, mut left) = (scratch.segment(3, OURS), promoted(&scratch, FORK));
        for bytes in [&mut parents, &mut left] {
            bytes[FORK - 80..FORK - 62].copy_from_slice(&[30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
        }
        scratch.push(&scratch.name(3).to_string(), &parents).await.expect("stored");
        scratch.push(&name, &left).await.expect("stored");
        let pushed = scratch.push("00000002.history", history(left_at).as_bytes()).await;
        match expected {
            None => assert_eq!(pushed.expect("the history was lost by accident"), Stored::New),
            Some(expected) => {
                let refused = pushed.expect_err("another server's WAL");
                assert!(refused.to_string().contains(&expected), "{refused}");
                let hint = refused.hint().expect("a hint");
                assert!(hint.contains(&format!("/wal/{OURS}/00000002 out of the store")), "{hint}");
            }
        }
    }
}

#[tokio::test]
async fn history_and_backup_files_are_read_before_they_are_stored() {
    let scratch = Scratch::new(1 << 20).await;
    let history = b"1\t0/300100\tno recovery target specified\n";
    assert_eq!(scratch.push("00000002.history", history).await.expect("stored"), Stored::New);
    assert_eq!(scratch.fetch("00000002.history").await.expect("fetched"), (Fetched::Delivered, history.to_vec()));
    assert!(matches!(scratch.push("00000003.history", b"").await, Err(Error::Malformed { .. })));
    assert!(matches!(scratch.push("00000003.history", b"4\t0/0\tx\n").await, Err(Error::Malformed { .. })));
    let label = format!("START WAL LOCATION: 0/300028 (file {})\n", scratch.name(3));
    assert_eq!(
        scratch.push(&format!("{}.00000028.backup", scratch.name(3)), label.as_bytes()).await.expect("stored"),
        Stored::New
    );
    let misplaced = scratch.push(&format!("{}.00000028.backup", scratch.name(4)), label.as_bytes()).await;
    assert!(matches!(misplaced, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn a_segment_of_more_than_a_piece_comes_back_as_it_was() {
    let scratch = Scratch::new(64 << 20).await;
    let (name, mut bytes) = (scratch.name(2).to_string(), scratch.segment(2, OURS));
    assert_eq!(scratch.push(&name, &bytes).await.expect("stored"), Stored::New);
    assert_eq!(scratch.push(&name, &bytes).await.expect("stored"), Stored::Identical);
    let (fetched, delivered) = scratch.fetch(&name).await.expect("fetched");
    assert!(fetched == Fetched::Delivered && delivered == bytes);
    bytes[40 << 20] ^= 1;
    let refused = scratch.push(&name, &bytes).await.expect_err("other content");
    assert!(matches!(&refused, Error::Contradiction(found) if found.at == Lsn((2 * 64 + 40) << 20)), "{refused}");
}

#[tokio::test]
async fn a_partial_file_is_the_tail_of_its_timeline() {
    let scratch = Scratch::new(1 << 20).await;
    let (name, bytes) = (scratch.name(3).to_string(), scratch.segment(3, OURS));
    scratch.push(&format!("{name}.partial"), &bytes).await.expect("stored");
    assert_eq!(scratch.fetch(&name).await.expect("fetched"), (Fetched::Delivered, bytes));
    scratch.push(&scratch.name(4).to_string(), &scratch.segment(4, OURS)).await.expect("stored");
    let hole = scratch.fetch(&name).await.expect_err("more is stored behind it");
    assert!(hole.exit_code() > 126, "{hole}");
}

#[tokio::test]
async fn of_a_large_partial_file_only_the_wal_is_stored() {
    let scratch = Scratch::new(64 << 20).await;
    let segment = scratch.name(3);
    let mut bytes = scratch.segment(3, OURS);
    // One record of 32 bytes behind the long header of the first page, with its checksum; then what was there before.
    bytes[40..72].fill(0);
    bytes[40..44].copy_from_slice(&32_u32.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[64..72]), &bytes[40..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    scratch.push(&format!("{segment}.partial"), &bytes).await.expect("stored");
    let archive = scratch.repository.wal(&resource(), &scratch.lineage());
    assert_eq!(archive.slices(segment).await.expect("listed"), [Slice { segment, bytes: 0..72 }]);
}

#[tokio::test]
async fn slices_that_disagree_are_never_delivered() {
    let scratch = Scratch::new(1 << 20).await;
    let archive = scratch.repository.wal(&resource(), &scratch.lineage());
    let (segment, bytes) = (scratch.name(3), Bytes::from(scratch.segment(3, OURS)));
    let about = WalAbout { system_id: OURS, source: WalSource::Streaming, start: None, end: None, activity: None };
    let slice = |range: std::ops::Range<u64>| Slice { segment, bytes: range };
    archive.put_slice(&slice(0..20_000), bytes.slice(..20_000), &about).await.expect("stored");
    archive.put_slice(&slice(10_000..15_000), bytes.slice(10_000..15_000), &about).await.expect("stored");
    let fetched = scratch.fetch(&segment.to_string()).await.expect("they agree");
    assert!(fetched.0 == Fetched::Delivered && fetched.1[..20_000] == bytes[..20_000]);
    let mut other = bytes[..16_000].to_vec();
    other[15_500] ^= 1;
    archive.put_slice(&slice(0..16_000), Bytes::from(other), &about).await.expect("stored");
    let refused = scratch.fetch(&segment.to_string()).await.expect_err("they disagree");
    assert!(refused.exit_code() > 126 && refused.to_string().contains("from 15500 bytes"), "{refused}");
}

/// The same bytes with one record at the beginning of the first page, which names the one before it.
fn with_record(mut segment: Vec<u8>, previous: u64) -> Vec<u8> {
    segment[40..44].copy_from_slice(&32_u32.to_le_bytes());
    segment[48..56].copy_from_slice(&previous.to_le_bytes());
    segment
}

#[tokio::test]
async fn a_segment_that_does_not_join_its_neighbours_is_refused_and_taken_back() {
    let scratch = Scratch::new(1 << 20).await;
    let first = |number: u64| SegmentNumber(number).start(scratch.size).0 + 40;
    let segment = |number: u64, previous: u64| with_record(scratch.segment(number, OURS), previous);
    let name = |number: u64| scratch.name(number).to_string();
    scratch.push(&name(3), &segment(3, 17)).await.expect("stored");
    let refused = scratch.push(&name(4), &segment(4, first(3) + 8)).await.expect_err("another history");
    assert!(matches!(refused, Error::NotJoined(_)), "{refused}");
    assert_eq!(scratch.fetch(&name(4)).await.expect("absent").0, Fetched::Absent(Absence::End), "it is taken back");
    scratch.push(&name(4), &segment(4, first(3))).await.expect("it joins");
    scratch.push(&name(6), &segment(6, first(5) + 8)).await.expect("nothing is stored beside it");
    let refused = scratch.push(&name(5), &segment(5, first(4))).await.expect_err("the one behind it does not go on here");
    assert!(matches!(refused, Error::NotJoined(_)), "{refused}");
}

#[tokio::test]
async fn a_segment_in_which_wal_level_minimal_begins_is_stored_and_a_gap() {
    for segment_bytes in [1_u64 << 20, 64 << 20] {
        let scratch = Scratch::new(segment_bytes).await;
        let archive = scratch.repository.wal(&resource(), &scratch.lineage());
        let (name, mut bytes) = (scratch.name(3).to_string(), scratch.segment(3, OURS));
        // A record of 54 bytes behind the long header of the first page; all settings in it are 0.
        bytes[40..96].fill(0);
        bytes[40..44].copy_from_slice(&54_u32.to_le_bytes());
        (bytes[56], bytes[64], bytes[65]) = (0x60, 0xFF, 28);
        scratch.push(&name, &bytes).await.expect("stored");
        let start = SegmentNumber(3).start(scratch.size).0;
        let gaps = archive.gaps().await.expect("listed").records;
        let found: Vec<_> = gaps.iter().map(|gap| (gap.cause, gap.start.0, gap.end.0)).collect();
        assert_eq!(found, [(repository::GapCause::WalLevelMinimal, start + 40, start + 96)]);
        assert_eq!(scratch.fetch(&name).await.expect("fetched"), (Fetched::Delivered, bytes));
    }
}
