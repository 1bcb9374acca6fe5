//! Servers, stores and slots that go away and come back.

use std::time::Duration;

use holdfast::pg::{Lsn, TimelineId};
use holdfast::resources::postgres::archive::State;
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

use crate::site::{DEADLINE, Site, acknowledged, end_of_wal, server};

/// Everything up to the end of the server's WAL is stored, and is what the server has.
fn check(site: &Site, cluster: &Cluster) {
    let end = end_of_wal(cluster);
    site.wait_for(end);
    let content = site.content(TimelineId(1));
    assert!(content.end_from(end) >= end);
    println!("{} bytes are the same", content.compare(cluster));
    let told = acknowledged(cluster).expect("something is acknowledged");
    assert!(content.end_from(told) >= told);
}

#[test]
fn a_server_that_restarts_is_followed_and_not_held_up() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let cluster = server(&installation).start();
        cluster.pgbench(&["-i", "-s", "1", "-q"]);
        let site = Site::new(&cluster, "");
        site.holdfast.start_agent();
        site.wait_for(end_of_wal(&cluster));
        cluster.pgbench(&["-c", "2", "-t", "200"]);
        let begun = holdfast::sys::clock::instant();
        cluster.stop(StopMode::Fast);
        assert!(begun.elapsed() < Duration::from_secs(5), "the shutdown took {:?}", begun.elapsed());
        cluster.start();
        cluster.pgbench(&["-c", "2", "-t", "200"]);
        cluster.kill9();
        cluster.start();
        cluster.pgbench(&["-c", "2", "-t", "200"]);
        check(&site, &cluster);
    }
}

#[test]
fn a_store_that_goes_away_costs_nothing_but_time() {
    let cluster = server(&Installation::newest()).start();
    cluster.pgbench(&["-i", "-s", "2", "-q"]);
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let away = site.store().with_extension("away");
    std::fs::rename(site.store(), &away).expect("hide the store");
    let before = acknowledged(&cluster).expect("something is acknowledged");
    cluster.pgbench(&["-i", "-s", "12", "-q"]);
    site.holdfast.wait_until(DEADLINE, "the agent stops reading", || {
        site.receiver().is_some_and(|status| status.state == State::Stalled && status.store_trouble.is_some())
    });
    let told = acknowledged(&cluster).expect("something is acknowledged");
    assert!(told.bytes_since(before) < 1 << 20, "acknowledged up to {told} without a store, {before} before");
    site.holdfast.wait_until(DEADLINE, "the status tells how much the slot holds back", || {
        site.receiver().and_then(|status| status.slot).is_some_and(|slot| slot.retained_bytes > 32 << 20)
    });
    site.holdfast
        .wait_until(Duration::from_secs(90), "it is not healthy", || site.get("/healthz").is_some_and(|(code, _)| code == 503));
    std::fs::rename(&away, site.store()).expect("bring the store back");
    check(&site, &cluster);
    assert_eq!(site.receiver().and_then(|status| status.store_trouble), None);
    assert_eq!(site.get("/healthz").map(|(code, _)| code), Some(200));
    assert!(site.peak_memory() < 150 << 20, "{} bytes of memory", site.peak_memory());
}

#[test]
fn a_server_can_shut_down_although_the_store_is_away() {
    let cluster = server(&Installation::newest()).setting("wal_sender_timeout", "60s").start();
    cluster.pgbench(&["-i", "-s", "2", "-q"]);
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let away = site.store().with_extension("away");
    for scale in ["1", "12"] {
        std::fs::rename(site.store(), &away).expect("hide the store");
        cluster.pgbench(&["-i", "-s", scale, "-q"]);
        let begun = holdfast::sys::clock::instant();
        cluster.stop(StopMode::Fast);
        assert!(begun.elapsed() < Duration::from_secs(15), "the shutdown took {:?}", begun.elapsed());
        std::fs::rename(&away, site.store()).expect("bring the store back");
        cluster.start();
        check(&site, &cluster);
    }
}

