//! The fixtures themselves, against every installed PostgreSQL.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pg_fixtures::checksum::{Checksums, Moment};
use pg_fixtures::poll;
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_tested_version_starts_and_says_its_version() {
    for installation in Installation::all() {
        let cluster = Cluster::builder(&installation).start();
        let major = cluster.sql("SELECT current_setting('server_version_num')::int / 10000");
        assert_eq!(major, installation.version().to_string());
    }
}

#[test]
fn the_plan_of_a_cluster_is_carried_out() {
    for installation in Installation::all() {
        let builder = Cluster::builder(&installation).wal_segment_size(64).data_checksums(false).setting("wal_level", "logical");
        let builder = builder.hba("host all refused 127.0.0.1/32 reject").data_file("note", "it's here");
        let cluster = builder.setting("search_path", "it's").start();
        let show = |name: &str| cluster.sql(&format!("SHOW {name}"));
        assert_eq!(show("wal_segment_size"), "64MB");
        assert_eq!(show("data_checksums"), "off");
        assert_eq!(show("wal_level"), "logical");
        assert_eq!(show("search_path"), "it's");
        assert_eq!(cluster.sql("SELECT pg_read_file('note')"), "it's here");
        cluster.sql("CREATE ROLE refused LOGIN");
        let refused = cluster.try_run("psql", &["-d", &cluster.tcp_conninfo_of("refused"), "-c", "SELECT 1"]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("pg_hba.conf rejects"), "{refused:?}");
        assert_eq!(cluster.run("psql", &["-XAtd", &cluster.tcp_conninfo(), "-c", "SELECT 1"]), "1\n");
    }
}

#[test]
fn a_killed_server_recovers_and_keeps_what_was_committed() {
    let cluster = Cluster::builder(&Installation::newest()).start();
    cluster.pgbench(&["-i", "-q", "-s", "1"]);
    let mut load = cluster.pgbench_background(&["-c", "2", "-T", "60"]);
    let history = || cluster.sql("SELECT count(*) FROM pgbench_history");
    cluster.wait_until(SOON, "pgbench works", || history() != "0");
    cluster.kill9();
    assert!(!cluster.is_running());
    poll::until(SOON, "pgbench loses its connections", || !load.is_running());
    cluster.start();
    assert_ne!(history(), "0");
    cluster.stop(StopMode::Smart);
    cluster.start();
    cluster.restart();
    assert_ne!(history(), "0");
}

#[test]
fn a_standby_follows_and_is_promoted() {
    for installation in Installation::all() {
        let primary = Cluster::builder(&installation).wal_segment_size(1).start();
        let standby = primary.standby();
        primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
        primary.switch_wal();
        standby.wait_for_replay_of(&primary, SOON);
        assert_eq!(Checksums::of(&primary), Checksums::of(&standby));
        assert!(standby.sql_error("INSERT INTO t VALUES (1)").contains("read-only"));
        standby.promote();
        standby.sql("INSERT INTO t VALUES (1)");
        assert_ne!(Checksums::of(&primary), Checksums::of(&standby));
        assert_eq!(primary.system_identifier(), standby.system_identifier());
    }
}

#[test]
fn a_copied_directory_starts_beside_its_original() {
    let original = Cluster::builder(&Installation::newest()).start();
    original.sql("CREATE TABLE \"odd | name's\" AS SELECT 1 AS i");
    let copy = original.new_directory("copy");
    original.pg_basebackup(&copy, &[]);
    let adopted = Cluster::builder(original.installation()).setting("work_mem", "7MB").start_existing(&copy);
    assert_eq!(adopted.sql("SHOW work_mem"), "7MB");
    assert_ne!(adopted.port(), original.port());
    assert_eq!(Checksums::of(&original), Checksums::of(&adopted));
    drop(adopted);
    assert!(copy.join("PG_VERSION").exists(), "an adopted directory is not the fixture's to remove");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let cluster = Cluster::builder(&Installation::newest()).setting("no_such_setting", "1").create();
    let log = cluster.try_start().expect_err("an unknown setting is refused");
    assert!(log.contains("no_such_setting"), "{log}");
}

