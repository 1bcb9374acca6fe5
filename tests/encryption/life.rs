//! A cluster's life in an encrypted repository, told by an agent that cannot read what it writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holdfast::pg::Lsn;
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::{Scratch, ServerUser};

use crate::key::Key;
use crate::site::{DEADLINE, DIRECTORY, Site};
use crate::store::{content, is_encrypted, key_of, objects, shows};

/// Nobody else writes this.
const ROW: &str = "a row that nobody may see";
const POINT: &str = "before the secret merger";
const RELATION: &str = "relation_of_the_merger";

struct Life {
    cluster: Cluster,
    site: Site,
    key: Key,
    /// A segment that is stored whole, and the server's own copy of it.
    segment: (String, Vec<u8>),
}

impl Life {
    /// WAL, a backup and a restore point come in; whoever takes them has no identity.
    fn of_a_cluster() -> Self {
        let cluster = Cluster::builder(&Installation::newest()).setting("wal_keep_size", "512MB").start();
        let key = Key::new();
        let site = Site::new(&format!("{DIRECTORY}\n{}", key.writer()), &cluster.conninfo());
        site.holdfast.start_agent();
        cluster.sql(&format!("CREATE TABLE {RELATION} AS SELECT '{ROW}'::text AS row FROM generate_series(1, 1000)"));
        site.holdfast.run(&["backup", "postgres/main"]);
        cluster.sql(&format!("INSERT INTO {RELATION} SELECT '{ROW}' FROM generate_series(1, 1000)"));
        cluster.sql(&format!("SELECT pg_create_restore_point('{POINT}')"));
        let name = cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
        cluster.switch_wal();
        cluster.sql(&format!("INSERT INTO {RELATION} SELECT '{ROW}' FROM generate_series(1, 1000)"));
        let end: Lsn = cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position");
        site.wait_until_recoverable(end);
        let acknowledged = format!("SELECT flush_lsn >= '{end}' FROM pg_stat_replication");
        cluster.wait_until(DEADLINE, "the agent acknowledges", || cluster.sql(&acknowledged) == "t");
        let own = fs::read(cluster.data_directory().join("pg_wal").join(&name)).expect("the server's segment");
        Self { cluster, site, key, segment: (name, own) }
    }

    fn object(&self, end: &str) -> std::path::PathBuf {
        let found = objects(&self.site).into_iter().find(|object| key_of(object).ends_with(end));
        found.unwrap_or_else(|| panic!("no object ends in {end}"))
    }

    /// From now on with this `[encryption]`.
    fn with(&self, encryption: &str) {
        self.site.configure(&format!("{DIRECTORY}\n{encryption}"));
    }

