//! What these tests share: a cluster that archives through `holdfast wal push`, its backups, and restores of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use holdfast::codec::Compression;
use holdfast::config::Environment;
use holdfast::pgwire::{ConnInfo, ReplicationConnection};
use holdfast::repository::{BackupEntry, Repository, ResourceName, WriteLimits};
use holdfast::resources::postgres::backup::{Limits, Reporter, Request, take};
use holdfast::storage::FileStore;
use pg_fixtures::agent::Holdfast;
use pg_fixtures::checksum::{Checksums, Database};
use pg_fixtures::postgres::{Builder, Cluster, Installation};
use pg_fixtures::{FreePort, Scratch, poll};
use tokio_util::sync::CancellationToken;

pub const DEADLINE: Duration = Duration::from_secs(120);

/// A cluster, and the repository that it is archived and backed up into.
pub struct Story {
    pub cluster: Cluster,
    pub holdfast: Holdfast,
    pub scratch: Scratch,
}

impl Story {
    /// Starts a cluster of an installation with these settings, beside the usual ones.
    pub fn new(installation: &Installation) -> Self {
        Self::with(Cluster::builder(installation))
    }

    pub fn with(builder: Builder) -> Self {
        let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), "");
        let program = holdfast.command(&[""; 0]).get_program().to_string_lossy().into_owned();
        let push = format!("{program} --config {} wal push --resource postgres/main %p", holdfast.configuration().display());
        let cluster = builder.setting("archive_mode", "on").setting("archive_command", &push).create();
        holdfast.configure(&format!(
            "[repository]\nurl = \"file://{{scratch}}/repository\"\n[postgres.main]\nstream = false\nconninfo = \"{}\"\n",
            cluster.conninfo()
        ));
        cluster.start();
        holdfast.run(&["init"]);
        Self { cluster, holdfast, scratch: Scratch::new() }
    }

    /// The repository's directory.
    pub fn repository(&self) -> PathBuf {
        self.holdfast.scratch().path().join("repository")
    }

    /// The stored object of a WAL segment.
    pub fn object(&self, segment: &str) -> PathBuf {
        let folder = self.repository().join("postgres/main/wal").join(self.cluster.system_identifier());
        folder.join(&segment[..16]).join(segment)
    }

    /// Takes a base backup, of many small packs.
    pub fn backup(&self) -> BackupEntry {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(async { tokio::time::timeout(DEADLINE, self.take()).await.expect("the backup takes too long") })
    }

    async fn take(&self) -> BackupEntry {
        let store = Arc::new(FileStore::open(&self.repository()).await.expect("a store"));
        let repository = Repository::open(store, Compression::default()).await.expect("a repository");
        let resource: ResourceName = "postgres/main".parse().expect("a name");
        let info = ConnInfo::parse(&self.cluster.conninfo(), &Environment::default()).expect("a connection string");
        let connection = ReplicationConnection::connect(&info).await.expect("a connection");
        let writing = WriteLimits { frame_bytes: 128 << 10, ..WriteLimits::default() };
        let limits = Limits { pack_bytes: 2 << 20, writing, ..Limits::default() };
        let request = Request { limits, ..Request::default() };
        let (reporter, _progress) = Reporter::new();
        let report = take(&repository, &resource, connection, &request, reporter, &CancellationToken::new()).await;
        let entry = report.unwrap_or_else(|failed| panic!("the backup failed: {failed:?}")).entry;
        pg_fixtures::ServerUser::current().own_all(&self.repository());
        entry
    }

    /// Ends the segment and waits until it is stored.
    pub fn store_wal(&self) {
        let segment = self.cluster.switch_wal();
        let stored = || self.cluster.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= segment;
        self.cluster.wait_until(DEADLINE, "the WAL is stored", stored);
    }

    /// A path in a directory of its own, which is not there yet.
    pub fn place(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// `holdfast restore` with these arguments.
    pub fn try_restore(&self, to: &Path, arguments: &[&str]) -> Output {
        let programs = self.cluster.program("postgres");
        let programs = programs.parent().expect("a program lies in a directory").display().to_string();
        let to = to.display().to_string();
        let mut all = vec!["restore", "postgres/main", "--to", &to, "--programs", &programs];
        all.extend(arguments);
        self.holdfast.try_run(&all)
    }

    /// `holdfast restore` as the user of this test, where that is root.
    pub fn restore_as_root(&self, to: &Path) -> Option<Output> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let mut command = Command::new(self.holdfast.command(&[""; 0]).get_program());
        command.args(["restore", "postgres/main", "--to"]).arg(to).env("HOLDFAST_CONFIG", self.holdfast.configuration());
        command.arg("--programs").arg(self.cluster.program("postgres").parent().expect("a program lies in a directory"));
        Some(command.output().expect("run holdfast"))
    }

    /// Restores, and has PostgreSQL compare the result with the manifest.
    pub fn restore(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let to = self.place(name);
        let output = self.try_restore(&to, arguments);
        assert!(output.status.success(), "restore {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        self.cluster.run("pg_verifybackup", &["--no-parse-wal", &to.display().to_string()]);
        to
    }

    /// Why a restore is refused; nothing is written.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let to = self.place("refused");
        let output = self.try_restore(&to, arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "restore {arguments:?} was not refused: {errors}");
        assert!(!to.exists(), "restore {arguments:?} was refused and wrote all the same");
        errors
    }

    /// Starts a restored cluster and waits until it takes writes.
    pub fn recovered(&self, directory: &Path) -> Cluster {
        let cluster = Cluster::builder(self.cluster.installation()).setting("fsync", "off").start_existing(directory);
        cluster.wait_until(DEADLINE, "recovery ends", || {
            cluster.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
        });
        cluster
    }

    /// Restores, starts, checks every table and index, and returns what the tables hold.
    pub fn restored_content(&self, name: &str, arguments: &[&str]) -> Checksums {
        let directory = self.restore(name, arguments);
        let cluster = self.recovered(&directory);
        let checksums = Checksums::of(&cluster);
        cluster.sql("CREATE EXTENSION IF NOT EXISTS amcheck");
        cluster.run("pg_amcheck", &["--heapallindexed", "--all"]);
        drop(cluster);
        fs::remove_dir_all(&directory).expect("remove a restored cluster");
        checksums
    }
}