#[test]
fn a_slot_that_was_dropped_is_a_gap_where_wal_is_gone_and_none_where_it_is_not() {
    let cluster = server(&Installation::newest()).setting("wal_keep_size", "0").setting("max_wal_size", "64MB").start();
    cluster.pgbench(&["-i", "-s", "1", "-q"]);
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    assert!(site.holdfast.terminate().success());
    cluster.sql("SELECT pg_drop_replication_slot('holdfast')");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    assert_eq!(site.receiver().map(|status| status.gaps), Some(vec![]), "nothing was removed yet");
    assert!(site.holdfast.terminate().success());
    let stored = site.stored_end();
    cluster.sql("SELECT pg_drop_replication_slot('holdfast')");
    for _ in 0..6 {
        cluster.switch_wal();
        cluster.sql("CHECKPOINT");
    }
    site.holdfast.start_agent();
    let end = end_of_wal(&cluster);
    site.wait_for(end);
    let gaps = site.receiver().map(|status| status.gaps).unwrap_or_default();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].start, stored);
    assert!(gaps[0].end > stored && gaps[0].end <= end_of_wal(&cluster));
    let content = site.content(TimelineId(1));
    assert_eq!(content.end_from(Lsn(gaps[0].start.0 - 1)), gaps[0].start, "the gap begins where the stored WAL ends");
    assert!(content.end_from(gaps[0].end) >= end);
    // Another start goes on behind the gap, and does not find a new one.
    site.holdfast.crash_and_restart();
    cluster.pgbench(&["-c", "2", "-t", "100"]);
    site.wait_for(end_of_wal(&cluster));
    assert_eq!(site.receiver().map(|status| status.gaps), Some(gaps));
}

#[test]
fn a_slot_that_was_lost_is_made_anew_and_what_was_received_is_saved() {
    let cluster = server(&Installation::newest())
        .setting("wal_keep_size", "0")
        .setting("max_wal_size", "64MB")
        .setting("max_slot_wal_keep_size", "64MB")
        .start();
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let away = site.store().with_extension("away");
    std::fs::rename(site.store(), &away).expect("hide the store");
    let acknowledged_before = acknowledged(&cluster).expect("something is acknowledged");
    cluster.pgbench(&["-i", "-s", "20", "-q"]);
    cluster.sql("CHECKPOINT");
    site.holdfast
        .wait_until(DEADLINE, "the slot is lost", || cluster.sql("SELECT wal_status FROM pg_replication_slots") == "lost");
    let received = site.receiver().and_then(|status| status.received).expect("something was received");
    std::fs::rename(&away, site.store()).expect("bring the store back");
    site.holdfast.wait_until(DEADLINE, "the slot is made anew", || {
        cluster.sql("SELECT count(*) FROM pg_replication_slots WHERE active AND wal_status = 'reserved'") == "1"
    });
    cluster.pgbench(&["-c", "2", "-t", "100"]);
    let end = end_of_wal(&cluster);
    site.wait_for(end);
    let gaps = site.receiver().map(|status| status.gaps).unwrap_or_default();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].start >= received && received > acknowledged_before, "{gaps:?}, received up to {received}");
    assert!(site.content(TimelineId(1)).end_from(gaps[0].end) >= end);
}

#[test]
fn another_cluster_is_refused_before_a_byte_is_written() {
    let installation = Installation::newest();
    let cluster = server(&installation).start();
    let site = Site::new(&cluster, "");
    let other = server(&installation).start();
    site.configure(&other.conninfo(), "");
    site.holdfast.start_agent();
    site.holdfast.wait_until(DEADLINE, "the other cluster is refused", || {
        site.receiver().and_then(|status| status.trouble).is_some_and(|trouble| {
            trouble.message.contains(&other.system_identifier()) && trouble.message.contains(&cluster.system_identifier())
        })
    });
    assert_eq!(site.stored(TimelineId(1)), vec![]);
    assert_eq!(other.sql("SELECT count(*) FROM pg_replication_slots"), "0", "not even a slot is made");
}

#[test]
fn of_two_agents_on_one_slot_one_waits_and_takes_over() {
    let cluster = server(&Installation::newest()).start();
    cluster.pgbench(&["-i", "-s", "1", "-q"]);
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let second = site.second_agent(&cluster);
    second.start_agent();
    second.wait_until(DEADLINE, "the second agent finds the slot in use", || second.log().contains("slot is in use"));
    cluster.pgbench(&["-c", "2", "-t", "100"]);
    site.wait_for(end_of_wal(&cluster));
    site.holdfast.kill9();
    second.wait_until(DEADLINE, "the second agent streams", || {
        cluster.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"
    });
    cluster.pgbench(&["-c", "2", "-t", "100"]);
    let end = end_of_wal(&cluster);
    second.wait_until(DEADLINE, "the second agent stores", || site.content(TimelineId(1)).end_from(end) >= end);
    site.content(TimelineId(1)).compare(&cluster);
}
