//! The disk below the repository fills up, or is mounted read-only, while the agent stores WAL: nothing acknowledged is lost, status
//! says what is wrong, and all is well again by itself when the disk is. This needs mounts, hence root; without it that is said.

use std::path::Path;
use std::process::Command;

use pg_fixtures::checksum::Moment;
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::{Scratch, ServerUser};
use serde_json::Value;

use crate::disaster::{By, comes_back};
use crate::site::{DEADLINE, Site};

/// A small disk of its own, unmounted when dropped.
struct Disk(Scratch);

impl Disk {
    /// None where nobody may mount one.
    fn new(options: &str) -> Option<Self> {
        let disk = Self(Scratch::new());
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], disk.path()).then(|| {
            ServerUser::current().own(disk.path());
            disk
        })
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn change(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], self.path()), "remount with {options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.path()).status());
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    Command::new("mount").args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_disk_that_is_full_or_read_only_costs_nothing_but_time() {
    let Some(disk) = Disk::new("size=40m") else {
        println!("LEFT OUT: nothing can be mounted here, so a full disk is not tested");
        return;
    };
    let installation = Installation::newest();
    let cluster = Cluster::builder(&installation).start();
    cluster.pgbench(&["-i", "-q", "-s", "1"]);
    let site = Site::new(&format!("url = \"file://{}/store\"", disk.path().display()), &cluster.conninfo());
    site.holdfast.start_agent();
    site.holdfast.run(&["backup"]);
    disk.change("ro");
    cluster.pgbench(&["-c", "2", "-t", "200"]);
    trouble_is_told(&site, "read-only");
    disk.change("rw");
    well_again(&site, &cluster);
    cluster.sql(NOISE);
    trouble_is_told(&site, "no space");
    let moment = Moment::mark(&cluster, "on a full disk");
    site.holdfast.crash_and_restart();
    cluster.sql("DROP TABLE noise");
    trouble_is_told(&site, "no space");
    disk.change("size=400m");
    well_again(&site, &cluster);
    cluster.kill9();
    site.holdfast.kill9();
    comes_back(&site, &installation, &moment, By::Name);
}

/// 50 MB of WAL that does not compress, which is more than the disk has room for.
const NOISE: &str = "CREATE TABLE noise AS SELECT i, (SELECT string_agg(sha256((i * 50 + j)::text::bytea), '') \
                     FROM generate_series(1, 40) AS j) FROM generate_series(1, 40000) AS i";

fn receiver(site: &Site) -> Value {
    site.status().map_or(Value::Null, |status| status["agent"]["clusters"][0].clone())
}

/// Status says what is wrong with the store.
fn trouble_is_told(site: &Site, word: &str) {
    site.holdfast.wait_until(DEADLINE, &format!("status says '{word}'"), || {
        receiver(site)["store_trouble"]["message"].as_str().is_some_and(|message| message.to_lowercase().contains(word))
    });
}

/// Everything is stored, and nothing is said to be wrong.
fn well_again(site: &Site, cluster: &Cluster) {
    let end = cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position");
    site.wait_until_recoverable(end);
    let receiver = receiver(site);
    assert!(receiver["state"] == "streaming" && receiver["store_trouble"].is_null(), "{receiver}");
}
