//! A dump has everything, and brings it back: in every version, in both formats.

use std::process::Command;

use pg_fixtures::postgres::{Cluster, Installation};

use super::site::{Asked, DATABASE, LEFT_OUT, Site, text};

/// What the portrait says of the original, as it is to come back.
fn expected(site: &Site) -> String {
    let portrait = site.cluster.portrait(DATABASE);
    portrait.replace("cache|1", "cache|0").replace("audit|f", "audit|t")
}

fn comes_back(installation: &Installation, more: &str) {
    let site = Site::new(installation, &format!("{LEFT_OUT}\n{more}"));
    let taken = site.backup();
    assert_eq!((&taken["tables"], &taken["globals"]), (&7.into(), &true.into()), "{taken}");
    assert!(taken["remarks"].to_string().contains("1 tables, views and sequences are left out"), "{taken}");
    let (expected, around) = (expected(&site), site.cluster.surroundings(DATABASE));

    let verified = site.json(&["verify", "dump/app"]);
    assert_eq!(verified["sound"], true, "{verified}");
    assert!(verified.to_string().contains("the rows of all 7 tables are those that were dumped"), "{verified}");

    let said = site.run(&["restore", "dump/app", "--to", "copy"]);
    assert!(said.contains("restored into database copy"), "{said}");
    assert_eq!(site.cluster.portrait("copy"), expected);
    assert_eq!(site.cluster.surroundings("copy"), around);

    // Into an empty server, which has none of the roles.
    let empty = Cluster::builder(installation).start();
    let to = format!("host={} port={} user=postgres dbname=shop", empty.socket_directory().display(), empty.port());
    let planned = site.json(&["restore", "dump/app", "--to", &to, "--dry-run"]);
    assert_eq!(planned["plan"]["missing_roles"], serde_json::json!(["clerk", "\"odd role\""]), "{planned}");
    site.run(&["restore", "dump/app", "--to", &to]);
    assert_eq!(empty.portrait("shop"), expected);
    assert_eq!(empty.surroundings("shop"), around);
    let password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'clerk'";
    assert_eq!(empty.sql(password), site.cluster.sql(password));
    assert_eq!(empty.sql("SELECT pg_has_role('odd role', 'clerk', 'MEMBER')"), "t");
}

#[test]
fn a_database_comes_back_in_every_version() {
    for installation in Installation::all() {
        comes_back(&installation, "");
    }
}

#[test]
fn a_database_comes_back_from_the_directory_format() {
    let spool = pg_fixtures::Scratch::new();
    let place = spool.path().display();
    comes_back(&Installation::newest(), &format!("format = \"directory\"\njobs = 2\nspool = \"{place}\""));
    let left: Vec<_> = std::fs::read_dir(spool.path()).expect("the spool").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_dump_in_the_directory_format_is_restored_to_files_when_they_are_on_disk() {
    let spool = pg_fixtures::Scratch::new();
    let site = Site::new(&Installation::newest(), &format!("format = \"directory\"\nspool = \"{}\"", spool.path().display()));
    site.backup();
    let to = |name: &str| site.scratch.path().join(name).display().to_string();
    let mut restore = site.command(&["restore", "dump/app", "--to", &to("first")]);
    let failed = restore.env("HOLDFAST_FAIL_POINTS", "sync.before first/toc.dat 0 fail").output().expect("run it");
    let said = text(&failed.stderr);
    assert!(!failed.status.success() && said.contains("cannot sync") && said.contains("toc.dat"), "{said}");
    let said = site.run(&["restore", "dump/app", "--to", &to("second")]);
    assert!(said.contains("restored to") && std::path::Path::new(&to("second")).join("toc.dat").exists(), "{said}");
}

#[test]
fn nothing_lies_in_the_repository_in_the_clear() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    let repository = site.scratch.path().join("repository");
    for words in ["orders", "clerk", "SCRAM-SHA-256", "CREATE", "shop"] {
        let found = Command::new("grep").args(["-r", "-a", "-l", words]).arg(&repository).output().expect("run grep");
        assert_eq!(text(&found.stdout), "", "{words}");
    }
}

#[test]
fn rows_are_counted_in_the_snapshot_that_is_dumped() {
    let site = Site::new(&Installation::newest(), "");
    let conninfo = site.conninfo().replace("\\\\'", "\\'");
    let mut load = site.cluster.command(site.cluster.program("psql"));
    load.args(["-XAtq", "-d", &conninfo, "-c"]).arg(
        "DO $$ BEGIN LOOP INSERT INTO orders (note) SELECT 'x' FROM generate_series(1, 50); DELETE FROM sessions; \
         INSERT INTO sessions SELECT generate_series(1, (random() * 100)::int); COMMIT; END LOOP; END $$",
    );
    let mut load = load.spawn().expect("run psql");
    let taken = site.backup();
    load.kill().expect("stop the load");
    load.wait().expect("wait for psql");
    assert_eq!(taken["tables"], 9, "{taken}");
    let verified = site.json(&["verify", "dump/app"]);
    assert_eq!(verified["sound"], true, "{verified}");
}
