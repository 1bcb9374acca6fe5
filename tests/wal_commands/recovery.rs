//! Recovery through `holdfast-restore-command`: to the end, and never past a hole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use bytes::Bytes;
use holdfast::pg::{Lsn, SegmentName};
use holdfast::repository::{Slice, WalAbout, WalSource};
use pg_fixtures::checksum::Checksums;
use pg_fixtures::poll;
use pg_fixtures::postgres::{Cluster, Installation, StopMode};
use pg_fixtures::s3::SeaweedFs;

use super::site::{Site, damage};

/// A site with a base backup and some segments behind it, and the names of these.
fn site_with_segments(installation: &Installation, count: usize) -> (Site, PathBuf, Vec<String>) {
    with_segments(Site::new(installation), count)
}

fn with_segments(site: Site, count: usize) -> (Site, PathBuf, Vec<String>) {
    let directory = site.base_backup();
    let segments: Vec<String> = (0..count).map(|number| site.write_segment(&format!("t{number}"))).collect();
    site.wait_for(segments.last().expect("at least one segment"));
    (site, directory, segments)
}

#[test]
fn recovery_reaches_the_end_of_the_archive_on_every_version() {
    for installation in Installation::all() {
        let (site, directory, segments) = site_with_segments(&installation, 12);
        let (restored, served) = watched(&directory, || site.recovers_to_the_same(&directory));
        let log = restored.log();
        for segment in &segments {
            assert!(log.contains(&format!("restored log file \"{segment}\"")), "{segment}: {log}");
        }
        assert!(served, "segments came through the WAL server");
    }
}

