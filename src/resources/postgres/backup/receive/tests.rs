//! A server that is a script: what it sends, and what it says that it sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::codec::Compression;
use crate::pg::SystemId;
use crate::pg::tar::{END, Kind, Member};
use crate::repository::{BackupId, Backups, Draft, PackIndex, PackName, Repository, WriteLimits};
use crate::resources::postgres::backup::check::check;
use crate::resources::postgres::backup::problem::Problem;
use crate::storage::FileStore;

const START: Lsn = Lsn(0x200_0028);
const STOP: Lsn = Lsn(0x200_0100);
const TIMELINE: TimelineId = TimelineId(1);
const SYSTEM: SystemId = SystemId(7);

struct Script(VecDeque<BackupEvent>);

impl Events for Script {
    fn next(&mut self) -> impl Future<Output = pgwire::Result<BackupEvent>> + Send {
        std::future::ready(Ok(self.0.pop_front().expect("the script ends with Done")))
    }
}

/// A file: its path and its content.
type File = (String, Vec<u8>);

fn label() -> File {
    let text = format!(
        "START WAL LOCATION: {START} (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\n\
         BACKUP FROM: primary\nSTART TIME: 2026-11-22 07:05:25 UTC\nLABEL: holdfast\nSTART TIMELINE: 1\n"
    );
    ("backup_label".to_owned(), text.into_bytes())
}

fn base(files: &[File]) -> Vec<File> {
    let control = ("global/pg_control".to_owned(), vec![3; 8192]);
    std::iter::once(label()).chain(files.iter().cloned()).chain([control]).collect()
}

fn tar(files: &[File]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (path, content) in files {
        let (path, size) = (path.into(), content.len() as u64);
        let member = Member { path, kind: Kind::File, size, mode: 0o600, uid: 0, gid: 0, modified: 1_795_000_000 };
        stream.extend_from_slice(&member.header().unwrap());
        stream.extend_from_slice(content);
        stream.resize(stream.len() + member.padding(), 0);
    }
    [stream, END.to_vec()].concat()
}

fn manifest(files: &[File]) -> Vec<u8> {
    let line = |(path, content): &File| {
        let checksum = crate::pg::checksum::hex(&crc32c::crc32c(content).to_le_bytes());
        format!(
            "{{ \"Path\": \"{path}\", \"Size\": {}, \"Last-Modified\": \"2026-11-22 07:05:25 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \
             \"Checksum\": \"{checksum}\" }}",
            content.len()
        )
    };
    let files: Vec<String> = files.iter().map(line).collect();
    let text = format!(
        "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {SYSTEM},\n\"Files\": [\n{}\n],\n\"WAL-Ranges\": [\n{{ \
         \"Timeline\": 1, \"Start-LSN\": \"{START}\", \"End-LSN\": \"{STOP}\" }}\n],\n",
        files.join(",\n")
    );
    let checksum = crate::pg::checksum::hex(&Sha256::digest(&text));
    format!("{text}\"Manifest-Checksum\": \"{checksum}\"}}\n").into_bytes()
}

/// What a server sends, in pieces of this size.
fn script(sent: &[u8], manifest: &[u8], piece: usize) -> Script {
    let tablespaces = Vec::new();
    let mut events = VecDeque::from([
        BackupEvent::Start { lsn: START, timeline: TIMELINE, base_size_kb: Some(1), tablespaces },
        BackupEvent::Archive { name: "base.tar".into(), tablespace: None },
    ]);
    events.extend(sent.chunks(piece).map(|piece| BackupEvent::Data(Bytes::copy_from_slice(piece))));
    events.push_back(BackupEvent::ManifestBegin);
    events.extend(manifest.chunks(piece).map(|piece| BackupEvent::ManifestData(Bytes::copy_from_slice(piece))));
    events.extend([BackupEvent::End { lsn: STOP, timeline: TIMELINE }, BackupEvent::Done]);
    Script(events)
}

/// A backup that was received, and where it is.
struct Outcome {
    received: Result<Received>,
    backups: Backups,
    id: BackupId,
    _directory: tempfile::TempDir,
}

async fn receive(mut script: Script, limits: Limits) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::create(directory.path()).await.unwrap());
    let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
    let (reporter, _) = Reporter::new();
    let draft = Draft::begin(&repository, &"postgres/main".parse().unwrap(), limits.writing, Arc::new(|_| ())).await.unwrap();
    let (backups, id) = (draft.backups().clone(), draft.id().clone());
    let received = Receiver::new(Objects::of(&draft), limits, reporter).run(&mut script, &mut Vec::new()).await;
    draft.writers().settle().await;
    Outcome { received, backups, id, _directory: directory }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// What is found to be wrong with a backup of which `sent` was sent and `listed` is in its manifest.
fn problems(sent: &[File], listed: &[File]) -> Vec<Problem> {
    let outcome = run(receive(script(&tar(sent), &manifest(listed), 1000), Limits::default()));
    let received = outcome.received.unwrap();
    check(&received, SYSTEM).unwrap();
    let mut files = received.files;
    if files.has_unlisted() {
        sent.iter().for_each(|(path, _)| files.name(path.as_bytes()));
    }
    files.into_problems().named().to_vec()
}

fn some_files() -> Vec<File> {
    base(&[("base/1/2619".to_owned(), vec![1; 3000]), ("PG_VERSION".to_owned(), b"17\n".to_vec())])
}

#[test]
fn what_is_sent_as_it_is_listed_is_good() {
    assert_eq!(problems(&some_files(), &some_files()), []);
}

