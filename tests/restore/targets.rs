//! Every kind of target leads to the moment that was meant.

use std::fs;
use std::io::Write;

use holdfast::pg::Lsn;
use pg_fixtures::FreePort;
use pg_fixtures::checksum::{Checksums, Database, Moment};
use pg_fixtures::postgres::Installation;

use super::support::Story;

/// A cluster under load with two backups and three marked moments, the last one between two transactions that are known.
struct Marked {
    story: Story,
    moments: Vec<Moment>,
    /// Committed right before the last moment.
    last_in: String,
    /// Committed right after it.
    first_out: String,
    end: Checksums,
}

fn marked(installation: &Installation) -> Marked {
    let story = Story::new(installation);
    let cluster = &story.cluster;
    cluster.pgbench(&["-i", "-q", "-s", "1"]);
    cluster.sql("CREATE TABLE known (i int)");
    let load = cluster.pgbench_background(&["-n", "-c", "2", "-T", "600"]);
    story.backup();
    let mut moments = vec![Moment::mark(cluster, "first")];
    story.store_wal();
    story.backup();
    moments.push(Moment::mark(cluster, "second"));
    load.stop();
    cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench'");
    let insert = || {
        let rows = cluster.sql("BEGIN; INSERT INTO known VALUES (1); SELECT pg_current_xact_id(); COMMIT;");
        rows.trim().to_owned()
    };
    let last_in = insert();
    moments.push(Moment::mark(cluster, "third"));
    let first_out = insert();
    cluster.sql("INSERT INTO known VALUES (3)");
    let end = Checksums::of(cluster);
    story.store_wal();
    Marked { story, moments, last_in, first_out, end }
}

#[test]
fn a_restored_cluster_holds_what_was_there_at_the_moment() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let Marked { story, moments, last_in, first_out, end } = marked(&installation);
        for (number, moment) in moments.iter().enumerate() {
            for (kind, value) in [("time", &moment.time), ("lsn", &moment.lsn), ("name", &moment.name)] {
                let option = format!("--target-{kind}");
                let found = story.restored_content(&format!("{kind}{number}"), &[&option, value]);
                assert_eq!(found, moment.checksums, "{kind} of the moment {}", moment.name);
            }
        }
        let third = &moments[2].checksums;
        assert_eq!(&story.restored_content("xid", &["--target-xid", &last_in]), third);
        assert_eq!(&story.restored_content("xidx", &["--target-xid", &first_out, "--target-exclusive"]), third);
        assert_eq!(story.restored_content("end", &[]), end);
    }
}

#[test]
fn a_transaction_is_found_where_segments_without_a_commit_follow() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    let xid = story.cluster.sql("INSERT INTO t VALUES (1) RETURNING pg_current_xact_id()");
    let expected = Checksums::of(&story.cluster);
    for _ in 0..3 {
        story.cluster.sql("SELECT pg_logical_emit_message(false, 'no', 'commit')");
        story.store_wal();
    }
    assert_eq!(story.restored_content("xid", &["--target-xid", &xid]), expected);
}

#[test]
fn the_first_consistent_point_is_a_target() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    let before = Checksums::of(&story.cluster);
    story.backup();
    story.cluster.sql("DELETE FROM t");
    story.store_wal();
    assert_eq!(story.restored_content("immediate", &["--target", "immediate"]), before);
}

#[test]
fn start_follows_recovery_to_its_end_and_says_where_that_was() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let story = Story::new(&installation);
        story.cluster.sql("CREATE TABLE t (i int)");
        story.backup();
        let moment = Moment::mark(&story.cluster, "here");
        story.cluster.sql("INSERT INTO t VALUES (1)");
        story.store_wal();
        for (action, end) in [("promote", "promoted"), ("pause", "paused"), ("shutdown", "shut-down")] {
            let (port, sockets) = (FreePort::take(), story.scratch.new_directory(&format!("s{action}")));
            let (number, sockets) = (port.number().to_string(), sockets.display().to_string());
            let to = story.place(action);
            let start = ["--start", "--port", &number, "--socket-directory", &sockets, "--output", "json"];
            let mut arguments = vec!["--target-name", &moment.name, "--target-action", action];
            arguments.extend(start);
            let output = story.try_restore(&to, &arguments);
            assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
            assert_eq!(report["recovered"]["end"], end, "{report}");
            assert_eq!(report["recovered"]["lsn"], as_written_here(&moment.lsn), "{report}");
            assert_eq!(report["recovered"]["port"].as_u64().unwrap_or(port.number().into()), u64::from(port.number()));
            if action != "shutdown" {
                let stop = ["stop", "--mode=immediate", "--pgdata", &to.display().to_string()].map(str::to_owned);
                story.cluster.run("pg_ctl", &stop);
            }
        }
    }
}

#[test]
fn start_says_how_far_was_replayed_as_the_server_that_waits_there_does() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    let moment = Moment::mark(&story.cluster, "here");
    story.cluster.sql("INSERT INTO t VALUES (1)");
    story.store_wal();
    for (option, value) in
        [("--target", "immediate"), ("--target-lsn", moment.lsn.as_str()), ("--target-time", moment.time.as_str())]
    {
        let waiting = story.started(&option[2..], &[option, value, "--target-action", "pause"]);
        let replayed = waiting.try_statements("SELECT pg_last_wal_replay_lsn()").expect("an answer");
        assert_eq!(waiting.report["recovered"]["lsn"], as_written_here(&replayed), "{option}");
    }
}

/// A position that a server has written, whatever its version.
fn as_written_here(lsn: &str) -> String {
    lsn.parse::<Lsn>().expect("an LSN").to_string()
}

/// On the usual night the original, or what is left of it, still runs on the same host.
#[test]
fn a_restored_server_leaves_the_port_to_the_original_that_has_it() {
    let story = Story::new(&Installation::newest());
    let (port, sockets) = (story.cluster.port(), story.scratch.new_directory("sockets"));
    let mut settings =
        fs::OpenOptions::new().append(true).open(story.cluster.data_directory().join("postgresql.conf")).expect("open");
    writeln!(settings, "port = {port}\nunix_socket_directories = '{}'", sockets.display()).expect("configure");
    story.backup();
    story.store_wal();
    let to = story.place("beside");
    let output = story.try_restore(&to, &["--start", "--output", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    let chosen = report["recovered"]["port"].as_u64().expect("a port");
    let stop = ["stop", "--mode=immediate", "--pgdata", &to.display().to_string()].map(str::to_owned);
    story.cluster.run("pg_ctl", &stop);
    assert_ne!(chosen, u64::from(port));
    assert_eq!(story.cluster.sql("SELECT 1"), "1", "the original goes on");
}

#[test]
fn a_recovery_that_fails_shows_the_servers_last_words() {
    let story = Story::new(&Installation::newest());
    story.backup();
    story.cluster.sql("CREATE TABLE t (i int)");
    let lsn = story.cluster.lsn();
    story.store_wal();
    story.cluster.sql("INSERT INTO t VALUES (1)");
    story.store_wal();
    let to = story.place("failing");
    let (port, sockets) = (FreePort::take(), story.scratch.new_directory("s"));
    let number = port.number().to_string();
    let blocked = std::net::TcpListener::bind(("127.0.0.1", port.number())).ok();
    std::fs::remove_dir(&sockets).expect("remove the socket directory");
    let sockets = sockets.display().to_string();
    let output = story.try_restore(&to, &["--target-lsn", &lsn, "--start", "--port", &number, "--socket-directory", &sockets]);
    drop(blocked);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("FATAL"), "{errors}");
}
