//! Promise 8, readable without us: the steps of `docs/hand-recovery.md`, run as they stand there with public tools only, bring back a
//! cluster from what the agent and `holdfast backup` have stored.

use std::fs;
use std::path::Path;
use std::process::Command;

use pg_fixtures::checksum::{Checksums, Moment};
use pg_fixtures::postgres::{Builder, Cluster, Installation};
use pg_fixtures::{Scratch, ServerUser};

#[path = "moments/key.rs"]
mod key;
#[path = "moments/site.rs"]
mod site;

use key::Key;
use site::{DEADLINE, DIRECTORY, Site};

const PAGE: &str = include_str!("../docs/hand-recovery.md");

/// A repository, and a moment of the cluster that is gone.
struct Legacy {
    site: Site,
    moment: Moment,
    key: Option<Key>,
}

#[test]
fn the_page_brings_back_a_cluster_from_encrypted_zstd() {
    let installation = Installation::newest();
    let legacy = Legacy::of(Cluster::builder(&installation), "zstd", Some(Key::new()));
    let wal = legacy.stored_wal();
    legacy.says_who_can_open(wal.iter().find(|name| name.len() == 24).expect("a whole segment"));
    let is_slices = |name: &&String| name.ends_with(".slices");
    assert!(wal.iter().any(|name| name.len() == 24), "no segment is stored whole: {wal:?}");
    assert!(wal.iter().filter(is_slices).count() == 1 && wal.last().is_some_and(|name| is_slices(&name)), "{wal:?}");
    legacy.comes_back(&installation);
}

#[test]
fn the_page_brings_back_a_cluster_from_lz4_with_large_segments() {
    let installation = Installation::all().remove(0);
    let legacy = Legacy::of(Cluster::builder(&installation).wal_segment_size(64), "lz4", None);
    let wal = legacy.stored_wal();
    assert!(wal.len() > 1 && wal.iter().all(|name| name.ends_with(".slices")), "segments of 64 MB are never whole: {wal:?}");
    legacy.comes_back(&installation);
}

impl Legacy {
    /// Lives through a backup with a tablespace, the end of a segment, and a moment in the middle of the last one.
    fn of(builder: Builder, compression: &str, key: Option<Key>) -> Self {
        let cluster = builder.start();
        let place = cluster.new_directory("elsewhere");
        cluster.sql(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", place.display()));
        cluster.sql("CREATE TABLE away TABLESPACE elsewhere AS SELECT i, md5(i::text) FROM generate_series(1, 5000) AS i");
        cluster.pgbench(&["-i", "-q", "-s", "2"]);
        let encryption = key.as_ref().map(Key::writer).unwrap_or_default();
        let repository = format!("{DIRECTORY}\ncompression = \"{compression}\"\n{encryption}");
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
        Self { site, moment, key }
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

    /// The page's function shows whom an object is encrypted to.
    fn says_who_can_open(&self, name: &str) {
        let function =
            PAGE.split("```sh\n").find(|block| block.starts_with("recipients()")).expect("the function is on the page");
        let function = function.split_once("```").expect("a block ends").0;
        let find = format!("recipients $(find '{}' -name {name})", self.site.holdfast.scratch().path().join("store").display());
        let output = Command::new("/bin/sh").arg("-euc").arg(format!("{function}{find}")).output().expect("run the function");
        let key = self.key.as_ref().expect("a key");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), key.recipient, "{output:?}");
        // And what it says is true.
        let fetched = self.site.holdfast.scratch().path().join("fetched").display().to_string();
        self.site.configure(&format!("{DIRECTORY}\n{}", key.reader()));
        self.site.holdfast.run(&["wal", "fetch", name, &fetched]);
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
        if let Some(key) = &self.key {
            shell.env("IDENTITY", &key.file);
        }
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