/// Whether a WAL server was seen in a directory while something was done.
fn watched<T>(directory: &Path, work: impl FnOnce() -> T) -> (T, bool) {
    let (over, seen) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && !seen.load(Ordering::Relaxed) {
                seen.store(directory.join("holdfast-restore/wal.sock").exists(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        (done, seen.load(Ordering::Relaxed))
    })
}

#[test]
fn recovery_from_a_bucket_reaches_the_end_and_stops_when_the_service_is_gone() {
    let mut server = SeaweedFs::start();
    make_bucket(&server);
    let repository = format!(
        "url = \"s3://wal/prefix\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
        server.endpoint(),
        SeaweedFs::ACCESS_KEY_ID,
        SeaweedFs::SECRET_ACCESS_KEY
    );
    let site = Site::with_repository(&Installation::newest(), &repository);
    let (site, directory, segments) = with_segments(site, 12);
    let restored = site.recovers_to_the_same(&directory);
    assert!(restored.log().contains(&format!("restored log file \"{}\"", segments[11])));
    server.kill();
    let target = site.holdfast.scratch().new_directory("target").join("RECOVERYXLOG").display().to_string();
    let gone = site.holdfast.try_run(&["wal", "fetch", "0000000100000000000000F0", &target]);
    assert_eq!(gone.status.code(), Some(202), "{gone:?}");
}

pub fn make_bucket(server: &SeaweedFs) {
    let credentials = Credentials::new(SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY, None, None, "test");
    let configuration =
        aws_sdk_s3::Config::builder().behavior_version(BehaviorVersion::latest()).credentials_provider(credentials);
    let configuration = configuration.region(Region::new("us-east-1")).endpoint_url(server.endpoint()).force_path_style(true);
    let client = aws_sdk_s3::Client::from_conf(configuration.build());
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(client.create_bucket().bucket("wal").send()).expect("make a bucket");
}

#[test]
fn a_missing_segment_stops_recovery_on_every_version() {
    for installation in Installation::all() {
        let (site, directory, segments) = site_with_segments(&installation, 4);
        fs::remove_file(site.object(&segments[1])).expect("lose a segment");
        let log = site.recovery_stops(&directory);
        assert!(log.contains(&format!("{} is not stored, or not whole, and this is not the end", segments[1])), "{log}");
    }
}

#[test]
fn a_damaged_segment_is_named_and_not_delivered() {
    let (site, directory, segments) = site_with_segments(&Installation::newest(), 3);
    damage(&site.object(&segments[1]));
    let log = site.recovery_stops(&directory);
    assert!(log.contains(&segments[1]) && log.contains("was altered after it was stored"), "{log}");
}

#[test]
fn a_store_that_is_gone_stops_recovery() {
    let (site, directory, _) = site_with_segments(&Installation::newest(), 2);
    fs::rename(site.store(), site.store().with_extension("away")).expect("take the store away");
    let log = site.recovery_stops(&directory);
    assert!(log.contains("the store itself is missing"), "{log}");
}

#[test]
fn a_missing_configuration_stops_recovery() {
    let (site, directory, _) = site_with_segments(&Installation::newest(), 2);
    fs::remove_file(site.holdfast.configuration()).expect("remove the configuration");
    let log = site.recovery_stops(&directory);
    assert!(log.contains("there is no configuration at"), "{log}");
}

#[test]
fn a_killed_wal_server_is_replaced() {
    let (site, directory, segments) = site_with_segments(&Installation::newest(), 40);
    let (over, killed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                killed.fetch_add(kill_servers_of(&directory), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let restored = site.recovers_to_the_same(&directory);
        over.store(true, Ordering::Relaxed);
        assert!(restored.log().contains(&format!("restored log file \"{}\"", segments[39])));
    });
    assert!(killed.load(Ordering::Relaxed) > 1, "servers were killed");
}

/// The process ids of the WAL servers that work in a directory.
fn servers_of(directory: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("list the processes").filter_map(Result::ok);
    let serves = |process: &fs::DirEntry| {
        let is_server =
            fs::read(process.path().join("cmdline")).is_ok_and(|line| line.windows(9).any(|part| part == b"wal\0serve"));
        is_server && fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == directory)
    };
    processes.filter(serves).map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

/// Kills the WAL servers that work in a directory, and says how many there were.
fn kill_servers_of(directory: &Path) -> usize {
    let servers = servers_of(directory);
    for server in &servers {
        let pid = nix::unistd::Pid::from_raw(server.parse().expect("a process id"));
        // It may have ended by itself.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap_or_default();
    }
    servers.len()
}

#[test]
fn the_last_segment_is_put_together_from_slices() {
    let (site, directory, _) = site_with_segments(&Installation::newest(), 3);
    site.server.sql("CREATE TABLE last_words AS SELECT 'stored'::text AS said");
    let file = site.server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let end = site.server.sql("SELECT pg_current_wal_flush_lsn()").parse::<Lsn>().expect("an LSN");
    let expected = Checksums::of(&site.server);
    let bytes = fs::read(site.server.data_directory().join("pg_wal").join(&file)).expect("read the segment");
    let archive = site.run(site.archive());
    let segment: SegmentName = file.parse().expect("a segment's name");
    let length = archive.segment_size().offset(end);
    // Three slices, of which the second overlaps the first.
    for range in [0..length / 3, length / 4..length / 2, length / 2..length] {
        let slice = Slice { segment, bytes: range.clone() };
        let about =
            WalAbout { system_id: archive.system_id(), source: WalSource::Streaming, start: None, end: None, activity: None };
        let at = |offset: u64| usize::try_from(offset).expect("a segment fits memory");
        let piece = Bytes::copy_from_slice(&bytes[at(range.start)..at(range.end)]);
        site.run(archive.put_slice(&slice, piece, &about)).expect("store a slice");
    }
    site.give_away();
    site.server.kill9();
    let restored = site.adopt(&directory);
    restored.start();
    restored.wait_until(super::site::SOON, "recovery ends", || {
        restored.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
    });
    assert_eq!(Checksums::of(&restored), expected);
    assert_eq!(restored.sql("SELECT said FROM last_words"), "stored");
}

#[test]
fn the_wal_server_ends_with_the_directory_it_serves() {
    let (site, directory, _) = site_with_segments(&Installation::newest(), 2);
    let _standby = standby(&site, &directory);
    let served = servers_of(&directory);
    assert_eq!(served.len(), 1);
    fs::remove_dir_all(directory.join("holdfast-restore")).expect("remove the folder");
    // The standby goes on to ask, and starts another one.
    let has_ended = || servers_of(&directory).iter().all(|server| !served.contains(server));
    poll::until(Duration::from_secs(10), "the server ends", has_ended);
}

/// `pg_rewind` may come at once, and could not remove a socket, nor a file that goes meanwhile.
#[test]
fn the_wal_server_ends_with_the_server_that_it_serves() {
    let (site, directory, _) = site_with_segments(&Installation::newest(), 2);
    let standby = standby(&site, &directory);
    assert_eq!(servers_of(&directory).len(), 1);
    standby.stop(StopMode::Fast);
    // Sooner than one without requests would end in recovery, which is a minute.
    poll::until(Duration::from_secs(10), "the WAL server ends", || servers_of(&directory).is_empty());
    assert!(!directory.join("holdfast-restore").exists(), "it leaves nothing behind");
}

/// A standby that asks the archive alone, again and again, and has all that is there.
fn standby(site: &Site, directory: &Path) -> Cluster {
    fs::rename(directory.join("recovery.signal"), directory.join("standby.signal")).expect("ask for a standby");
    let expected = site.server.lsn();
    let standby = Cluster::builder(site.server.installation()).adopt(directory);
    standby.start();
    site.server.switch_wal();
    let question = format!("SELECT pg_last_wal_replay_lsn() >= '{expected}'");
    standby.wait_until(super::site::SOON, "it has all", || standby.try_sql("postgres", &question).as_deref() == Ok("t"));
    standby
}

#[test]
fn the_wal_server_ends_soon_after_recovery_and_a_standby_keeps_it() {
    let (site, directory, _) = site_with_segments(&Installation::newest(), 2);
    let standby = standby(&site, &directory);
    // It asks every five seconds, which is longer than the WAL server stays after a recovery.
    assert_eq!(standby.sql("SHOW wal_retrieve_retry_interval"), "5s");
    let served = servers_of(&directory);
    let more = site.write_segment("more");
    site.wait_for(&more);
    standby.wait_until(super::site::SOON, "it has more", || standby.try_sql("postgres", "SELECT 1 FROM more LIMIT 1").is_ok());
    assert_eq!((served.len(), servers_of(&directory)), (1, served), "a standby keeps its WAL server");
    standby.promote();
    // Sooner than one without requests would end in recovery, which is a minute.
    poll::until(Duration::from_secs(20), "the WAL server ends", || servers_of(&directory).is_empty());
    assert!(!directory.join("holdfast-restore").exists(), "it leaves nothing behind");
}
