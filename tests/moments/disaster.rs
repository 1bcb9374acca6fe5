//! After the disaster: a moment is restored from the repository alone, and compared.

use std::fs;
use std::path::Path;
use std::process::Command;

use pg_fixtures::checksum::{Checksums, Moment};
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::{FreePort, Scratch, ServerUser};

use crate::site::{DEADLINE, Site};

/// How a moment is named.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Name,
    Lsn,
    Time,
}

impl By {
    pub const ALL: [Self; 3] = [Self::Name, Self::Lsn, Self::Time];

    fn option(self, moment: &Moment) -> [String; 2] {
        let (option, value) = match self {
            Self::Name => ("--target-name", &moment.name),
            Self::Lsn => ("--target-lsn", &moment.lsn),
            Self::Time => ("--target-time", &moment.time),
        };
        [option.to_owned(), value.clone()]
    }
}

/// Restores a moment, with nothing running but the store, and compares every table with what it was.
pub fn comes_back(site: &Site, installation: &Installation, moment: &Moment, by: By) {
    println!("restoring {moment:?} by its {by:?}");
    let scratch = Scratch::new();
    let to = scratch.path().join("restored");
    let directory = to.display().to_string();
    let target = by.option(moment);
    site.holdfast.run(&[
        "restore",
        "postgres/main",
        "--to",
        &directory,
        &target[0],
        &target[1],
        "--programs",
        &programs(installation),
    ]);
    let verified = run(installation, "pg_verifybackup", &["--no-parse-wal", &directory]);
    assert!(verified.contains("successfully verified"), "{verified}");
    compare(installation, &to, moment);
}

/// As `comes_back`, the server started by `restore --start`.
pub fn comes_back_and_starts(site: &Site, installation: &Installation, moment: &Moment, by: By) {
    println!("restoring and starting {moment:?} by its {by:?}");
    let (scratch, port) = (Scratch::new(), FreePort::take());
    let to = scratch.path().join("restored");
    let directory = to.display().to_string();
    let _ends = Ends { installation, directory: &to };
    let (target, programs, sockets) = (by.option(moment), programs(installation), scratch.new_directory("s"));
    let place = ["--port", &port.number().to_string(), "--socket-directory", &sockets.display().to_string()].map(str::to_owned);
    let mut arguments = ["restore", "--to", &directory, "--programs", &programs, "--start"].map(str::to_owned).to_vec();
    arguments.extend(target.into_iter().chain(place));
    let said = site.holdfast.run(&arguments);
    assert!(said.contains("recovered: the server takes writes"), "{said}");
    run(installation, "pg_ctl", &["stop", "--mode=fast", "--pgdata", &directory]);
    compare(installation, &to, moment);
}

fn compare(installation: &Installation, directory: &Path, moment: &Moment) {
    let restored = Cluster::builder(installation).start_existing(directory);
    restored.wait_until(DEADLINE, "recovery ends", || {
        restored.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
    });
    assert_eq!(Checksums::of(&restored), moment.checksums, "the restored tables are not those of {moment:?}");
    restored.run("pg_amcheck", &["--all", "--install-missing", "--heapallindexed"]);
}

/// The directory of an installation's programs.
fn programs(installation: &Installation) -> String {
    installation.program("postgres").parent().expect("a program lies in a directory").display().to_string()
}

fn run(installation: &Installation, program: &str, arguments: &[&str]) -> String {
    let output = ServerUser::current().command(&installation.program(program)).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// Ends a server that a failed test leaves behind.
struct Ends<'a> {
    installation: &'a Installation,
    directory: &'a Path,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("holdfast-server.log")).unwrap_or_default();
            eprintln!("the log of the restored server:\n{log}");
        }
        if self.directory.join("postmaster.pid").exists() {
            let mut stop: Command = ServerUser::current().command(&self.installation.program("pg_ctl"));
            drop(stop.args(["stop", "--mode=immediate", "--pgdata"]).arg(self.directory).output());
        }
    }
}
