//! Two copies of a running cluster, each with an agent, one repository: what one was told is stored is never contradicted by the other.

use std::process::Command;

use holdfast::pg::{Lsn, SegmentName, SegmentNumber, TimelineId};
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::s3::SeaweedFs;
use pg_fixtures::{Scratch, ServerUser, poll};

use crate::memory::{bucket, store};
use crate::site::{DEADLINE, Site, acknowledged, server};

/// A copy of a running cluster, made file by file as a snapshot of its disk would be, and running.
pub fn hot_clone(cluster: &Cluster, scratch: &Scratch) -> Cluster {
    let directory = scratch.path().join("clone");
    cluster.kill9();
    let copied = Command::new("cp").arg("-a").arg(cluster.data_directory()).arg(&directory).status().expect("run cp");
    assert!(copied.success());
    ServerUser::current().own(scratch.path());
    cluster.start();
    Cluster::builder(&Installation::newest()).start_existing(&directory)
}

/// The first position at which the WAL of two servers differs.
pub fn fork(one: &Cluster, two: &Cluster, from: Lsn) -> Lsn {
    let size = holdfast::pg::SegmentSize::DEFAULT;
    for number in SegmentNumber::containing(from, size).0.. {
        let name = SegmentName::new(TimelineId(1), SegmentNumber(number), size).to_string();
        let read = |cluster: &Cluster| std::fs::read(cluster.data_directory().join("pg_wal").join(&name)).expect("a segment");
        if let Some(offset) = read(one).iter().zip(read(two)).position(|(one, two)| *one != two) {
            return Lsn(SegmentNumber(number).start(size).0 + offset as u64);
        }
    }
    Lsn(u64::MAX)
}

fn never_both(site: &Site, cluster: &Cluster) {
    cluster.pgbench(&["-i", "-s", "1", "-q"]);
    site.holdfast.start_agent();
    site.wait_for(crate::site::end_of_wal(cluster));
    let common = crate::site::end_of_wal(cluster);
    site.holdfast.kill9();
    let scratch = Scratch::new();
    let clone = hot_clone(cluster, &scratch);
    let second = site.second_agent(&clone);
    // Both write at once, and neither ever fills the segment.
    let loads = [cluster, &clone].map(|cluster| cluster.pgbench_background(&["-c", "1", "-R", "40", "-T", "600"]));
    site.holdfast.start_agent();
    second.start_agent();
    let noticed = |log: String| log.contains("contradicts what is stored") || log.contains("other content");
    let one_refused = poll::try_until(DEADLINE, || noticed(site.holdfast.log()) || noticed(second.log()));
    assert!(one_refused, "nobody noticed:\n{}\n{}", site.holdfast.log(), second.log());
    site.holdfast.wait_until(DEADLINE, "the conflict is recorded", || {
        !site.runtime.block_on(site.archive.conflicts()).expect("the conflicts").records.is_empty()
    });
    let check = site.holdfast.try_run(&["check"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&check.stdout).contains("two servers"), "{}", String::from_utf8_lossy(&check.stdout));
    // One of them goes on all the same.
    let told = || [cluster, &clone].map(|cluster| acknowledged(cluster).unwrap_or_default());
    let fork = fork(cluster, &clone, common);
    let goes_on = Lsn(told().into_iter().max().unwrap_or_default().0.max(fork.0) + 20_000);
    site.holdfast.wait_until(DEADLINE, "one of the two is stored on", || told().into_iter().any(|told| told > goes_on));
    loads.into_iter().for_each(pg_fixtures::postgres::Load::stop);
    // Not killed: the one that is refused may be about to take back what it has just put.
    site.holdfast.terminate();
    second.terminate();
    let told = told();
    println!("they differ from {fork} on, and were told {told:?}");
    assert!(told.iter().any(|told| *told <= fork), "both were acknowledged: they differ from {fork} on, and were told {told:?}");
    for (cluster, told) in [cluster, &clone].into_iter().zip(told) {
        site.content(TimelineId(1)).compare_before(cluster, told);
        assert!(site.content(TimelineId(1)).end_from(told) >= told);
    }
}

#[test]
fn of_two_clones_that_write_one_segment_only_one_is_acknowledged() {
    let cluster = server(&Installation::newest()).start();
    never_both(&Site::new(&cluster, ""), &cluster);
}

#[test]
fn of_two_clones_that_write_one_segment_only_one_is_acknowledged_in_a_bucket_either() {
    let seaweed = SeaweedFs::start();
    bucket(&seaweed);
    let cluster = server(&Installation::newest()).start();
    never_both(&Site::with_store(&store(&seaweed.endpoint()), &cluster.conninfo(), ""), &cluster);
}

#[test]
fn a_base_backup_of_a_clone_is_not_listed_beside_the_wal_of_the_other() {
    let cluster = server(&Installation::newest()).start();
    cluster.pgbench(&["-i", "-s", "1", "-q"]);
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(crate::site::end_of_wal(&cluster));
    let scratch = Scratch::new();
    let clone = hot_clone(&cluster, &scratch);
    // The original goes on, far enough that the WAL of a backup of the clone seems to be stored.
    for _ in 0..2 {
        cluster.pgbench(&["-t", "200"]);
        cluster.switch_wal();
    }
    site.wait_for(crate::site::end_of_wal(&cluster));
    let refused = site.second_agent(&clone).try_run(&["backup"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the stored WAL is not this server's") && said.contains("a resource name of its own"), "{said}");
    let listed = || {
        let text = site.holdfast.run(&["backups", "--output", "json"]);
        let backups: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        backups["backups"].as_array().expect("backups").len()
    };
    assert_eq!(listed(), 0);
    site.holdfast.run(&["backup"]);
    assert_eq!(listed(), 1, "the original's is");
}
