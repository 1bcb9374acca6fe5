//! The agent in `synchronous_standby_names`: what is committed is stored.

use holdfast::pg::{Lsn, TimelineId};
use pg_fixtures::postgres::Installation;

use crate::clients::Clients;
use crate::key::Key;
use crate::site::{DEADLINE, Site, end_of_wal, server};

#[test]
fn a_commit_that_returned_is_stored_whatever_happens_to_the_agent() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let cluster = server(&installation).start();
        cluster.pgbench(&["-i", "-s", "1", "-q"]);
        cluster.sql("CREATE TABLE t (n int)");
        let site = Site::new(&cluster, "synchronous = true");
        site.holdfast.start_agent();
        site.wait_for(end_of_wal(&cluster));
        cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'holdfast'");
        cluster.reload();
        let synchronous = || cluster.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1";
        site.holdfast.wait_until(DEADLINE, "the agent is synchronous", synchronous);
        for round in 0..6 {
            println!("{}", cluster.pgbench(&["-c", "4", "-T", "2"]).lines().find(|line| line.starts_with("tps")).unwrap_or(""));
            // The commit record comes after this position.
            let before = cluster.sql("BEGIN; INSERT INTO t VALUES (1); SELECT pg_current_wal_insert_lsn(); COMMIT");
            site.holdfast.kill9();
            let before: Lsn = before.lines().find_map(|line| line.parse().ok()).expect("a position");
            let stored = site.content(TimelineId(1)).end_from(before);
            assert!(stored > before, "committed after {before}, stored up to {stored}, in round {round}");
            site.holdfast.start_agent();
        }
        site.wait_for(end_of_wal(&cluster));
        site.content(TimelineId(1)).compare(&cluster);
    }
}

/// Of a segment that has slices the whole is stored too, as `archive_command` does where the agent was away.
#[test]
fn a_segment_that_is_stored_whole_beside_its_slices_holds_up_nobody_who_cannot_read_it() {
    let cluster = server(&Installation::newest()).start();
    let site = Site::new(&cluster, &Key::new().writer());
    site.holdfast.start_agent();
    cluster.sql("CREATE TABLE t (i int)");
    site.wait_for(end_of_wal(&cluster));
    assert!(site.holdfast.terminate().success());
    cluster.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    let segment = cluster.data_directory().join("pg_wal").join(cluster.switch_wal());
    site.holdfast.run(&["wal", "push", "--resource", "postgres/main", &segment.display().to_string()]);
    site.holdfast.start_agent();
    cluster.sql("INSERT INTO t VALUES (0)");
    site.wait_for(end_of_wal(&cluster));
}

/// Slices that were on their way together overlap, and whoever writes them cannot read them again.
#[test]
fn commits_go_on_behind_every_restart_of_an_agent_that_can_write_and_not_read() {
    let cluster = server(&Installation::newest()).start();
    cluster.pgbench(&["-i", "-s", "1", "-q"]);
    let site = Site::new(&cluster, &format!("synchronous = true\n{}", Key::new().writer()));
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'holdfast'");
    cluster.reload();
    let clients = Clients::start(&cluster, 4);
    let more = || {
        let before = clients.confirmed().len();
        site.holdfast.wait_until(DEADLINE, "commits go on", || clients.confirmed().len() > before + 50);
    };
    for round in 0..6 {
        more();
        if round % 2 == 0 {
            site.holdfast.kill9();
        } else {
            assert!(site.holdfast.terminate().success());
        }
        site.holdfast.start_agent();
    }
    more();
}
