//! Tar streams, manifests, labels and maps, of base backups that real servers made.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast::pg::checksum::FileChecksum;
use holdfast::pg::history::TimelineHistory;
use holdfast::pg::label::{BackupHistory, BackupLabel, parse_tablespace_map, write_tablespace_map};
use holdfast::pg::manifest::{Manifest, ManifestFile, ManifestParser};
use holdfast::pg::recovery::is_omitted;
use holdfast::pg::tar::{Event, Kind, Member, TarParser};
use holdfast::pg::{TimelineId, Version};
use pg_fixtures::postgres::{Cluster, Installation};

/// Reads a tar in pieces of an awkward size.
fn read_tar(path: &Path) -> Vec<(Member, Vec<u8>)> {
    let stream = Bytes::from(fs::read(path).expect("read the tar"));
    let mut parser = TarParser::new();
    let mut members: Vec<(Member, Vec<u8>)> = Vec::new();
    for start in (0..stream.len()).step_by(30_011) {
        parser.push(stream.slice(start..stream.len().min(start + 30_011)));
        while let Some(event) = parser.next_event().expect("a valid tar") {
            match event {
                Event::Member { member, .. } => members.push((member, Vec::new())),
                Event::Content(content) => members.last_mut().expect("a member").1.extend_from_slice(&content),
                Event::MemberEnd => {}
            }
        }
    }
    parser.finish().expect("a complete tar");
    members
}

fn read_manifest(path: &Path) -> (Manifest, HashMap<PathBuf, ManifestFile>) {
    let mut parser = ManifestParser::new();
    let mut files = HashMap::new();
    for piece in fs::read(path).expect("read the manifest").chunks(997) {
        parser.feed(piece, |file| drop(files.insert(file.path.clone(), file))).expect("a valid manifest");
    }
    (parser.finish().expect("an unaltered manifest"), files)
}

fn cluster(installation: &Installation) -> Cluster {
    // Without archiving, the server removes its backup history files at once.
    let cluster = Cluster::builder(installation).setting("archive_mode", "on").setting("archive_command", "true").start();
    let location = cluster.new_directory("a \\ location");
    cluster.sql(&format!("CREATE TABLESPACE t LOCATION '{}'", location.display()));
    cluster.sql("CREATE TABLE in_t TABLESPACE t AS SELECT generate_series(1, 5000) AS id; CREATE TABLE here AS TABLE in_t");
    cluster
}

/// The files of all tars of a backup by their paths below the data directory.
fn files(directory: &Path) -> HashMap<PathBuf, Vec<u8>> {
    let mut files = HashMap::new();
    for entry in fs::read_dir(directory).expect("read the backup") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        if path.extension().is_some_and(|extension| extension == "tar") {
            let prefix = if stem == "base" { PathBuf::new() } else { Path::new("pg_tblspc").join(stem) };
            let members = read_tar(&path).into_iter().filter(|(member, _)| member.kind == Kind::File);
            files.extend(members.map(|(member, content)| (prefix.join(member.path), content)));
        }
    }
    files
}

#[test]
fn every_file_of_a_backup_is_what_the_manifest_says() {
    for installation in Installation::all() {
        let cluster = cluster(&installation);
        for options in [&["--manifest-checksums=CRC32C"][..], &["--manifest-checksums=SHA384", "--manifest-force-encode"]] {
            let directory = cluster.new_directory(&format!("backup{}", options.len()));
            cluster.pg_basebackup(&directory, &[&["-Ft", "-Xnone", "-cfast"], options].concat());
            let (manifest, mut listed) = read_manifest(&directory.join("backup_manifest"));
            let version = Version::of_major(installation.version()).expect("a supported version");
            assert_eq!(manifest.version, version.manifest_version);
            assert_eq!(manifest.files, listed.len() as u64);
            let system = cluster.system_identifier().parse().expect("a system identifier");
            assert!(manifest.system_id == (manifest.version > 1).then_some(system));
            let files = files(&directory);
            let in_tablespace = Path::new(&version.tablespace_directory()).to_owned();
            assert!(files.keys().any(|path| path.components().nth(2).is_some_and(|part| part.as_os_str() == in_tablespace)));
            for (path, content) in &files {
                let Some(file) = listed.remove(path) else { panic!("the manifest does not list {}", path.display()) };
                let mut checksum = FileChecksum::new(file.algorithm);
                checksum.update(content);
                assert_eq!((file.size, file.checksum), (content.len() as u64, checksum.finish()), "{}", path.display());
                let omitted = is_omitted(path.to_str().expect("UTF-8"));
                assert_eq!(omitted, path.ends_with("backup_label") || path.ends_with("tablespace_map"), "{}", path.display());
            }
            assert!(listed.is_empty(), "no tar holds {listed:?}");
        }
    }
}

#[test]
fn a_label_a_map_and_a_history_file_are_read_and_written_as_they_stand() {
    for installation in Installation::all() {
        let cluster = cluster(&installation);
        let directory = cluster.new_directory("backup");
        cluster.pg_basebackup(&directory, &["-Ft", "-Xnone", "-cfast", "-l", "a label: with colon"]);
        let files = files(&directory);
        let text = &files[Path::new("backup_label")];
        let label = BackupLabel::parse(text).expect("a label");
        assert_eq!(label.to_string().as_bytes(), text);
        assert_eq!((label.label.as_str(), label.timeline, label.from_standby), ("a label: with colon", TimelineId(1), false));
        let map = parse_tablespace_map(&files[Path::new("tablespace_map")]).expect("a map");
        assert!(map.len() == 1 && map[0].path.ends_with("a \\ location"), "{map:?}");
        assert_eq!(write_tablespace_map(&map), files[Path::new("tablespace_map")]);
        let (manifest, _) = read_manifest(&directory.join("backup_manifest"));
        let wal = cluster.data_directory().join("pg_wal");
        let mut histories = fs::read_dir(wal).expect("read pg_wal").map(|entry| entry.expect("an entry").path());
        let path =
            histories.find(|path| path.extension().is_some_and(|extension| extension == "backup")).expect("a history file");
        let history = BackupHistory::parse(&fs::read(path).expect("read it")).expect("a history file");
        assert_eq!(history.label, label);
        assert_eq!((manifest.wal_ranges[0].start, manifest.wal_ranges[0].end), (label.start, history.stop));
    }
}

#[test]
fn a_history_of_timelines_is_read_as_a_promoted_server_writes_it() {
    let cluster = Cluster::builder(&Installation::newest()).start();
    let standby = cluster.standby();
    standby.promote();
    let content = fs::read(standby.data_directory().join("pg_wal/00000002.history")).expect("read the history");
    let history = TimelineHistory::parse(TimelineId(2), &content).expect("a history");
    let parent = history.parent().expect("a parent");
    assert_eq!(parent.timeline, TimelineId(1));
    let control = fs::read(standby.data_directory().join("global/pg_control")).expect("read the control file");
    let control = holdfast::pg::control::ControlFile::parse(&control).expect("a control file");
    assert!(history.reaches(TimelineId(1), control.redo.min(parent.end)));
    assert!(parent.end <= standby.lsn().parse().expect("an LSN"));
}
