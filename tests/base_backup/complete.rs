//! Backups that succeed.

use holdfast::codec::Compression;
use holdfast::repository::{EntryKind, PackArchive};
use holdfast::resources::postgres::backup::Request;
use pg_fixtures::postgres::Installation;

use super::support::{Bench, archiving, run, small};

#[test]
fn a_backup_under_load_passes_pg_verifybackup_in_every_version() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        run(backed_up_under_load(&installation, Compression::default()));
    }
}

#[test]
fn a_backup_in_lz4_under_load_passes_pg_verifybackup() {
    run(backed_up_under_load(&Installation::newest(), Compression::Lz4));
}

async fn backed_up_under_load(installation: &Installation, compression: Compression) {
    let bench = Bench::new(archiving(installation).data_checksums(true), compression).await;
    let cluster = &bench.cluster;
    for name in ["with space", "größe"] {
        let directory = cluster.new_directory(name);
        cluster.sql(&format!("CREATE TABLESPACE \"{name}\" LOCATION '{}'", directory.display()));
        cluster.sql(&format!("CREATE TABLE \"t {name}\" TABLESPACE \"{name}\" AS SELECT generate_series(1, 50000) AS i"));
    }
    cluster.sql("CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 10000) AS i");
    cluster.sql("CREATE DATABASE empty");
    cluster.pgbench(&["-i", "-q", "-s", "3"]);
    let mut load = cluster.pgbench_background(&["-c", "2", "-T", "300"]);

    let entry = bench.backup(&small()).await.expect("a backup").entry;

    assert!(load.is_running(), "the load ended before the backup did");
    load.stop();
    assert_eq!(bench.listed().await, std::slice::from_ref(&entry));
    bench.unpack_and_verify(&entry).await;
    let postgres = entry.postgres();
    assert!(postgres.start_lsn < postgres.stop_lsn && postgres.files > 900, "{postgres:?}");
    let locations: Vec<&str> = postgres.tablespaces.iter().map(|tablespace| tablespace.location.as_str()).collect();
    assert!(locations.iter().any(|path| path.ends_with("/with space")) && locations.iter().any(|path| path.ends_with("/größe")));
    assert!(entry.packs().len() > 10 && entry.stored_bytes < entry.plain_bytes / 2, "{}", entry.packs().len());
    assert!(entry.objects.iter().all(|object| object.stored_bytes == bench.stored_bytes(&entry.id, &object.name)));
    index_leads_to_every_file(&bench, &entry).await;
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset within a frame")
}

/// Reads single files through the index and compares their checksums.
async fn index_leads_to_every_file(bench: &Bench, entry: &holdfast::repository::BackupEntry) {
    let backups = bench.repository.backups(&bench.resource);
    let mut seen = 0;
    for (pack, object, _) in entry.packs() {
        let index = backups.get_index(&entry.id, pack).await.expect("an index");
        assert_eq!(index.frames.plain_size(), object.plain_bytes);
        for file in index.entries.iter().filter(|file| file.kind == EntryKind::File) {
            let range = file.offset..file.offset + file.size;
            let mut content = Vec::new();
            for frame in index.frames.covering(&range) {
                let stored = backups.get_range(&entry.id, &object.name, frame.stored_range()).await.expect("a frame");
                let plain = frame.open(&stored, 8 << 20).expect("a good frame");
                let from = range.start.saturating_sub(frame.plain_offset);
                let to = range.end.min(frame.plain_range().end) - frame.plain_offset;
                content.extend_from_slice(&plain[at(from)..at(to)]);
            }
            assert_eq!(crc32c::crc32c(&content), file.crc32c, "{:?}", file.path);
            seen += 1;
        }
    }
    assert_eq!(seen, entry.postgres().files);
}

#[test]
fn a_file_larger_than_a_pack_has_one_of_its_own() {
    run(async {
        let bench = Bench::new(archiving(&Installation::newest()), Compression::default()).await;
        bench.cluster.sql("CREATE TABLE large AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) AS i");
        let path = bench.cluster.sql("SELECT pg_relation_filepath('large')");
        let entry = bench.backup(&small()).await.expect("a backup").entry;
        let backups = bench.repository.backups(&bench.resource);
        let mut found = false;
        for (pack, object, _) in entry.packs() {
            let index = backups.get_index(&entry.id, pack).await.expect("an index");
            let is_large = index.entries.iter().any(|entry| entry.path.to_string() == path);
            if is_large {
                assert!(object.plain_bytes > 10 << 20 && index.entries.len() == 1, "{:?}", index.entries);
                assert_eq!(index.archive, PackArchive::Base);
            } else {
                assert!(object.plain_bytes <= 2 << 20, "{}", object.plain_bytes);
            }
            found |= is_large;
        }
        assert!(found);
        bench.unpack_and_verify(&entry).await;
    });
}

#[test]
fn two_backups_at_once_do_not_disturb_each_other() {
    run(async {
        let bench = Bench::new(archiving(&Installation::newest()), Compression::default()).await;
        let request = Request::default();
        let (one, two) = tokio::join!(bench.backup(&request), bench.backup(&request));
        let (one, two) = (one.expect("a backup").entry, two.expect("a backup").entry);
        assert_ne!(one.id, two.id);
        assert_eq!(bench.listed().await.len(), 2);
        bench.unpack_and_verify(&one).await;
        bench.unpack_and_verify(&two).await;
    });
}

#[test]
fn a_standby_can_be_backed_up() {
    for installation in Installation::all() {
        run(async {
            let bench = Bench::new(archiving(&installation), Compression::default()).await;
            let standby = bench.cluster.standby();
            bench.cluster.pgbench(&["-i", "-q"]);
            let load = bench.cluster.pgbench_background(&["-c", "1", "-T", "300"]);
            let switching = async {
                loop {
                    bench.cluster.switch_wal();
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
            };
            let request = small();
            let report = tokio::select! {
                report = bench.backup_of(&standby, &request) => report,
                () = switching => unreachable!(),
            };
            load.stop();
            bench.unpack_and_verify(&report.expect("a backup").entry).await;
        });
    }
}
