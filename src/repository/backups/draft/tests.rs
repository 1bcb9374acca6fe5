//! Content that goes into a repository and comes back.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::codec::{ChangeDigest, Compression, Identities, Identity, KeyFile, Recipients};
use crate::repository::{Encryption, FilesBackup, ResourceKind};
use crate::storage::FileStore;

struct Bench {
    repository: Repository,
    resource: ResourceName,
    folder: tempfile::TempDir,
}

/// A key of its own: whom to encrypt to, and what opens that.
fn key() -> Encryption {
    let key = KeyFile::generate(crate::sys::clock::now());
    let recipients = Recipients::parse(&[key.recipient().to_owned()]).unwrap();
    let content = key.content().to_owned();
    let identities = Identities::later(move || Identity::read("key", content.as_bytes(), &|_| Err("none".into())));
    Encryption { recipients, identities }
}

impl Bench {
    async fn encrypted(encryption: Encryption) -> Self {
        let bench = Self::new().await;
        let repository = bench.repository.clone().with_encryption(encryption);
        Self { repository, ..bench }
    }

    /// The same, to somebody with other keys.
    fn seen_with(&self, encryption: Encryption) -> Backups {
        self.repository.clone().with_encryption(encryption).backups(&self.resource)
    }

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let resource = ResourceName::new(ResourceKind::Files, "a").unwrap();
        Self { repository, resource, folder }
    }

    async fn draft(&self, frame_bytes: usize) -> Draft {
        let limits = WriteLimits { frame_bytes, frames_in_flight: 2 };
        Draft::begin(&self.repository, &self.resource, limits, Arc::new(|_| ())).await.unwrap()
    }

    /// The files in which objects of backups are stored.
    fn content(&self) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("files/a/data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn store(draft: &Draft, name: &str, content: &[u8]) -> [BackupObject; 2] {
    let mut writer = draft.begin_object(name);
    for piece in content.chunks(700) {
        writer.write(piece).await.unwrap();
    }
    draft.finish_object(writer).await.unwrap()
}

async fn read(draft: &Draft, object: &BackupObject, range: Option<Range<u64>>) -> Result<Vec<u8>> {
    let frames = draft.backups().get_frames(draft.id(), &object.name).await?;
    let content = match range {
        None => draft.backups().read_whole(draft.id(), object, &frames),
        Some(range) => draft.backups().read_range(draft.id(), &object.name, &frames, range),
    };
    let pieces: Vec<Bytes> = content.try_collect().await?;
    Ok(pieces.concat())
}

fn noise(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|n| u8::try_from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).unwrap()).collect()
}

#[test]
fn what_was_stored_comes_back_whatever_its_size() {
    run(async {
        let bench = Bench::new().await;
        let draft = bench.draft(10_000).await;
        for (name, size) in [("none", 0), ("one", 1), ("frame", 10_000), ("large", 9 << 20)] {
            let content = noise(size);
            let [object, index] = store(&draft, name, &content).await;
            assert_eq!((object.plain_bytes, object.name.as_str()), (size, format!("{name}.zst").as_str()));
            assert_eq!(index.name, format!("{name}.zst.frames"));
            assert!(read(&draft, &object, None).await.unwrap() == content, "{name}");
            draft.backups().check_stored(draft.id(), &object, |_| ()).await.unwrap();
        }
    });
}

#[test]
fn objects_are_written_side_by_side_in_the_places_of_one_backup() {
    run(async {
        let bench = Bench::new().await;
        let draft = bench.draft(1000).await;
        let content = noise(50_000);
        let names: Vec<String> = (0..20).map(|number| format!("object-{number}")).collect();
        let all = names.iter().map(|name| store(&draft, name, &content));
        for [object, _] in futures_util::future::join_all(all).await {
            assert!(read(&draft, &object, None).await.unwrap() == content, "{}", object.name);
        }
    });
}

