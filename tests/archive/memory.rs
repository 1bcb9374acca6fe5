//! A flood of WAL, and a store that cannot keep up: memory stays bounded, nothing is lost, nobody is held up.

use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use holdfast::pg::TimelineId;
use pg_fixtures::agent::shim;
use pg_fixtures::poll;
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::proxy::Proxy;
use pg_fixtures::s3::SeaweedFs;

use crate::key::Key;
use crate::site::{DEADLINE, Site, end_of_wal, server};

const DIRECTORY: &str = "url = \"file://{scratch}/store\"";

const MEMORY_MAX: u64 = 150 << 20;

/// Writes so many times 8 MB of WAL that no compression makes smaller.
fn flood(cluster: &Cluster, times: u32) {
    cluster.sql("CREATE TABLE IF NOT EXISTS noise (b bytea); ALTER TABLE noise ALTER b SET STORAGE EXTERNAL");
    for _ in 0..times {
        cluster.sql("INSERT INTO noise SELECT pg_read_binary_file('/dev/urandom', n, 1000000) FROM generate_series(0, 7) AS n");
    }
}

/// Makes the bucket of `store`.
pub fn bucket(server: &SeaweedFs) {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY, None, None, "test"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let created = poll::try_until(DEADLINE, || runtime.block_on(client.create_bucket().bucket("wal").send()).is_ok());
    assert!(created, "the bucket cannot be created");
}

/// The lines of `[repository]` for a bucket of that server.
pub fn store(endpoint: &str) -> String {
    let (id, secret) = (SeaweedFs::ACCESS_KEY_ID, SeaweedFs::SECRET_ACCESS_KEY);
    format!(
        "url = \"s3://wal/prefix\"\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\n\
         access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\""
    )
}

#[test]
fn memory_is_bounded_under_a_flood_whatever_the_size_of_segments() {
    let key = Key::new();
    for (megabytes, encryption) in [(1, ""), (16, ""), (64, &*key.reader())] {
        let cluster = server(&Installation::newest()).wal_segment_size(megabytes).start();
        let site = Site::with_store(&format!("{DIRECTORY}\n{encryption}"), &cluster.conninfo(), "");
        site.holdfast.start_agent();
        flood(&cluster, 30);
        let end = end_of_wal(&cluster);
        site.wait_for(end);
        let peak = site.peak_memory();
        println!("segments of {megabytes} MB, {encryption:.12}: {} MB of memory at most", peak >> 20);
        assert!(peak < MEMORY_MAX, "{peak} bytes");
        site.content(TimelineId(1)).compare(&cluster);
    }
}

/// Both ways in at once, commits that wait, a store over the network, and an agent that was away: all that takes memory comes together.
#[test]
fn memory_is_bounded_where_both_ways_in_store_a_backlog_at_once() {
    let seaweed = SeaweedFs::start();
    bucket(&seaweed);
    for megabytes in [16, 32] {
        let cluster = server(&Installation::newest()).wal_segment_size(megabytes).setting("archive_mode", "on").start();
        let store = store(&seaweed.endpoint()).replace("prefix", &format!("segments-{megabytes}"));
        let site = Site::with_store(&store, &cluster.conninfo(), "synchronous = true");
        site.holdfast.start_agent();
        site.wait_for(end_of_wal(&cluster));
        site.holdfast.kill9();
        flood(&cluster, 12);
        let command = format!(
            "{} --socket {} --config {} --resource postgres/main %p",
            shim(env!("CARGO_BIN_EXE_holdfast"), "holdfast-archive-command").display(),
            site.holdfast.scratch().path().join("agent.sock").display(),
            site.holdfast.configuration().display(),
        );
        cluster.sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        site.holdfast.start_agent();
        cluster.reload();
        flood(&cluster, 12);
        let last = cluster.switch_wal();
        site.wait_for(end_of_wal(&cluster));
        let archived = || cluster.sql("SELECT last_archived_wal FROM pg_stat_archiver") >= last;
        site.holdfast.wait_until(DEADLINE, "the archiver has caught up", archived);
        let peak = site.peak_memory();
        println!("segments of {megabytes} MB: {} MB of memory at most", peak >> 20);
        assert!(peak < MEMORY_MAX, "{peak} bytes");
        site.content(TimelineId(1)).compare(&cluster);
    }
}

#[test]
fn a_store_that_cannot_keep_up_costs_neither_memory_nor_wal() {
    let seaweed = SeaweedFs::start();
    bucket(&seaweed);
    let proxy = Proxy::to(seaweed.port());
    let cluster = server(&Installation::newest()).start();
    cluster.pgbench(&["-i", "-s", "2", "-q"]);
    let site = Site::with_store(&store(&proxy.endpoint()), &cluster.conninfo(), "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let load = cluster.pgbench_background(&["-c", "2", "-T", "600"]);
    std::thread::sleep(Duration::from_secs(12));
    load.stop();
    site.wait_for(end_of_wal(&cluster));
    let delay = site.receiver().and_then(|status| status.delay).expect("delays");
    println!("{delay:?}");
    assert!(delay.p99_seconds < 1.2, "{delay:?}");
    proxy.throttle(6 << 20);
    flood(&cluster, 20);
    std::thread::sleep(Duration::from_secs(5));
    assert!(cluster.sql("SELECT count(*) FROM pg_stat_replication WHERE state <> 'startup'") == "1", "the stream goes on");
    proxy.throttle(0);
    let end = end_of_wal(&cluster);
    site.wait_for(end);
    let peak = site.peak_memory();
    println!("{} MB of memory at most", peak >> 20);
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    assert!(site.content(TimelineId(1)).end_from(end) >= end);
    site.content(TimelineId(1)).compare(&cluster);
}

#[test]
fn an_s3_server_that_is_killed_and_comes_back_is_gone_on_with() {
    let mut seaweed = SeaweedFs::start();
    bucket(&seaweed);
    let cluster = server(&Installation::newest()).start();
    cluster.pgbench(&["-i", "-s", "2", "-q"]);
    let site = Site::with_store(&store(&seaweed.endpoint()), &cluster.conninfo(), "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    let load = cluster.pgbench_background(&["-c", "2", "-T", "600"]);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(2));
        seaweed.kill();
        std::thread::sleep(Duration::from_secs(4));
        seaweed.restart();
    }
    load.stop();
    let end = end_of_wal(&cluster);
    site.wait_for(end);
    assert!(site.content(TimelineId(1)).end_from(end) >= end);
    site.content(TimelineId(1)).compare(&cluster);
}
