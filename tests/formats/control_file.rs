//! The control file, against `pg_controldata`.

use std::collections::HashMap;

use holdfast::pg::control::{ClusterState, ControlFile};
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

fn oracle(cluster: &Cluster) -> HashMap<String, String> {
    let directory = cluster.data_directory().to_str().expect("a UTF-8 path").to_owned();
    let output = cluster.run("pg_controldata", &["-D", &directory]);
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    output.lines().filter_map(pair).collect()
}

fn read(cluster: &Cluster) -> ControlFile {
    let bytes = std::fs::read(cluster.data_directory().join("global/pg_control")).expect("read the control file");
    ControlFile::parse(&bytes).expect("a valid control file")
}

#[test]
fn the_control_file_says_what_pg_controldata_says() {
    for installation in Installation::all() {
        let cluster = Cluster::builder(&installation)
            .wal_segment_size(64)
            .data_checksums(true)
            .setting("max_connections", "37")
            .setting("max_worker_processes", "11")
            .setting("max_wal_senders", "13")
            .setting("max_prepared_transactions", "17")
            .setting("max_locks_per_transaction", "71")
            .start();
        assert_eq!(read(&cluster).state, ClusterState::InProduction);
        cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS id; CHECKPOINT");
        cluster.stop(StopMode::Fast);
        let (control, oracle) = (read(&cluster), oracle(&cluster));
        let expect = |name: &str, value: &dyn ToString| {
            assert_eq!(oracle.get(name), Some(&value.to_string()), "PostgreSQL {}: {name}", installation.version());
        };
        assert_eq!(control.version.major, installation.version());
        assert_eq!(control.state, ClusterState::ShutDown);
        expect("Database system identifier", &control.system_id);
        expect("pg_control version number", &control.version.control_version);
        expect("Catalog version number", &control.version.catalog_version);
        expect("Latest checkpoint location", &control.checkpoint);
        expect("Latest checkpoint's REDO location", &control.redo);
        expect("Latest checkpoint's TimeLineID", &control.timeline);
        expect("Latest checkpoint's PrevTimeLineID", &control.previous_timeline);
        expect("Minimum recovery ending location", &control.min_recovery_point);
        expect("Bytes per WAL segment", &control.segment_size.bytes());
        expect("Data page checksum version", &u32::from(control.data_checksums));
        for (setting, value) in control.settings.named() {
            let name = match setting {
                "max_prepared_transactions" => "max_prepared_xacts",
                "max_locks_per_transaction" => "max_locks_per_xact",
                same => same,
            };
            expect(&format!("{name} setting"), &value);
        }
        let age = control.time.duration_since(control.checkpoint_time).as_secs();
        assert!((0..60).contains(&age), "the checkpoint is {age} s older than the file");
    }
}
