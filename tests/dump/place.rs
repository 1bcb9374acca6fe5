//! Where a dump is restored to: what is there stays until the restored database is complete and compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pg_fixtures::poll;
use pg_fixtures::postgres::Installation;

use super::site::{Asked, DATABASE, Site};

/// A directory of programs in which one is replaced by a script; `REAL` in it stands for the real one.
fn programs_with(site: &Site, name: &str, script: &str) -> String {
    let real = site.cluster.program(name);
    let directory: PathBuf = site.scratch.path().join(format!("with-{name}"));
    fs::create_dir_all(&directory).expect("create a directory");
    for entry in fs::read_dir(real.parent().expect("a directory")).expect("the programs") {
        let (path, to) = (entry.as_ref().expect("a program").path(), directory.join(entry.expect("a program").file_name()));
        if !to.ends_with(name) && !to.exists() {
            std::os::unix::fs::symlink(path, to).expect("link a program");
        }
    }
    let script = format!("#!/bin/bash\n{}\n", script.replace("REAL", &real.display().to_string()));
    fs::write(directory.join(name), script).expect("write a program");
    fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).expect("make it one");
    format!("programs = \"{}\"", directory.display())
}

#[test]
fn a_database_is_replaced_only_when_told_and_only_by_a_whole_one() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    let original = site.cluster.portrait(DATABASE);
    site.cluster.sql("CREATE ROLE owner; CREATE DATABASE other OWNER owner");
    site.cluster.sql_in("other", "CREATE TABLE precious AS SELECT 1 AS x");
    let restore = ["restore", "dump/app", "--to", "other"];
    let refused = site.run(&restore);
    assert!(refused.contains("IT IS REPLACED: it has") && refused.contains("add --apply"), "{refused}");

    // One that fails, and one whose rows are not those that were dumped, change nothing.
    let encryption = site.encryption();
    let bad = [
        ("REAL \"$@\" && exit 9", "exit status: 9"),
        (
            "[[ $* == */dev/null* ]] && exec REAL \"$@\"\nREAL \"$@\" && for a; do if [[ $a == --dbname=* ]]; then psql -qc 'DELETE FROM child WHERE x = 2' \"${a#--dbname=}\"; fi; done",
            "public.child has 1 rows instead of 2",
        ),
    ];
    for (script, why) in bad {
        site.configure(&encryption, &programs_with(&site, "pg_restore", script));
        let said = site.refusal(&["restore", "dump/app", "--to", "other", "--apply"]);
        assert!(said.contains(why), "{said}");
        assert_eq!(site.cluster.sql_in("other", "SELECT x FROM precious"), "1");
        assert_eq!(site.databases(), ["other", "postgres", DATABASE], "what failed is removed");
    }
    let verified = site.try_run(&["verify", "dump/app"]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(!verified.status.success() && said.contains("it does not restore") && said.contains("1 rows instead of 2"), "{said}");

    // Sessions of the replaced database are ended.
    site.configure(&encryption, "");
    let mut session = site.cluster.command(site.cluster.program("psql"));
    session.args(["-d", "other", "-c", "SELECT pg_sleep(600)"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut session = session.spawn().expect("run psql");
    let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND state = 'active'";
    poll::until(Duration::from_secs(20), "somebody is connected", || site.cluster.sql(active) == "1");
    site.run(&["restore", "dump/app", "--to", "other", "--apply"]);
    session.wait().expect("its session is ended");
    assert_eq!(site.cluster.portrait("other"), original);
    let around = site.cluster.surroundings("other");
    assert!(around.starts_with("database|owner|77|it's a shop|=c/owner,clerk=C*/owner,owner=CTc/owner\n"), "{around}");
    assert_eq!(site.cluster.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'other'"), "owner");
    assert_eq!(site.databases(), ["other", "postgres", DATABASE]);
}

#[test]
fn what_was_there_is_kept_under_another_name_where_it_cannot_or_must_not_be_removed() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    let original = site.cluster.portrait(DATABASE);
    let is_kept = |name: &str, said: &str| {
        let kept = site.databases().into_iter().find(|database| database.starts_with(&format!("{name}-replaced-")));
        let kept = kept.unwrap_or_else(|| panic!("{name} is gone: {said}"));
        assert!(said.contains(&format!("kept as {kept}")), "{said}");
        assert_eq!(site.cluster.sql_in(&kept, "SELECT x FROM precious"), "1");
        assert_eq!(site.cluster.portrait(name), original);
    };
    // PostgreSQL renames a database with a subscription, and does not drop it.
    site.cluster.sql("CREATE DATABASE busy");
    site.cluster.sql_in("busy", "CREATE TABLE precious AS SELECT 1 AS x");
    let subscription = "CREATE SUBSCRIPTION of_it CONNECTION 'dbname=nowhere' PUBLICATION theirs WITH (connect = false)";
    site.cluster.sql_in("busy", subscription);
    is_kept("busy", &site.run(&["restore", "dump/app", "--to", "busy", "--apply"]));
    // Of an empty database nobody has to be asked, unless it is empty no longer.
    site.cluster.sql("CREATE DATABASE fresh");
    let fill = "psql -qd fresh -c 'CREATE TABLE precious AS SELECT 1 AS x' && exec REAL \"$@\"";
    site.configure(&site.encryption(), &programs_with(&site, "pg_restore", fill));
    is_kept("fresh", &site.run(&["restore", "dump/app", "--to", "fresh"]));
}

#[test]
fn a_database_without_a_table_is_not_empty_for_that() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    for (name, made) in [
        ("typed", "CREATE TYPE mood AS ENUM ('good', 'bad')"),
        ("published", "CREATE PUBLICATION everything FOR ALL TABLES"),
        ("foreign", "CREATE FOREIGN DATA WRAPPER other"),
        ("sorted", "CREATE COLLATION plain FROM \"C\""),
        ("casting", "CREATE CAST (date AS integer) WITHOUT FUNCTION"),
        ("converting", "CREATE CONVERSION mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8"),
        ("accessing", "CREATE ACCESS METHOD another TYPE TABLE HANDLER heap_tableam_handler"),
    ] {
        site.cluster.sql(&format!("CREATE DATABASE \"{name}\""));
        site.cluster.sql_in(name, made);
        let said = site.run(&["restore", "dump/app", "--to", name]);
        assert!(said.contains("IT IS REPLACED: it has 1 objects") && said.contains("add --apply"), "{name}: {said}");
    }
    site.cluster.sql("CREATE DATABASE bare");
    assert!(site.run(&["restore", "dump/app", "--to", "bare"]).contains("restored into database bare"));
}

#[test]
fn a_dump_becomes_a_file_that_pg_restore_reads() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    let original = site.cluster.portrait(DATABASE);
    let file = site.scratch.path().join("shop.dump");
    let to = file.display().to_string();
    site.run(&["restore", "dump/app", "--to", &to]);
    assert_eq!(fs::metadata(&file).expect("the dump").permissions().mode() & 0o777, 0o600);
    let globals = fs::read_to_string(format!("{to}.globals.sql")).expect("the globals");
    assert!(globals.contains("CREATE ROLE clerk;") && globals.contains("SCRAM-SHA-256"), "{globals}");
    fs::write(&file, "edited").expect("edit it");
    assert!(site.run(&["restore", "dump/app", "--to", &to]).contains("add --apply"));
    assert_eq!(fs::read_to_string(&file).expect("a file"), "edited");
    site.run(&["restore", "dump/app", "--to", &to, "--apply"]);
    let printed = site.try_run(&["restore", "dump/app", "--to", "-", "--quiet"]);
    assert_eq!(printed.stdout, fs::read(&file).expect("the dump"));
    site.cluster.sql("CREATE DATABASE byhand; ALTER DATABASE byhand SET work_mem = '5MB'");
    let (host, port) = (site.cluster.socket_directory().display().to_string(), site.cluster.port().to_string());
    let mut restore = Command::new(site.cluster.program("pg_restore"));
    let restored = restore.args(["-h", &host, "-p", &port, "-U", "postgres", "-d", "byhand", "-e", &to]).status();
    assert!(restored.expect("run pg_restore").success());
    assert_eq!(site.cluster.portrait("byhand"), original);
    a_place_that_is_none_is_refused(&site);
}

