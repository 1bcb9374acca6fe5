//! Every version, the repository in a directory.

use holdfast::pg::Lsn;
use pg_fixtures::checksum::Moment;
use pg_fixtures::postgres::{Cluster, Installation, Load};

use crate::disaster::{By, comes_back, comes_back_and_starts};
use crate::key::Key;
use crate::kills::under_kills;
use crate::site::{DEADLINE, DIRECTORY, Site};
use pg_fixtures::dice::{Dice, rounds};

/// Slow enough for a busy machine, quick enough that something is always on its way.
const LOAD: [&str; 6] = ["-c", "4", "-R", "200", "-T", "3600"];

/// Those below, of and above the size of the pieces that are stored.
const SEGMENT_SIZES: [u32; 3] = [1, 16, 64];

/// Tables of all sorts that pgbench does not have.
const TABLES: &str = "CREATE TABLE wide AS SELECT i, repeat(md5(i::text), 200) AS text FROM generate_series(1, 500) AS i; \
                      CREATE INDEX ON wide (i); CREATE TABLE empty (i int)";

#[test]
fn a_marked_moment_comes_back_whatever_is_killed() {
    let mut dice = Dice::new();
    for _ in 0..rounds() {
        let first = dice.below(3);
        for (installation, number) in Installation::all().into_iter().zip(first..) {
            let megabytes = SEGMENT_SIZES[small(dice.below(3))];
            // Every other one is encrypted, and who takes it in has no key.
            let key = number.is_multiple_of(2).then(Key::new);
            let encrypted = key.is_some();
            println!("PostgreSQL {}, segments of {megabytes} MB, encrypted: {encrypted}", installation.version());
            let cluster = Cluster::builder(&installation).wal_segment_size(megabytes).start();
            cluster.pgbench(&["-i", "-q", "-s", "2"]);
            cluster.sql(TABLES);
            let repository = |encryption: Option<String>| format!("{DIRECTORY}\n{}", encryption.unwrap_or_default());
            let site = Site::new(&repository(key.as_ref().map(Key::writer)), &cluster.conninfo());
            let [one, other] = live(&cluster, &site, &mut dice);
            cluster.kill9();
            site.holdfast.kill9();
            site.configure(&repository(key.as_ref().map(Key::reader)));
            let by = |number: u64| By::ALL[small(number % 3)];
            comes_back(&site, &installation, &one, by(number));
            comes_back_and_starts(&site, &installation, &other, by(number + 1));
        }
    }
}

fn small(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

/// A life with a base backup under load, two marked moments, and both the agent and the server dying in between.
fn live(cluster: &Cluster, site: &Site, dice: &mut Dice) -> [Moment; 2] {
    let load = cluster.pgbench_background(&LOAD);
    site.holdfast.start_agent();
    let (moments, load) = under_kills(site, dice, |dice| {
        dice.pause(0..2000);
        // So slow that the agent dies several times before the backup is complete.
        site.holdfast.run(&["backup", "postgres/main", "--max-rate", "12000"]);
        dice.pause(0..2000);
        let one = Moment::mark(cluster, "one moment");
        dice.pause(500..2000);
        let load = crash(cluster, load);
        dice.pause(500..2000);
        (([one, Moment::mark(cluster, "other moment")]), load)
    });
    dice.pause(500..2000);
    site.wait_until_recoverable(end_of_wal(cluster));
    load.stop();
    moments
}

/// The server is killed and started again, and so is the load, which does not survive that.
fn crash(cluster: &Cluster, load: Load) -> Load {
    load.stop();
    cluster.kill9();
    cluster.start();
    let load = cluster.pgbench_background(&LOAD);
    let begun = end_of_wal(cluster);
    cluster.wait_until(DEADLINE, "the load works again", || end_of_wal(cluster) > begun);
    load
}

fn end_of_wal(cluster: &Cluster) -> Lsn {
    cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position")
}
