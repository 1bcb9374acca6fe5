//! What is no whole dump is never listed; what cannot be done says why.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pg_fixtures::postgres::Installation;

use super::site::{Asked, Site, text};

/// A directory with the programs of the server, `pg_dump` replaced by a script.
fn dumping_by(site: &Site, script: &str) -> String {
    let real = site.cluster.program("pg_dump");
    let directory = site.scratch.path().join("programs");
    drop(fs::remove_dir_all(&directory));
    fs::create_dir(&directory).expect("create a directory");
    for name in ["pg_restore", "pg_dumpall"] {
        std::os::unix::fs::symlink(site.cluster.program(name), directory.join(name)).expect("link a program");
    }
    let version = format!("[ \"$1\" = --version ] && exec {} --version", real.display());
    let script = format!("#!/bin/bash\n{version}\n{}\n", script.replace("REAL", &real.display().to_string()));
    fs::write(directory.join("pg_dump"), script).expect("write a program");
    fs::set_permissions(directory.join("pg_dump"), fs::Permissions::from_mode(0o755)).expect("make it one");
    format!("globals = false\nprograms = \"{}\"", directory.display())
}

#[test]
fn a_dump_without_its_end_is_never_listed() {
    let site = Site::new(&Installation::newest(), "");
    let encryption = site.encryption();
    for (script, why) in [
        ("REAL \"$@\" | head -c 300000", "what pg_dump wrote is no whole dump"),
        ("true", "what pg_dump wrote is no whole dump"),
        ("REAL \"$@\"; exit 7", "pg_dump ended with exit status: 7"),
        ("REAL \"$@\"; echo \"with $PGPASSWORD\" >&2; exit 1", "with (secret)"),
    ] {
        site.configure(&encryption, &dumping_by(&site, script));
        let mut command = site.command(&["backup", "dump/app"]);
        let output = command.env("PGPASSWORD", "hunter2-hunter2").output().expect("run the program");
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(why) && said.contains("not listed"), "{script}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!((site.listed(), site.stored().len()), (0, 0), "{script}");
    }
    site.configure(&encryption, &format!("{}\ntimeout = \"1s\"", dumping_by(&site, "sleep 300")));
    assert!(site.refusal(&["backup", "dump/app"]).contains("did not end within 1 s and was killed"));
    assert_eq!((site.listed(), site.stored().len()), (0, 0));
}

#[test]
fn what_is_missing_on_the_host_is_said() {
    let site = Site::new(&Installation::newest(), "");
    an_older_pg_dump_is_refused_with_both_versions(&site);
    where_no_server_is_installed_verify_says_that_it_did_not_restore(&site);
    nothing_secret_is_stored_in_the_clear_where_there_is_no_encryption(&site);
}

fn an_older_pg_dump_is_refused_with_both_versions(site: &Site) {
    let old = Installation::major(15).program("pg_dump");
    site.configure(&site.encryption(), &format!("programs = \"{}\"", old.parent().expect("a directory").display()));
    let said = site.refusal(&["backup", "dump/app"]);
    assert!(said.contains("pg_dump of PostgreSQL 18 or newer is needed, and the newest that is there is 15"), "{said}");
    let checked = text(&site.try_run(&["check"]).stdout);
    assert!(checked.contains("CRITICAL  dump/app: pg_dump of PostgreSQL 18 or newer"), "{checked}");
}

#[test]
fn a_role_that_may_not_read_everything_is_told_so() {
    let site = Site::new(&Installation::newest(), "");
    site.cluster.sql("CREATE ROLE reader LOGIN");
    let conninfo = site.conninfo();
    site.configure_with(&conninfo.replace("user=postgres", "user=reader"), &site.encryption(), "");
    let said = site.refusal(&["backup", "dump/app"]);
    assert!(said.contains("permission denied") && said.contains("not listed"), "{said}");
    let checked = text(&site.try_run(&["check"]).stdout);
    assert!(checked.contains("WARNING   dump/app: the role may not read") && checked.contains("public.orders"), "{checked}");
    for schema in ["public", "\"Sch.e\"\"ma\""] {
        site.cluster.sql_in_odd(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader;
             GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO reader"
        ));
    }
    site.cluster.sql_in_odd("GRANT SELECT ON LARGE OBJECT 4711 TO reader");
    site.configure_with(&conninfo.replace("user=postgres", "user=reader"), &site.encryption(), "");
    let taken = site.backup();
    assert!(taken["remarks"].to_string().contains("without their passwords: the role may not read pg_authid"), "{taken}");
    let checked = text(&site.try_run(&["check"]).stdout);
    assert!(checked.contains("WARNING   dump/app: the roles will be stored without their passwords"), "{checked}");
    assert!(!checked.contains("the role may not read public"), "{checked}");
    assert_eq!(site.json(&["verify", "dump/app"])["sound"], true);
}

#[test]
fn a_role_that_may_not_make_databases_is_told_so_before_anything_is_restored() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    site.cluster.sql("CREATE ROLE restorer LOGIN");
    site.configure_with(&site.conninfo().replace("user=postgres", "user=restorer"), &site.encryption(), "");
    for more in [&["--dry-run"][..], &[]] {
        let said = site.refusal(&[&["restore", "dump/app", "--to", "app_copy"][..], more].concat());
        assert!(said.contains("the role restorer may not make databases"), "{said}");
        assert!(said.contains("ALTER ROLE \"restorer\" CREATEDB"), "{said}");
    }
    assert!(!site.databases().iter().any(|name| name.starts_with("app_copy")), "{:?}", site.databases());
}

fn nothing_secret_is_stored_in_the_clear_where_there_is_no_encryption(site: &Site) {
    site.configure("", "");
    let taken = site.backup();
    assert!(taken["remarks"].to_string().contains("without their passwords: the repository is not encrypted"), "{taken}");
    site.run(&["restore", "dump/app", "--to", &site.scratch.path().join("x.dump").display().to_string()]);
    let globals = fs::read_to_string(site.scratch.path().join("x.dump.globals.sql")).expect("the globals");
    assert!(globals.contains("CREATE ROLE clerk;") && !globals.contains("SCRAM"), "{globals}");
}

fn where_no_server_is_installed_verify_says_that_it_did_not_restore(site: &Site) {
    site.configure(&site.encryption(), &dumping_by(site, "exec REAL \"$@\""));
    site.backup();
    let verified = site.json(&["verify", "dump/app"]);
    assert_eq!(verified["sound"], true, "{verified}");
    assert!(verified.to_string().contains("not restored on trial: pg_dump of PostgreSQL 18 or newer is needed"), "{verified}");
}
