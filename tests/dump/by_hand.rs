//! Readable without us: the steps of `docs/hand-recovery.md` for dumps, as they stand there, with public tools only.

use std::process::Command;

use pg_fixtures::postgres::{Cluster, Installation};

use super::site::{Asked, DATABASE, Site, text};

const PAGE: &str = include_str!("../../docs/hand-recovery.md");

/// The page's steps for dumps.
fn steps() -> String {
    let dumps = PAGE.split_once("## Dumps").expect("the section is there").1;
    dumps.split("```bash\n").skip(1).map(|rest| rest.split_once("```").expect("a block ends").0).collect()
}

fn comes_back(more: &str) {
    let site = Site::new(&Installation::newest(), more);
    site.backup();
    let expected = site.cluster.portrait(DATABASE);
    let server = Cluster::builder(&Installation::newest()).start();
    let programs = server.program("psql").parent().expect("a directory").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").expect("a path"));
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &steps()]).env("PATH", path).env("NAME", "app").env("DATABASE", "shop");
    shell.env("REPOSITORY", site.scratch.path().join("repository")).env("IDENTITY", site.key());
    shell.env("FILES", site.scratch.path().join("files"));
    shell.env("PGHOST", server.socket_directory()).env("PGPORT", server.port().to_string()).env("PGUSER", "postgres");
    let output = shell.output().expect("run the steps");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    server.sql("ALTER DATABASE shop SET work_mem = '5MB'");
    assert_eq!(server.portrait("shop"), expected);
}

#[test]
fn the_page_brings_back_a_dump_in_the_custom_format() {
    comes_back("");
}

#[test]
fn the_page_brings_back_a_dump_in_the_directory_format() {
    let spool = pg_fixtures::Scratch::new();
    comes_back(&format!("format = \"directory\"\nspool = \"{}\"", spool.path().display()));
}