/// A restored cluster whose server `holdfast restore --start` has started; it is stopped when this is dropped.
pub struct Started<'a> {
    story: &'a Story,
    directory: PathBuf,
    sockets: PathBuf,
    port: FreePort,
    /// What `restore` printed.
    pub report: serde_json::Value,
    /// How it ended.
    pub code: Option<i32>,
}

impl Story {
    /// Restores and starts, whatever comes of it.
    pub fn try_started(&self, name: &str, arguments: &[&str]) -> Started<'_> {
        let (port, sockets) = (FreePort::take(), self.scratch.new_directory(&format!("s{name}")));
        let (number, folder) = (port.number().to_string(), sockets.display().to_string());
        let start = ["--start", "--port", &number, "--socket-directory", &folder, "--output", "json"];
        let arguments: Vec<&str> = arguments.iter().chain(&start).copied().collect();
        let directory = self.place(name);
        let output = self.try_restore(&directory, &arguments);
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        Started { story: self, directory, sockets, port, report, code: output.status.code() }
    }

    /// Restores and starts; recovery ends exactly where it was planned to.
    pub fn started(&self, name: &str, arguments: &[&str]) -> Started<'_> {
        let started = self.try_started(name, arguments);
        let differences = &started.report["recovered"]["differences"];
        assert!(started.code == Some(0) && differences.as_array().is_some_and(Vec::is_empty), "{:#}", started.report);
        started
    }
}

impl Started<'_> {
    /// What the tables hold.
    pub fn content(&self) -> Checksums {
        Checksums::of(self)
    }
}

impl Database for Started<'_> {
    fn try_statements(&self, statements: &str) -> Result<String, String> {
        let mut command = self.story.cluster.command(self.story.cluster.program("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", statements]);
        command.arg("-h").arg(&self.sockets).arg("-p").arg(self.port.number().to_string());
        let output = command.output().expect("run psql");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let stop = ["stop", "--mode=immediate", "--pgdata", &self.directory.display().to_string()].map(str::to_owned);
        self.story.cluster.try_run("pg_ctl", &stop);
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// The plan of a restore, as JSON.
pub fn dry_run(story: &Story, arguments: &[&str]) -> serde_json::Value {
    let all: Vec<&str> = arguments.iter().chain(&["--dry-run", "--output", "json"]).copied().collect();
    let output = story.try_restore(&story.place("plan"), &all);
    let report: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
    report.unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))["plan"].clone()
}

/// Asks until it is true.
pub fn until(what: &str, question: impl FnMut() -> bool) {
    poll::until(DEADLINE, what, question);
}
