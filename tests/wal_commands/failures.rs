//! Whatever goes wrong with the archive, recovery stops and nothing is promoted; what an earlier restore left is never delivered.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pg_fixtures::checksum::Checksums;
use pg_fixtures::postgres::{Cluster, Installation, StopMode};
use pg_fixtures::{ServerUser, poll};

use super::site::{Site, damage};

/// A copy of a base backup, so that each failure meets a recovery of its own.
fn copy_of(directory: &Path, name: &str) -> PathBuf {
    let copy = directory.with_file_name(name);
    let copied = Command::new("cp").arg("-a").arg(directory).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()), "copy {}", directory.display());
    copy
}

/// Puts a file at a place where something else is, readable for the servers' user.
fn put(from: &Path, to: &Path) {
    let bytes = fs::read(from).expect("read an object");
    fs::remove_file(to).expect("remove an object");
    fs::write(to, bytes).expect("write an object");
    fs::set_permissions(to, fs::Permissions::from_mode(0o644)).expect("make the object readable");
}

/// Exit code 126 and above, and a server that has stopped instead of promoting.
fn stops_with(site: &Site, directory: &Path, codes: &[u8], words: &str) {
    let log = site.recovery_stops(directory);
    // What a shell ends with for a program that it cannot run has words of its own in PostgreSQL (`wait_result_to_str`).
    let code = |code: &u8| match code {
        126 => log.contains("from archive: command not executable"),
        code => log.contains(&format!("exited with exit code {code}\n")),
    };
    assert!(codes.iter().any(code) && log.contains(words), "{codes:?}, {words}: {log}");
}

#[test]
fn every_failure_of_the_archive_stops_recovery_on_every_version() {
    let other = Site::new(&Installation::newest());
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let site = Site::new(&installation);
        let base = site.base_backup();
        let segments: Vec<String> = (0..3).map(|number| site.write_segment(&format!("t{number}"))).collect();
        site.wait_for(&segments[2]);
        let (object, kept) = (site.object(&segments[1]), site.holdfast.scratch().path().join("kept"));
        fs::copy(&object, &kept).expect("keep the object");

        damage(&object);
        stops_with(&site, &copy_of(&base, "checksum"), &[201], "was altered after it was stored");
        put(&site.object(&segments[0]), &object);
        stops_with(&site, &copy_of(&base, "misplaced"), &[201], "is not what its name says");
        let foreign = other_segment(&other, &segments[1]);
        put(&foreign, &object);
        stops_with(&site, &copy_of(&base, "foreign"), &[201], "system identifier");
        fs::remove_file(&object).expect("lose the object");
        stops_with(&site, &copy_of(&base, "gap"), &[200], "this is not the end of the WAL");
        fs::copy(&kept, &object).expect("bring the object back");
        fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).expect("make the object readable");

        let away = site.store().with_extension("away");
        fs::rename(site.store(), &away).expect("take the store away");
        stops_with(&site, &copy_of(&base, "store"), &[202], "the store itself is missing");
        fs::rename(&away, site.store()).expect("bring the store back");
        let hidden = site.holdfast.configuration().with_extension("hidden");
        fs::rename(site.holdfast.configuration(), &hidden).expect("hide the configuration");
        stops_with(&site, &copy_of(&base, "configuration"), &[126], "there is no configuration at");
        fs::rename(&hidden, site.holdfast.configuration()).expect("bring the configuration back");

        // All is well again, and the end of the archive is the end of recovery.
        drop(site.recovers_to_the_same(&base));
    }
}

/// A stored segment of another cluster, of the same name.
fn other_segment(other: &Site, name: &str) -> PathBuf {
    while !other.object(name).exists() {
        let written = other.write_segment(&format!("s{}", table_name(other)));
        other.wait_for(&written);
        assert!(written.as_str() <= name, "{name} was passed by {written}");
    }
    other.object(name)
}

fn table_name(site: &Site) -> String {
    site.server.sql("SELECT replace(pg_current_wal_lsn()::text, '/', '_')")
}