fn a_place_that_is_none_is_refused(site: &Site) {
    let refused = |to: &str| site.refusal(&["restore", "dump/app", "--to", to]);
    assert!(site.refusal(&["restore", "dump/app"]).contains("no place for the dump"));
    assert_eq!(site.try_run(&["restore", "dump/app"]).status.code(), Some(2));
    let said = refused("postgresql://me:hush-hush@127.0.0.1/shop");
    assert!(said.contains("holds a password") && !said.contains("hush"), "{said}");
    assert!(refused("host=127.0.0.1 port=1").contains("names no database"));
    assert!(refused("host=127.0.0.1 port=1 dbname=x").contains("cannot be reached"));
}

#[test]
fn a_template_is_refused_before_anything_is_done() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    site.cluster.sql("CREATE DATABASE model IS_TEMPLATE true");
    site.cluster.sql_in("model", "CREATE TABLE precious AS SELECT 1 AS x");
    let databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database";
    let before = site.cluster.sql(databases);
    for arguments in [&["--apply"][..], &[]] {
        let said = site.refusal(&[&["restore", "dump/app", "--to", "model"][..], arguments].concat());
        assert!(said.contains("database model is a template") && said.contains("IS_TEMPLATE false"), "{said}");
    }
    assert_eq!((site.cluster.sql(databases), site.cluster.sql_in("model", "SELECT x FROM precious").as_str()), (before, "1"));
}

