//! Where recovery ended is compared with the plan: exactly, for every kind of target, on every version.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pg_fixtures::postgres::Installation;
use pg_fixtures::{FreePort, ServerUser};

use super::support::Story;

#[test]
fn recovery_ends_exactly_where_the_plan_says_for_every_kind_of_target() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let story = Story::new(&installation);
        let cluster = &story.cluster;
        cluster.sql("CREATE TABLE t (i int)");
        story.backup();
        cluster.sql("INSERT INTO t VALUES (1)");
        let lsn = cluster.sql("SELECT pg_current_wal_insert_lsn()");
        let time = cluster.sql("SELECT clock_timestamp()");
        // A rollback that leaves a record of itself is something that recovery can stop at.
        let undone = cluster.sql("BEGIN; INSERT INTO t VALUES (7); SELECT pg_current_xact_id(); ROLLBACK").trim().to_owned();
        let xid = cluster.sql("BEGIN; INSERT INTO t VALUES (2); SELECT pg_current_xact_id(); COMMIT").trim().to_owned();
        cluster.sql("SELECT pg_create_restore_point('here')");
        cluster.sql("INSERT INTO t VALUES (3)");
        story.store_wal();
        let rows = |name: &str, arguments: &[&str]| {
            let started = story.started(name, arguments);
            pg_fixtures::checksum::Database::try_statements(&started, "SELECT count(*) FROM t").expect("count the rows")
        };
        let exclusive = "--target-exclusive";
        assert_eq!(rows("time", &["--target-time", &time]), "1");
        assert_eq!(rows("lsn", &["--target-lsn", &lsn, exclusive]), "1");
        assert_eq!(rows("lsni", &["--target-lsn", &lsn]), "1", "the record at the position begins a transaction");
        assert_eq!(rows("xid", &["--target-xid", &xid]), "2");
        assert_eq!(rows("xidx", &["--target-xid", &xid, exclusive, "--target-action", "pause"]), "1");
        assert_eq!(rows("undone", &["--target-xid", &undone]), "1");
        assert_eq!(rows("undonex", &["--target-xid", &undone, exclusive]), "1");
        assert_eq!(rows("name", &["--target-name", "here"]), "2");
        assert_eq!(rows("now", &["--target", "immediate"]), "0");
        assert_eq!(rows("end", &[]), "3");
    }
}

#[test]
fn a_recovery_that_ends_elsewhere_fails_loudly() {
    let story = Story::new(&Installation::newest());
    story.backup();
    for name in ["first", "second"] {
        story.cluster.sql(&format!("SELECT pg_create_restore_point('{name}')"));
    }
    story.store_wal();
    // Somebody changes the target behind the plan's back.
    let programs = story.scratch.new_directory("programs");
    let real = story.cluster.program("pg_ctl");
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\nsed -i \"s/^recovery_target_name = .*/recovery_target_name = 'second'/\" \"$last/postgresql.auto.conf\"\nexec {} \"$@\"\n",
        real.display()
    );
    fs::write(programs.join("pg_ctl"), script).expect("write a program");
    fs::set_permissions(programs.join("pg_ctl"), fs::Permissions::from_mode(0o755)).expect("make it executable");
    ServerUser::current().own_all(&programs);
    for format in ["json", "text"] {
        let (to, port) = (story.place(format), FreePort::take());
        let sockets = story.scratch.new_directory(&format!("s{format}")).display().to_string();
        let (directory, number) = (to.display().to_string(), port.number().to_string());
        let output = story.holdfast.try_run(&[
            "restore",
            "--to",
            &directory,
            "--programs",
            &programs.display().to_string(),
            "--target-name",
            "first",
            "--start",
            "--port",
            &number,
            "--socket-directory",
            &sockets,
            "--output",
            format,
        ]);
        let stop = ["stop", "--mode=immediate", "--pgdata", &directory].map(str::to_owned);
        story.cluster.try_run("pg_ctl", &stop);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("'first'") && text.contains("'second'"), "{text}");
        match format {
            "json" => {
                let report: serde_json::Value = serde_json::from_str(&text).expect("a report");
                assert!(report["recovered"]["differences"].as_array().is_some_and(|all| !all.is_empty()), "{report:#}");
            }
            _ => {
                assert!(
                    text.starts_with("RECOVERY DID NOT END WHERE THE PLAN SAYS") && text.contains("NOT AS PLANNED"),
                    "{text}"
                );
            }
        }
    }
}