#[test]
fn no_changed_bit_passes_the_manifest() {
    for bit in [0, 7, 8 * 1500, 8 * 3000 - 1] {
        let mut sent = some_files();
        sent[1].1[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(&problems(&sent, &some_files())[..], [Problem::Altered { path, .. }] if path == "base/1/2619"));
    }
}

#[test]
fn no_missing_and_no_additional_file_passes_the_manifest() {
    let (all, mut fewer) = (some_files(), some_files());
    fewer.remove(1);
    assert_eq!(problems(&fewer, &all), [Problem::Missing("base/1/2619".to_owned())]);
    assert_eq!(problems(&all, &fewer), [Problem::Additional("base/1/2619".to_owned())]);
}

#[test]
fn a_manifest_that_was_altered_is_refused() {
    let good = manifest(&some_files());
    let mut altered = good.clone();
    let at = good.windows(5).position(|window| window == b"3000,").unwrap();
    altered[at] = b'4';
    for manifest in [&altered[..], &good[..good.len() - 3]] {
        let outcome = run(receive(script(&tar(&some_files()), manifest, 1000), Limits::default()));
        assert!(matches!(outcome.received, Err(Error::Manifest { .. })), "{:?}", outcome.received);
    }
}

#[test]
fn a_backup_without_its_label_or_control_file_is_refused() {
    let mut without_label = some_files();
    without_label.remove(0);
    let mut without_control = some_files();
    without_control.pop();
    let mut control_first = some_files();
    control_first.rotate_right(1);
    for files in [without_label, without_control, control_first] {
        let outcome = run(receive(script(&tar(&files), &manifest(&files), 1000), Limits::default()));
        assert!(matches!(check(&outcome.received.unwrap(), SYSTEM), Err(Error::Incomplete(_))), "{files:?}");
    }
}

#[test]
fn another_clusters_manifest_is_refused() {
    let files = some_files();
    let outcome = run(receive(script(&tar(&files), &manifest(&files), 1000), Limits::default()));
    assert!(matches!(check(&outcome.received.unwrap(), SystemId(8)), Err(Error::Manifest { .. })));
}

#[test]
fn a_promotion_meanwhile_ends_the_backup() {
    let files = some_files();
    let mut script = script(&tar(&files), &manifest(&files), 1000);
    let at = script.0.len() - 2;
    script.0[at] = BackupEvent::End { lsn: STOP, timeline: TimelineId(2) };
    let outcome = run(receive(script, Limits::default()));
    assert!(matches!(check(&outcome.received.unwrap(), SYSTEM), Err(Error::TimelineChanged { .. })));
}

/// The plain tar file that a pack is, put together from its frames.
async fn unpacked(outcome: &Outcome, pack: PackName, index: &PackIndex) -> Vec<u8> {
    let mut plain = Vec::new();
    for frame in index.frames.frames() {
        let stored = outcome.backups.get_range(&outcome.id, &pack.pack("zst"), frame.stored_range()).await.unwrap();
        plain.extend(frame.open(&stored, 1 << 20).unwrap());
    }
    plain
}

/// The packs hold the files in their order, each is a tar file that others read, and its index leads to each file's content.
async fn check_packs(outcome: &Outcome, files: &[File], limits: &Limits) {
    let mut expected = files.iter();
    let uploaded = &outcome.received.as_ref().unwrap().uploaded;
    for pack in uploaded.objects.iter().filter_map(|object| PackName::of_index(&object.name)) {
        let index = outcome.backups.get_index(&outcome.id, pack).await.unwrap();
        let plain = unpacked(outcome, pack, &index).await;
        assert!(plain.len() as u64 <= limits.pack_bytes || index.entries.len() == 1);
        assert!(index.entries.len() <= limits.pack_entries);
        let mut archive = tar::Archive::new(&plain[..]);
        let mut entries = index.entries.iter();
        for member in archive.entries().unwrap() {
            let (member, entry) = (member.unwrap(), entries.next().unwrap());
            let (path, content) = expected.next().unwrap();
            assert_eq!((member.path_bytes().as_ref(), member.raw_file_position()), (path.as_bytes(), entry.offset));
            let at = usize::try_from(entry.offset).unwrap();
            assert_eq!(&plain[at..at + content.len()], content);
            assert_eq!((entry.path.as_bytes(), entry.size), (path.as_bytes(), content.len() as u64));
            assert_eq!(entry.crc32c, crc32c::crc32c(content));
        }
        assert_eq!(entries.next(), None);
    }
    assert_eq!(expected.next(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn packs_hold_every_file_whole_and_in_order(
        sizes in prop::collection::vec(0_usize..6000, 0..30),
        pack_bytes in 2000_u64..20_000,
        pack_entries in 1_usize..10,
        frame_bytes in 100_usize..5000,
        piece in 1_usize..3000,
    ) {
        let content = |(number, size): (usize, &usize)| (format!("base/{number}"), vec![u8::try_from(number).unwrap(); *size]);
        let files = base(&sizes.iter().enumerate().map(content).collect::<Vec<_>>());
        let limits = Limits { pack_bytes, pack_entries, writing: WriteLimits { frame_bytes, frames_in_flight: 2 } };
        run(async {
            let outcome = receive(script(&tar(&files), &manifest(&files), piece), limits).await;
            check_packs(&outcome, &files, &limits).await;
            let problems = outcome.received.unwrap().files.into_problems();
            assert!(problems.is_empty(), "{problems}");
        });
    }
}