#[test]
fn no_changed_and_no_missing_byte_of_an_object_passes() {
    run(async {
        let bench = Bench::new().await;
        let draft = bench.draft(1000).await;
        let [object, _] = store(&draft, "a", &noise(5000)).await;
        let path = bench.content().into_iter().find(|path| path.ends_with("a.zst")).unwrap();
        let stored = std::fs::read(&path).unwrap();
        let mut changed: Vec<Vec<u8>> = (0..stored.len()).step_by(37).map(|at| flipped(&stored, at)).collect();
        changed.extend([stored[..stored.len() - 1].to_vec(), [&stored[..], b"x"].concat(), Vec::new()]);
        for changed in changed {
            std::fs::write(&path, &changed).unwrap();
            let error = read(&draft, &object, None).await.expect_err("an altered object");
            assert!(error.to_string().contains(&draft.backups().key(draft.id(), "a.zst")), "{error}");
            let error = draft.backups().check_stored(draft.id(), &object, |_| ()).await.expect_err("an altered object");
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&draft, &object, None).await, Err(Error::Damaged { .. })));
        assert!(matches!(draft.backups().check_stored(draft.id(), &object, |_| ()).await, Err(Error::Damaged { .. })));
    });
}

fn flipped(stored: &[u8], at: usize) -> Vec<u8> {
    let mut changed = stored.to_vec();
    changed[at] ^= 1;
    changed
}

#[test]
fn a_discarded_backup_leaves_nothing_behind() {
    run(async {
        let bench = Bench::new().await;
        let draft = bench.draft(100).await;
        store(&draft, "whole", &noise(5000)).await;
        let mut half = draft.begin_object("half");
        half.write(&noise(5000)).await.unwrap();
        assert_eq!(bench.content().len(), 2);
        drop(half);
        assert_eq!(draft.discard().await, None);
        assert_eq!(bench.content(), Vec::<std::path::PathBuf>::new());
        assert_eq!(bench.repository.backups(&bench.resource).list().await.unwrap().records, []);
    });
}

#[test]
fn a_name_that_is_used_twice_is_an_error() {
    run(async {
        let bench = Bench::new().await;
        let draft = bench.draft(100).await;
        store(&draft, "a", b"one").await;
        let mut again = draft.begin_object("a");
        again.write(b"two").await.unwrap();
        assert!(matches!(draft.finish_object(again).await, Err(Error::Taken { .. })));
    });
}

