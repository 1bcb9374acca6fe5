//! The agent killed at any moment.

use holdfast::pg::TimelineId;
use pg_fixtures::dice::Dice;
use pg_fixtures::postgres::Installation;

use crate::site::{Site, acknowledged, end_of_wal, server};

#[test]
fn everything_acknowledged_is_stored_however_often_the_agent_is_killed() {
    let mut dice = Dice::new();
    for (installation, megabytes) in Installation::all().into_iter().zip([16, 1, 64]) {
        println!("PostgreSQL {}, segments of {megabytes} MB", installation.version());
        let cluster = server(&installation).wal_segment_size(megabytes).start();
        cluster.pgbench(&["-i", "-s", "5", "-q"]);
        let site = Site::new(&cluster, "");
        let load = cluster.pgbench_background(&["-c", "4", "-T", "600"]);
        for round in 0..8 {
            site.holdfast.start_agent();
            dice.pause(300..3300);
            if round % 3 == 2 {
                cluster.sql("SELECT pg_switch_wal()");
            }
            let told = acknowledged(&cluster);
            site.holdfast.kill9();
            let told = acknowledged(&cluster).max(told);
            if let Some(told) = told.filter(|_| round > 0) {
                let stored = site.content(TimelineId(1)).end_from(told);
                assert!(stored >= told, "acknowledged up to {told}, stored up to {stored}, in round {round}");
            }
        }
        load.stop();
        site.holdfast.start_agent();
        let end = end_of_wal(&cluster);
        site.wait_for(end);
        let content = site.content(TimelineId(1));
        assert!(content.end_from(end) >= end);
        println!("{} bytes are the same", content.compare(&cluster));
        assert!(site.receiver().is_some_and(|status| status.gaps.is_empty()));
        assert!(site.peak_memory() < 150 << 20, "{} bytes of memory", site.peak_memory());
    }
}
