//! The plain course of things.

use std::time::Duration;

use holdfast::pg::TimelineId;
use pg_fixtures::agent::Holdfast;
use pg_fixtures::postgres::Installation;

use crate::site::{DEADLINE, Site, end_of_wal, server};

#[test]
fn what_is_committed_is_stored_within_the_delay() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let cluster = server(&installation).start();
        cluster.pgbench(&["-i", "-s", "2", "-q"]);
        let site = Site::new(&cluster, "");
        let begin = cluster.sql("SELECT redo_lsn FROM pg_control_checkpoint()").parse().expect("a position");
        site.holdfast.start_agent();
        site.wait_for(end_of_wal(&cluster));
        let load = cluster.pgbench_background(&["-c", "4", "-R", "200", "-T", "600"]);
        std::thread::sleep(Duration::from_secs(15));
        load.stop();
        let end = end_of_wal(&cluster);
        site.wait_for(end);
        let delay = site.receiver().and_then(|status| status.delay).expect("delays");
        println!("{delay:?}");
        assert!(delay.commits > 500 && delay.p99_seconds < 1.2, "{delay:?}");
        let content = site.content(TimelineId(1));
        assert!(content.end_from(end) >= end);
        println!("{} bytes are the same", content.compare(&cluster));
        content.dump(&cluster, begin, end);
        assert_eq!(site.get("/healthz"), Some((200, "ok\n".to_owned())));
        assert!(site.holdfast.terminate().success());
        site.holdfast.wait_until(DEADLINE, "the slot is free", || {
            cluster.sql("SELECT count(*) FROM pg_replication_slots WHERE active") == "0"
        });
    }
}

#[test]
fn what_is_stored_is_reported_to_the_server_at_once() {
    // The agent says something every 10 seconds anyway.
    let installation = Installation::newest();
    let cluster = server(&installation).setting("wal_sender_timeout", "1min").start();
    let site = Site::new(&cluster, "max_delay = \"0.2s\"");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    cluster.sql("CREATE TABLE told (number int)");
    for number in 0..6 {
        cluster.sql(&format!("INSERT INTO told VALUES ({number})"));
        let end = end_of_wal(&cluster);
        site.holdfast.wait_until(Duration::from_secs(6), "the server was told of the commit", || {
            let flushed = format!(
                "SELECT flush_lsn >= '{end}' FROM pg_stat_replication WHERE application_name = 'holdfast' AND state = 'streaming'"
            );
            cluster.sql(&flushed) == "t"
        });
    }
}

#[test]
fn an_agent_of_another_repository_that_answers_is_not_taken_for_this_ones() {
    let cluster = server(&Installation::newest()).start();
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    assert!(site.holdfast.run(&["status"]).contains("the agent streams"));
    let text = std::fs::read_to_string(site.holdfast.configuration()).expect("a configuration");
    let other = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &text.replace("/store\"", "/other\""));
    other.run(&["init"]);
    let status = other.run(&["status"]);
    assert!(status.contains("writes into another repository") && !status.contains("the agent streams"), "{status}");
    let check = other.try_run(&["check"]);
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.contains("writes into another repository"), "{check}");
}