#[test]
fn a_listed_backup_is_in_the_catalog_of_its_resource_and_of_no_other_kind() {
    run(async {
        let bench = Bench::new().await;
        let stored = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&stored);
        let on_stored = Arc::new(move |bytes| {
            count.fetch_add(bytes, Ordering::Relaxed);
        });
        let draft = Draft::begin(&bench.repository, &bench.resource, WriteLimits::default(), on_stored).await.unwrap();
        let objects = store(&draft, "files.tar", &noise(1000)).await;
        assert_eq!(stored.load(Ordering::Relaxed), objects[0].stored_bytes);
        let fingerprint = ChangeDigest::of(b"a tree").unwrap();
        let detail = FilesBackup {
            archive: objects[0].name.clone(),
            files: 1,
            directories: 0,
            links: 0,
            skipped: 0,
            fingerprint,
            exclusions: None,
        };
        let entry = draft.entry(objects.to_vec(), 1000, Detail::Files(detail));
        let listed = draft.list(entry).await.unwrap();
        assert_eq!(bench.repository.backups(&bench.resource).list().await.unwrap().records, std::slice::from_ref(&listed));
        let path = |kind: &str| bench.folder.path().join(format!("{kind}/a/backups/{}.json", listed.id));
        std::fs::create_dir_all(path("command").parent().unwrap()).unwrap();
        std::fs::copy(path("files"), path("command")).unwrap();
        let other = ResourceName::new(ResourceKind::Command, "a").unwrap();
        let found = bench.repository.backups(&other).list().await.unwrap();
        assert_eq!(found.records, []);
        assert!(found.damaged[0].to_string().contains("it says that it is a files backup of files/a"), "{:?}", found.damaged);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_range_comes_back(size in 0_u64..5000, frame_bytes in 1_usize..2000, range in (0_u64..6000, 0_u64..6000)) {
        run(async {
            let bench = Bench::new().await;
            let draft = bench.draft(frame_bytes).await;
            let content = noise(size);
            let [object, _] = store(&draft, "a", &content).await;
            let range = range.0.min(range.1)..range.0.max(range.1);
            let at = |offset: u64| usize::try_from(offset.min(size)).unwrap();
            let expected = content[at(range.start)..at(range.end)].to_vec();
            prop_assert_eq!(read(&draft, &object, Some(range)).await.unwrap(), expected);
            Ok(())
        })?;
    }
}

#[test]
fn encrypted_content_comes_back_whole_and_in_parts() {
    run(async {
        let bench = Bench::encrypted(key()).await;
        let draft = bench.draft(50_000).await;
        let content = noise(400_000);
        let [object, _] = store(&draft, "files.tar", &content).await;
        assert_eq!(read(&draft, &object, None).await.unwrap(), content);
        for range in [0..1, 49_999..50_001, 65_000..200_000, 399_999..400_000, 7..7] {
            let at = |offset: u64| usize::try_from(offset).unwrap();
            let expected = &content[at(range.start)..at(range.end)];
            assert_eq!(read(&draft, &object, Some(range)).await.unwrap(), expected);
        }
        let [empty, _] = store(&draft, "empty.tar", b"").await;
        assert_eq!(read(&draft, &empty, None).await.unwrap(), b"");
        draft.backups().check_stored(draft.id(), &object, |_| ()).await.unwrap();
        for file in bench.content() {
            let stored = std::fs::read(&file).unwrap();
            assert!(crate::codec::is_encrypted(&stored), "{} lies in the clear", file.display());
        }
    });
}

#[test]
fn encrypted_content_is_written_without_an_identity_and_read_with_the_right_one_only() {
    run(async {
        let (owner, other) = (key(), key());
        let writer = Encryption { recipients: owner.recipients.clone(), identities: Identities::default() };
        let bench = Bench::encrypted(writer).await;
        let draft = bench.draft(50_000).await;
        let [object, _] = store(&draft, "files.tar", &noise(100_000)).await;
        let readers = [
            Encryption::default(),
            bench.repository.encryption().clone(),
            Encryption { recipients: owner.recipients.clone(), ..other },
        ];
        for reader in readers {
            let backups = bench.seen_with(reader);
            let error = backups.get_frames(draft.id(), &object.name).await.unwrap_err();
            assert!(error.is_locked() && error.to_string().contains(&owner.recipients.names()[0]), "{error}");
            let frames = bench.seen_with(owner.clone()).get_frames(draft.id(), &object.name).await.unwrap();
            let whole: Result<Vec<Bytes>> = backups.read_whole(draft.id(), &object, &frames).try_collect().await;
            let part: Result<Vec<Bytes>> = backups.read_range(draft.id(), &object.name, &frames, 0..10).try_collect().await;
            assert!(whole.unwrap_err().is_locked() && part.unwrap_err().is_locked());
        }
        let backups = bench.seen_with(owner);
        let frames = backups.get_frames(draft.id(), &object.name).await.unwrap();
        let whole: Vec<Bytes> = backups.read_whole(draft.id(), &object, &frames).try_collect().await.unwrap();
        assert_eq!(whole.concat(), noise(100_000));
    });
}

#[test]
fn a_changed_byte_of_encrypted_content_is_detected() {
    run(async {
        let bench = Bench::encrypted(key()).await;
        let draft = bench.draft(50_000).await;
        let [object, _] = store(&draft, "files.tar", &noise(150_000)).await;
        let file = bench.content().into_iter().find(|file| file.ends_with(&object.name)).unwrap();
        let good = std::fs::read(&file).unwrap();
        for at in [30, 200, 600, good.len() / 2, good.len() - 1] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            std::fs::write(&file, changed).unwrap();
            assert!(read(&draft, &object, None).await.is_err(), "byte {at}");
        }
        std::fs::write(&file, &good[..good.len() - 1]).unwrap();
        assert!(read(&draft, &object, None).await.is_err());
        std::fs::write(&file, good).unwrap();
        assert!(read(&draft, &object, None).await.is_ok());
    });
}