#[test]
fn a_refused_password_of_the_store_stops_recovery_on_every_version() {
    let server = pg_fixtures::s3::SeaweedFs::start();
    super::recovery::make_bucket(&server);
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let repository = |prefix: u32, secret: &str| {
            format!(
                "url = \"s3://wal/{prefix}\"\nendpoint = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{secret}\"\n",
                server.endpoint(),
                pg_fixtures::s3::SeaweedFs::ACCESS_KEY_ID,
            )
        };
        let right = pg_fixtures::s3::SeaweedFs::SECRET_ACCESS_KEY;
        let site = Site::with_repository(&installation, &repository(installation.version(), right));
        let base = site.base_backup();
        let segment = site.write_segment("t");
        site.wait_for(&segment);
        let configuration = fs::read_to_string(site.holdfast.configuration()).expect("the configuration");
        site.holdfast.configure(&configuration.replace(right, "expired"));
        stops_with(&site, &copy_of(&base, "denied"), &[202], "access denied");
        site.holdfast.configure(&configuration);
        drop(site.recovers_to_the_same(&base));
    }
}

#[test]
fn what_an_earlier_restore_left_in_the_spool_is_never_delivered() {
    let site = Site::new(&Installation::newest());
    let base = site.base_backup();
    let segments: Vec<String> = (0..4).map(|number| site.write_segment(&format!("t{number}"))).collect();
    site.wait_for(&segments[3]);
    let spool = base.join("holdfast-restore/spool");
    fs::create_dir_all(&spool).expect("make a spool");
    for segment in &segments {
        // Of the right size, with the right name, and from another life.
        fs::write(spool.join(segment), vec![0xA5; 1 << 20]).expect("leave a segment");
    }
    ServerUser::current().own_all(&base);
    let restored = site.recovers_to_the_same(&base);
    assert!(restored.log().contains(&format!("restored log file \"{}\"", segments[3])));
}

#[test]
fn pg_rewind_gets_its_wal_one_by_one_and_no_server_is_started_for_it() {
    let site = Site::new(&Installation::newest());
    let primary = &site.server;
    primary.sql("ALTER SYSTEM SET wal_log_hints = on");
    primary.sql(&format!("ALTER SYSTEM SET restore_command = '{}'", site.restore_command().replace('\'', "''")));
    primary.restart();
    let base = site.base_backup();
    site.wait_for(&site.write_segment("common"));
    let promoted = site.recovers_to_the_same(&base);
    // pg_rewind copies every file of its source, and can read no socket.
    poll::until(Duration::from_secs(10), "the WAL server ends with recovery", || !base.join("holdfast-restore").exists());
    promoted.sql("CREATE TABLE won AS SELECT 1 AS i");
    let expected = Checksums::of(&promoted);
    // The old primary goes on alone, and its WAL of the moment of the fork is in the archive only.
    for number in 0..3 {
        site.wait_for(&site.write_segment(&format!("lost{number}")));
    }
    primary.sql("CHECKPOINT");
    let archive = site.object("00000001000000000000000000").with_file_name("");
    primary.stop(StopMode::Fast);
    let old = primary.data_directory();
    let newest = fs::read_dir(old.join("pg_wal")).expect("pg_wal").filter_map(Result::ok).map(|entry| entry.file_name());
    let mut wal: Vec<_> = newest.filter(|name| name.len() == 24).collect();
    wal.sort();
    for name in &wal[..wal.len().saturating_sub(2)] {
        if archive.join(name).exists() {
            fs::remove_file(old.join("pg_wal").join(name)).expect("remove WAL that is archived");
        }
    }
    promoted.sql("CHECKPOINT");
    let source = format!("{} dbname=postgres", promoted.conninfo());
    let arguments = ["--restore-target-wal", "--target-pgdata", &old.display().to_string(), "--source-server", &source];
    let output = primary.try_run("pg_rewind", &arguments.map(str::to_owned));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!old.join("holdfast-restore").exists(), "a WAL server was started for pg_rewind");
    drop(promoted);
    let rewound = Cluster::builder(site.server.installation()).setting("archive_mode", "off").adopt(old);
    rewound.start();
    assert_eq!(Checksums::of(&rewound), expected);
}