    fn fetch(&self) -> (i32, String) {
        let to = self.site.holdfast.scratch().path().join("fetched");
        drop(fs::remove_file(&to));
        let output = self.site.holdfast.try_run(&["wal", "fetch", &self.segment.0, &to.display().to_string()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(to.exists(), output.status.success(), "{said}");
        (output.status.code().expect("an exit code"), said)
    }

    fn restore(&self, to: &Path) -> (bool, String) {
        let arguments =
            ["restore", "postgres/main", "--to", &to.display().to_string(), "--target-name", POINT].map(str::to_owned);
        let output = self.site.holdfast.try_run(&arguments);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn what_is_stored_is_written_without_a_key_and_read_with_the_right_one_only() {
    let life = Life::of_a_cluster();
    everything_is_encrypted_and_opens_with_age(&life);
    a_wrong_or_missing_identity_is_told_which_one_is_needed(&life);
    a_changed_object_is_detected(&life);
    the_cluster_comes_back(&life);
}

fn everything_is_encrypted_and_opens_with_age(life: &Life) {
    let mut kinds = std::collections::BTreeSet::new();
    for object in objects(&life.site) {
        let key = key_of(&object);
        for secret in [ROW, POINT, RELATION] {
            assert!(!shows(&object, secret), "{key} shows {secret:?}");
        }
        if key.ends_with(".json") {
            continue;
        }
        assert!(is_encrypted(&object), "{key} lies in the clear");
        let plain = content(&object, &life.key);
        let holds = |text: &str| plain.windows(text.len()).any(|window| window == text.as_bytes());
        let kind = match key.rsplit('/').next().expect("a name") {
            "000001.tar.zst" if holds(ROW) => "pack",
            "000001.index" if holds("pg_control") => "index",
            "backup_manifest.zst" if holds("PostgreSQL-Backup-Manifest-Version") => "manifest",
            name if name.len() == 24 => "segment",
            _ if key.contains(".slices/") => "slice",
            other => panic!("what is {other}?"),
        };
        kinds.insert(kind);
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["index", "manifest", "pack", "segment", "slice"]);
    let (name, own) = &life.segment;
    assert!(content(&life.object(name), &life.key) == *own, "{name} is not what the server has");
}

fn a_wrong_or_missing_identity_is_told_which_one_is_needed(life: &Life) {
    let stranger = Key::new();
    let wrong = format!("{}\nidentity_file = \"{}\"", life.key.writer(), stranger.file.display());
    let missing = format!("{}\nidentity_file = \"/nonexistent/identity\"", life.key.writer());
    let to = life.site.holdfast.scratch().path().join("never");
    for (encryption, named) in [(life.key.writer(), &life.key.recipient), (wrong, &stranger.recipient)] {
        life.with(&encryption);
        let (code, said) = life.fetch();
        assert!(code == 203 && said.contains(&life.key.recipient) && said.contains(named), "{code}: {said}");
        let (restored, said) = life.restore(&to);
        assert!(!restored && said.contains(&life.key.recipient) && !to.exists(), "{said}");
        // What is stored is still compared with the catalog's hashes; that nobody could look into it is said.
        let verified = life.site.holdfast.try_run(&["verify"]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success() && said.contains("was not looked into"), "{said}");
    }
    life.with(&missing);
    let (code, said) = life.fetch();
    assert!(code == 203 && said.contains("/nonexistent/identity"), "{code}: {said}");
    // Nothing but reading needs a key.
    for verb in [&["status"][..], &["backups"], &["wal", "list", "postgres/main", "--times"]] {
        life.site.holdfast.run(verb);
    }
}

fn a_changed_object_is_detected(life: &Life) {
    life.with(&life.key.reader());
    assert_eq!(life.fetch().0, 0);
    life.site.holdfast.run(&["verify"]);
    let damaged_then_mended = |object: &Path, places: &[usize], look: &dyn Fn(usize)| {
        let good = fs::read(object).expect("read an object");
        for at in places.iter().map(|place| place * (good.len() - 1) / 1000) {
            let mut changed = good.clone();
            changed[at] ^= 4;
            write(object, &changed);
            look(at);
        }
        write(object, &good);
    };
    // Places in thousandths; every bit of small objects is tried elsewhere.
    damaged_then_mended(&life.object(&life.segment.0), &[0, 1, 500, 1000], &|at| {
        let (code, said) = life.fetch();
        assert!(code == 201 && said.contains(&life.segment.0), "byte {at}: {code}: {said}");
    });
    for name in ["000001.tar.zst", "000001.index", "backup_manifest.zst"] {
        damaged_then_mended(&life.object(name), &[300, 600, 1000], &|at| {
            let verified = life.site.holdfast.try_run(&["verify"]);
            let said = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
            assert!(!verified.status.success() && said.contains(name), "byte {at} of {name}: {said}");
        });
        damaged_then_mended(&life.object(name), &[600], &|at| {
            let scratch = Scratch::new();
            let (restored, said) = life.restore(&scratch.path().join("never"));
            assert!(!restored && said.contains(name), "byte {at} of {name}: {said}");
        });
    }
}

fn write(object: &Path, bytes: &[u8]) {
    fs::set_permissions(object, fs::Permissions::from_mode(0o640)).expect("make the object writable");
    fs::write(object, bytes).expect("write the object");
    ServerUser::current().own(object);
}

fn the_cluster_comes_back(life: &Life) {
    let scratch = Scratch::new();
    let to = scratch.path().join("restored");
    let (restored, said) = life.restore(&to);
    assert!(restored, "{said}");
    let server = Cluster::builder(life.cluster.installation()).start_existing(&to);
    server
        .wait_until(DEADLINE, "recovery ends", || server.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f"));
    assert_eq!(server.sql(&format!("SELECT count(*) FROM {RELATION} WHERE row = '{ROW}'")), "2000");
}