const PREPARE: &str = "BEGIN; INSERT INTO precious VALUES (2); PREPARE TRANSACTION 'of the shop'";

#[test]
fn a_database_with_a_prepared_transaction_is_refused_before_anything_is_done() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    site.cluster.sql("CREATE DATABASE held");
    site.cluster.sql_in("held", "CREATE TABLE precious AS SELECT 1 AS x");
    site.cluster.sql_in("held", PREPARE);
    for arguments in [&["--apply"][..], &[]] {
        let said = site.refusal(&[&["restore", "dump/app", "--to", "held"][..], arguments].concat());
        assert!(said.contains("prepared transactions") && said.contains("of the shop"), "{said}");
        assert!(said.contains("ROLLBACK PREPARED"), "{said}");
    }
    assert_eq!(site.databases(), ["held", "postgres", DATABASE]);
    assert_eq!(site.cluster.sql_in("held", "SELECT x FROM precious"), "1");
}

#[test]
fn a_restored_database_that_cannot_be_put_in_place_is_kept_and_named() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    let original = site.cluster.portrait(DATABASE);
    site.cluster.sql("CREATE DATABASE late");
    site.cluster.sql_in("late", "CREATE TABLE precious AS SELECT 1 AS x");
    let meanwhile = format!("psql -qd late -c \"{PREPARE}\" && exec REAL \"$@\"");
    site.configure(&site.encryption(), &programs_with(&site, "pg_restore", &meanwhile));
    let said = site.refusal(&["restore", "dump/app", "--to", "late", "--apply", "--quiet"]);
    let kept = site.databases().into_iter().find(|database| database.starts_with("late-holdfast-"));
    let kept = kept.unwrap_or_else(|| panic!("it is gone: {said}"));
    assert!(said.contains(&format!("kept as {kept}")) && said.contains("of the shop"), "{said}");
    assert_eq!(site.cluster.portrait(&kept), original);
    assert_eq!(site.cluster.sql_in("late", "SELECT x FROM precious"), "1");
    site.cluster.sql_in("late", "ROLLBACK PREPARED 'of the shop'");
    let planned = site.run(&["restore", "dump/app", "--to", "late"]);
    assert!(planned.contains(&format!("DROP DATABASE \"{kept}\"")), "the next plan names it: {planned}");
}
