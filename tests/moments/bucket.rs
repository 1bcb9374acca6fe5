//! The repository in a bucket, whose server dies as well, and encrypted.

use std::time::Duration;

use pg_fixtures::checksum::Moment;
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::s3::SeaweedFs;

use crate::disaster::{By, comes_back};
use crate::key::Key;
use crate::kills::under_kills;
use crate::seaweed;
use crate::site::{DEADLINE, Site};
use pg_fixtures::dice::{Dice, rounds};

const LOAD: [&str; 6] = ["-c", "4", "-R", "200", "-T", "3600"];
/// How long the load is measured.
const MEASURED: Duration = Duration::from_secs(15);

#[test]
fn a_marked_moment_comes_back_from_a_bucket_whose_server_died() {
    let mut dice = Dice::new();
    for _ in 0..rounds() {
        let installation = Installation::newest();
        let (mut server, cluster) = (SeaweedFs::start(), Cluster::builder(&installation).start());
        cluster.pgbench(&["-i", "-q", "-s", "2"]);
        let (bucket, key) = (bucket(&server), Key::new());
        let site = Site::new(&format!("{bucket}\n{}", key.writer()), &cluster.conninfo());
        site.holdfast.start_agent();
        // What was committed before has waited for the agent, and counts.
        site.holdfast.wait_until(DEADLINE, "WAL is streamed", || {
            site.status().is_some_and(|status| status["agent"]["clusters"][0]["state"] == "streaming")
        });
        let load = cluster.pgbench_background(&LOAD);
        loss_window_is_small(&site);
        let moment = under_kills(&site, &mut dice, |dice| {
            site.holdfast.run(&["backup", "postgres/main", "--max-rate", "12000"]);
            server.kill();
            dice.pause(1000..4000);
            let moment = Moment::mark(&cluster, "while the store is away");
            dice.pause(500..2000);
            server.restart();
            moment
        });
        dice.pause(500..2000);
        site.wait_until_recoverable(cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position"));
        load.stop();
        cluster.kill9();
        site.holdfast.kill9();
        site.configure(&format!("{bucket}\n{}", key.reader()));
        comes_back(&site, &installation, &moment, By::Time);
    }
}

/// Makes a bucket; the part of the configuration that leads to it.
fn bucket(server: &SeaweedFs) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(seaweed::bucket(server, "moments"));
    format!(
        "url = \"s3://moments/prod\"\nendpoint = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"",
        server.endpoint(),
        SeaweedFs::ACCESS_KEY_ID,
        SeaweedFs::SECRET_ACCESS_KEY
    )
}

/// What status says of the delay from commit to stored, under a steady load.
fn loss_window_is_small(site: &Site) {
    let delay = || site.status().map(|status| status["agent"]["clusters"][0]["delay"].clone());
    site.holdfast.wait_until(DEADLINE, "commits are stored", || delay().is_some_and(|delay| delay["commits"].as_u64() > Some(0)));
    std::thread::sleep(MEASURED);
    let delay = delay().expect("status answers");
    println!("commit to stored: {delay}");
    assert!(delay["commits"].as_u64() > Some(1000) && delay["p99_seconds"].as_f64() < Some(1.2), "{delay}");
}