/// A backup of no files.
fn nothing(fingerprint: ChangeDigest) -> Detail {
    let archive = String::new();
    Detail::Files(FilesBackup { archive, files: 0, directories: 0, links: 0, skipped: 0, fingerprint, exclusions: None })
}

/// There may be thousands of entries, each with the names of thousands of objects.
#[test]
fn to_find_the_newest_backup_no_other_entry_is_read_unless_it_is_damaged() {
    run(async {
        let bench = Bench::new().await;
        let backups = bench.repository.backups(&bench.resource);
        assert_eq!(backups.newest().await.unwrap(), None);
        let (mut listed, digest) = (Vec::new(), ChangeDigest::of(b"a tree").unwrap());
        // Two of them of one second, of which the later one has the smaller id.
        for (millisecond, mark) in [(1_000, 7), (2_200, 7), (2_800, 1), (5_000, 7)] {
            let started_at = Timestamp::from_millisecond(1_700_000_000_000 + millisecond).unwrap();
            let draft = bench.draft(1000).await;
            let fingerprint = digest.clone();
            let id = BackupId::new(started_at, mark);
            let entry = BackupEntry { id, started_at, ..draft.entry(Vec::new(), 0, nothing(fingerprint)) };
            backups.put(&entry).await.unwrap();
            listed.push(entry);
        }
        let damage = |entry: &BackupEntry| {
            let path = bench.folder.path().join(format!("files/a/backups/{}.json", entry.id));
            std::fs::write(path, "no entry").unwrap();
        };
        damage(&listed[0]);
        assert_eq!(backups.newest().await.unwrap().as_ref(), Some(&listed[3]));
        damage(&listed[3]);
        assert_eq!(backups.newest().await.unwrap().as_ref(), Some(&listed[2]));
    });
}

#[test]
fn what_a_host_takes_whose_clock_is_behind_stands_behind_what_was_there_before() {
    run(async {
        let bench = Bench::new().await;
        let (backups, now) = (bench.repository.backups(&bench.resource), clock::now());
        let (mut listed, digest, hours) = (Vec::new(), ChangeDigest::of(b"a tree").unwrap(), Duration::from_hours(5));
        for started_at in [now, now - hours] {
            let limits = WriteLimits::default();
            let begun = Draft::begin_at(&bench.repository, &bench.resource, limits, Arc::new(|_| ()), started_at).await;
            let draft = begun.unwrap();
            let finished_at = started_at + Duration::from_secs(60);
            let entry = BackupEntry { finished_at, ..draft.entry(Vec::new(), 0, nothing(digest.clone())) };
            assert_eq!(entry.started_at, started_at);
            listed.push(draft.list(entry).await.unwrap());
        }
        assert_eq!(backups.list().await.unwrap().records, listed);
        assert_eq!(backups.newest().await.unwrap().as_ref(), Some(&listed[1]));
        assert_eq!(backups.ids().await.unwrap(), [listed[0].id.clone(), listed[1].id.clone()]);
        assert_eq!((listed[0].begun(), listed[0].ended(), listed[0].clock_was_behind()), (now, listed[0].finished_at, None));
        assert!(listed[1].clock_was_behind().is_some_and(|behind| behind >= hours), "{:?}", listed[1]);
        assert_eq!(listed[1].ended(), listed[1].begun() + Duration::from_secs(60));
    });
}

#[test]
fn a_clock_is_corrected_where_it_is_certainly_behind_and_not_for_what_the_store_took_its_time_for() {
    let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
    let by_store = |elapsed, store_time| by_store(at(0), Duration::from_secs(elapsed), at(store_time));
    assert_eq!((by_store(0, 2), by_store(40, 42), by_store(0, -9)), (None, None, None));
    assert_eq!((by_store(0, 3), by_store(40, 3600)), (Some(at(4)), Some(at(3601))));
}

#[test]
fn the_time_that_a_machine_was_suspended_has_passed_though_its_monotonic_clock_stood_still() {
    let (instant, time, hour) = (clock::instant(), clock::now(), Duration::from_hours(1));
    assert!(passed((instant, time)) < hour);
    assert!(passed((instant, time - hour)) >= hour);
    assert!(passed((instant, time + hour)) < hour, "a clock that is set back tells nothing");
}
