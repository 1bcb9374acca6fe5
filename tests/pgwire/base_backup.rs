//! Base backups.

use std::collections::BTreeMap;
use std::path::Path;

use holdfast::pgwire::{BackupEvent, BackupOptions, Checkpoint, Failure, ManifestChecksum, Tablespace};
use pg_fixtures::ServerUser;
use pg_fixtures::postgres::Cluster;

use super::support::{lsn, on_every_version, replication};

#[derive(Default)]
struct Backup {
    archives: BTreeMap<String, Vec<u8>>,
    tablespaces: Vec<Tablespace>,
    manifest: Vec<u8>,
    progress: u64,
}

async fn take(cluster: &Cluster, options: BackupOptions) -> Backup {
    let before = lsn(&cluster.lsn());
    let mut stream = replication(&cluster.conninfo()).await.base_backup(options).await.expect("a stream");
    let mut backup = Backup::default();
    let (mut current, mut start_lsn) = (String::new(), None);
    loop {
        match stream.next().await.expect("an event") {
            BackupEvent::Start { lsn, tablespaces, .. } => {
                assert!(lsn >= before);
                start_lsn = Some(lsn);
                backup.tablespaces = tablespaces;
            }
            BackupEvent::Archive { name, tablespace } => {
                assert_eq!(name, tablespace.map_or("base.tar".into(), |oid| format!("{oid}.tar")));
                current.clone_from(&name);
                assert!(backup.archives.insert(name, Vec::new()).is_none());
            }
            BackupEvent::Data(bytes) => backup.archives.get_mut(&current).expect("an archive").extend_from_slice(&bytes),
            BackupEvent::Progress(bytes) => backup.progress = bytes,
            BackupEvent::ManifestBegin => current.clear(),
            BackupEvent::ManifestData(bytes) => backup.manifest.extend_from_slice(&bytes),
            BackupEvent::End { lsn, .. } => assert!(start_lsn.is_some_and(|start| start < lsn)),
            BackupEvent::Notice(_) => {}
            BackupEvent::Done => break,
        }
    }
    stream.into_connection().expect("the connection").identify_system().await.expect("and it works");
    backup
}

fn unpack(archive: &[u8], directory: &Path) {
    tar::Archive::new(archive).unpack(directory).expect("a good archive");
}

#[test]
fn a_backup_with_tablespaces_passes_pg_verifybackup() {
    on_every_version(|cluster| async move {
        for name in ["one", "two words"] {
            let directory = cluster.new_directory(name);
            cluster.sql(&format!("CREATE TABLESPACE \"{name}\" LOCATION '{}'", directory.display()));
            cluster.sql(&format!("CREATE TABLE \"in {name}\" TABLESPACE \"{name}\" AS SELECT generate_series(1, 10000)"));
        }
        let options = BackupOptions { checkpoint: Checkpoint::Fast, label: "it's".into(), ..BackupOptions::default() };
        let backup = take(&cluster, options).await;
        assert_eq!(backup.tablespaces.len(), 2);
        assert!(backup.tablespaces[1].location.ends_with("two words"), "{:?}", backup.tablespaces);
        assert!(backup.progress > 0);

        let directory = cluster.new_directory("restored");
        unpack(&backup.archives["base.tar"], &directory);
        for tablespace in &backup.tablespaces {
            assert!(tablespace.size_kb.is_some());
            unpack(
                &backup.archives[&format!("{}.tar", tablespace.oid)],
                &directory.join("pg_tblspc").join(tablespace.oid.to_string()),
            );
        }
        let map = std::fs::read_to_string(directory.join("tablespace_map")).expect("a map");
        assert!(map.contains("two words"));
        let label = std::fs::read_to_string(directory.join("backup_label")).expect("a label");
        assert!(label.contains("LABEL: it's"));
        std::fs::write(directory.join("backup_manifest"), &backup.manifest).expect("written");
        ServerUser::current().own_all(&directory);
        cluster.run("pg_verifybackup", &["--no-parse-wal".as_ref(), directory.as_os_str()]);
    });
}

#[test]
fn the_manifest_is_as_asked_for() {
    on_every_version(|cluster| async move {
        let options = BackupOptions { checkpoint: Checkpoint::Fast, ..BackupOptions::default() };
        let with = BackupOptions { manifest: Some(ManifestChecksum::Sha256), progress: false, ..options.clone() };
        let backup = take(&cluster, with).await;
        assert!(String::from_utf8_lossy(&backup.manifest).contains("SHA256"));
        let backup = take(&cluster, BackupOptions { manifest: None, ..options }).await;
        assert_eq!(backup.manifest, b"");
    });
}

#[test]
fn a_damaged_page_fails_the_backup_in_the_end() {
    on_every_version(|cluster| async move {
        let checksums = Cluster::builder(cluster.installation()).data_checksums(true).start();
        checksums.sql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
        let path = checksums.sql("SELECT pg_relation_filepath('t')");
        checksums.restart();
        let path = checksums.data_directory().join(path);
        let mut bytes = std::fs::read(&path).expect("the table");
        bytes[8192 + 4000] ^= 0xFF;
        std::fs::write(&path, bytes).expect("written");

        let options = BackupOptions { checkpoint: Checkpoint::Fast, ..BackupOptions::default() };
        let mut stream = replication(&checksums.conninfo()).await.base_backup(options).await.expect("a stream");
        let (mut noticed, mut ended) = (false, false);
        let error = loop {
            match stream.next().await {
                Ok(BackupEvent::Notice(_)) => noticed = true,
                Ok(BackupEvent::ManifestBegin) => ended = true,
                Ok(BackupEvent::Done) => panic!("a damaged backup is called good"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(noticed && ended && matches!(error.failure(), Failure::Server), "{error}");
        assert_eq!(error.answer().map(|answer| answer.sqlstate.as_str()), Some("XX001"));
    });
}