#[test]
fn a_marked_moment_is_what_recovery_to_it_finds() {
    let cluster = Cluster::builder(&Installation::newest()).setting("archive_mode", "on").create();
    let archive = cluster.new_directory("archive");
    std::fs::write(
        cluster.data_directory().join("postgresql.auto.conf"),
        format!("archive_command = 'cp %p {0}/%f'\nrestore_command = 'cp {0}/%f %p'\n", archive.display()),
    )
    .expect("write postgresql.auto.conf");
    cluster.start();
    cluster.pgbench(&["-i", "-q", "-s", "1"]);
    let load = cluster.pgbench_background(&["-c", "2", "-T", "60"]);
    let backup = cluster.new_directory("backup");
    cluster.pg_basebackup(&backup, &[]);
    let moment = Moment::mark(&cluster, "noon");
    let rows = Checksums::of(&cluster).rows();
    cluster.wait_until(SOON, "the load goes on", || Checksums::of(&cluster).rows() > rows);
    load.stop();
    let last = cluster.switch_wal();
    cluster.wait_until(SOON, "the WAL is archived", || archive.join(&last).exists());
    assert_ne!(Checksums::of(&cluster), moment.checksums);

    let targets =
        [("recovery_target_name", "noon"), ("recovery_target_lsn", &moment.lsn), ("recovery_target_time", &moment.time)];
    for (name, value) in targets {
        let restored = cluster.new_directory(name);
        cluster.run("/bin/cp", &["-a", &format!("{}/.", backup.display()), &restored.display().to_string()]);
        cluster.run("/bin/touch", &[restored.join("recovery.signal")]);
        let settings = Cluster::builder(cluster.installation()).setting(name, value);
        let settings = settings.setting("archive_mode", "off").setting("recovery_target_action", "pause");
        let restored = settings.start_existing(&restored);
        let paused = || restored.sql("SELECT pg_get_wal_replay_pause_state()") == "paused";
        restored.wait_until(SOON, "recovery reaches its target", paused);
        assert_eq!(Checksums::of(&restored), moment.checksums, "{name} = {value}");
    }
}

#[test]
fn nothing_is_left_of_a_dropped_or_killed_test() {
    let cluster = Cluster::builder(&Installation::newest()).start();
    let directory = cluster.data_directory().to_owned();
    let port = cluster.port();
    drop(cluster);
    assert!(!directory.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Not a test by itself: with `VICTIM` set, the body of the process that the next test kills.
#[test]
fn victim() {
    let Ok(note) = std::env::var("VICTIM") else { return };
    let cluster = Cluster::builder(&Installation::newest()).start();
    let text = format!("{}\n{}", cluster.data_directory().display(), cluster.sql("SELECT pg_backend_pid()"));
    std::fs::write(format!("{note}.new"), text).expect("write the note");
    std::fs::rename(format!("{note}.new"), &note).expect("name the note");
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_test_leaves_no_server_behind() {
    let scratch = pg_fixtures::Scratch::new();
    let note = scratch.path().join("note");
    let mut victim = Command::new(std::env::current_exe().expect("the test's own path"));
    victim.args(["--exact", "victim"]).env("VICTIM", &note);
    let mut victim = victim.stdout(std::process::Stdio::null()).spawn().expect("run the victim");
    poll::until(SOON, "the victim has a server", || note.exists());
    let text = std::fs::read_to_string(&note).expect("read the note");
    let directory = Path::new(text.lines().next().expect("a directory"));
    let pid_file = std::fs::read_to_string(directory.join("postmaster.pid")).expect("read postmaster.pid");
    let server = Path::new("/proc").join(pid_file.lines().next().expect("a process id"));
    assert!(server.exists());
    victim.kill().expect("kill the victim");
    victim.wait().expect("reap the victim");
    poll::until(SOON, "the server and its files are gone", || !directory.exists() && !server.exists());
}
