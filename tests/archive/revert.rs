//! A cluster that has lived twice: its data directory was put back to an earlier state.

use std::path::Path;
use std::process::Command;

use pg_fixtures::postgres::{Cluster, Installation, StopMode};

use crate::site::{DEADLINE, Site, acknowledged, end_of_wal, server};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("run cp");
    assert!(copied.success(), "cp {} {}", from.display(), to.display());
}

fn fill(cluster: &Cluster, mark: &str, rows: u32) {
    cluster.sql(&format!("INSERT INTO t SELECT '{mark}' || repeat(md5(g::text), 30) FROM generate_series(1, {rows}) g"));
}

/// What was stored in the first life lies where the second life's WAL belongs: it must not pass for that.
#[test]
fn wal_of_another_life_is_never_acknowledged_as_this_ones() {
    let cluster = server(&Installation::newest()).wal_segment_size(1).start();
    cluster.sql("CREATE TABLE t (x text)");
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    site.holdfast.kill9();
    cluster.stop(StopMode::Fast);
    let snapshot = cluster.data_directory().with_extension("snapshot");
    copy(cluster.data_directory(), &snapshot);

    cluster.start();
    site.holdfast.start_agent();
    fill(&cluster, "A", 3000);
    cluster.switch_wal();
    site.wait_for(end_of_wal(&cluster));
    site.holdfast.kill9();
    cluster.kill9();

    std::fs::remove_dir_all(cluster.data_directory()).expect("remove the first life");
    copy(&snapshot, cluster.data_directory());
    cluster.start();
    let reverted = acknowledged(&cluster).expect("the slot holds WAL back");
    fill(&cluster, "B", 9000);
    site.holdfast.start_agent();
    site.holdfast.wait_until(DEADLINE, "the agent says that other content is stored", || {
        let trouble = site.receiver().and_then(|status| status.trouble);
        trouble.is_some_and(|trouble| trouble.message.contains("contradicts what is stored"))
    });
    let told = acknowledged(&cluster).expect("the slot holds WAL back");
    let segment = 1 << 20;
    assert!(
        told.0 < (reverted.0 / segment + 1) * segment,
        "acknowledged up to {told}, although {reverted} was the last in common"
    );
}
