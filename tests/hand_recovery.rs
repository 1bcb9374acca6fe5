//! Promise 8, readable without us: the steps of `docs/hand-recovery.md`, run as they stand there with public tools only, bring back a
//! cluster from what the agent and `holdfast backup` have stored.

use std::fs;
use std::path::Path;

use pg_fixtures::checksum::{Checksums, Moment};
use pg_fixtures::postgres::{Builder, Cluster, Installation};
use pg_fixtures::{Scratch, ServerUser};

#[path = "moments/site.rs"]
mod site;

use site::{DEADLINE, DIRECTORY, Site};

const PAGE: &str = include_str!("../docs/hand-recovery.md");

/// A repository, and a moment of the cluster that is gone.
struct Legacy {
    site: Site,
    moment: Moment,
}

#[test]
fn the_page_brings_back_a_cluster_from_zstd() {
    let installation = Installation::newest();
    let legacy = Legacy::of(Cluster::builder(&installation), "zstd");
    let wal = legacy.stored_wal();
    let is_slices = |name: &&String| name.ends_with(".slices");
    assert!(wal.iter().any(|name| name.len() == 24), "no segment is stored whole: {wal:?}");
    assert!(wal.iter().filter(is_slices).count() == 1 && wal.last().is_some_and(|name| is_slices(&name)), "{wal:?}");
    legacy.comes_back(&installation);
}

#[test]
fn the_page_brings_back_a_cluster_from_lz4_with_large_segments() {
    let installation = Installation::all().remove(0);
    let legacy = Legacy::of(Cluster::builder(&installation).wal_segment_size(64), "lz4");
    let wal = legacy.stored_wal();
    assert!(wal.len() > 1 && wal.iter().all(|name| name.ends_with(".slices")), "segments of 64 MB are never whole: {wal:?}");
    legacy.comes_back(&installation);
}

impl Legacy {
    /// Lives through a backup with a tablespace, the end of a segment, and a moment in the middle of the last one.
    fn of(builder: Builder, compression: &str) -> Self {
        let cluster = builder.start();
        let place = cluster.new_directory("elsewhere");
        cluster.sql(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", place.display()));
        cluster.sql("CREATE TABLE away TABLESPACE elsewhere AS SELECT i, md5(i::text) FROM generate_series(1, 5000) AS i");
        cluster.pgbench(&["-i", "-q", "-s", "2"]);
        let repository = format!("{DIRECTORY}\ncompression = \"{compression}\"");
        let site = Site::new(&repository, &cluster.conninfo());
        site.holdfast.start_agent();
        site.holdfast.run(&["backup"]);
        cluster.pgbench(&["-c", "2", "-t", "300"]);
        cluster.sql("INSERT INTO away SELECT i, md5(i::text) FROM generate_series(5001, 9000) AS i");
        cluster.switch_wal();
        cluster.pgbench(&["-c", "2", "-t", "300"]);
        let moment = Moment::mark(&cluster, "by hand");
        cluster.sql("DROP TABLE away");
        site.wait_until_recoverable(cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position"));
        Self { site, moment }
    }

    /// The names of the stored segments, in order; those that are there in slices end in `.slices`.
    fn stored_wal(&self) -> Vec<String> {
        let folder = self.site.holdfast.scratch().path().join("store/postgres/main/wal");
        let inside = |path: &Path| fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
        let groups = inside(&folder).flat_map(|lineage| inside(&lineage).collect::<Vec<_>>());
        let objects = groups.flat_map(|group| inside(&group).collect::<Vec<_>>());
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut names: Vec<String> = objects.map(|path| name(&path)).collect();
        names.sort();
        names
    }

    /// Runs the page's steps, checks the files, starts the server and compares.
    fn comes_back(&self, installation: &Installation) {
        self.site.holdfast.kill9();
        let scratch = Scratch::new();
        let target = scratch.path().join("restored");
        fs::write(scratch.path().join("steps"), steps()).expect("write the steps");
        let mut shell = ServerUser::current().command(Path::new("/bin/sh"));
        shell.arg("-eu").arg(scratch.path().join("steps")).env("TARGET", &target).env("NAME", "main");
        shell.env("REPOSITORY", self.site.holdfast.scratch().path().join("store"));
        shell.env("RECOVERY_TARGET", format!("recovery_target_name = '{}'", self.moment.name));
        let output = shell.output().expect("run the steps");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "the steps failed ({}):\n{said}", output.status);
        let restored = Cluster::builder(installation).adopt(&target);
        restored.run("pg_verifybackup", &["-n", "-i", "tablespace_map", &target.display().to_string()]);
        restored.start();
        restored.wait_until(DEADLINE, "recovery ends", || {
            restored.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
        });
        assert_eq!(Checksums::of(&restored), self.moment.checksums);
        let place = restored.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'");
        assert!(place.starts_with(&format!("{}.tablespaces/", target.display())), "{place}");
    }
}

/// The page's `sh` blocks, in order.
fn steps() -> String {
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split_once("```").expect("a block ends").0);
    blocks.collect::<Vec<_>>().concat()
}
