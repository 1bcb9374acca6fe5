//! A server that archives, its repository, and what is restored from there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast::codec::Compression;
use holdfast::repository::{Lineage, NewLineage, Repository, ResourceName, WalArchive};
use holdfast::storage::retry::Policy;
use holdfast::{config, storage};
use pg_fixtures::ServerUser;
use pg_fixtures::agent::{Holdfast, shim};
use pg_fixtures::checksum::Checksums;
use pg_fixtures::postgres::{Cluster, Installation};

pub const SOON: Duration = Duration::from_secs(60);

const DIRECTORY: &str = "url = \"file://{scratch}/store\"\n";
const AGENT: &str = "[agent]\nlisten = \"127.0.0.1:0\"\nsocket = \"{scratch}/agent.sock\"\n";

/// A server with 1 MB segments whose WAL is archived by the shim.
pub struct Site {
    pub holdfast: Holdfast,
    pub server: Cluster,
}

impl Site {
    /// A server that archives, and its empty repository in a directory.
    pub fn new(installation: &Installation) -> Self {
        Self::with_repository(installation, DIRECTORY)
    }

    /// A server that archives, and its empty repository.
    pub fn with_repository(installation: &Installation, repository: &str) -> Self {
        let configuration = |conninfo: &str| {
            format!("[repository]\n{repository}{AGENT}[postgres.main]\nconninfo = \"{conninfo}\"\nstream = false\n")
        };
        let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration(""));
        let command = shim_command("holdfast-archive-command");
        let command = format!(
            "{command} --socket {} --config {} --resource postgres/main %p",
            holdfast.scratch().path().join("agent.sock").display(),
            holdfast.configuration().display()
        );
        let builder = Cluster::builder(installation).wal_segment_size(1).setting("archive_mode", "on");
        let server = builder.setting("archive_command", &command).setting("max_wal_size", "64MB").start();
        holdfast.configure(&configuration(&server.conninfo()));
        holdfast.run(&["init"]);
        let site = Self { holdfast, server };
        site.run(site.add_lineage());
        site.give_away();
        site
    }

    async fn add_lineage(&self) {
        let lineage = self.lineage();
        let repository = self.repository().await;
        repository.add_lineage(&resource(), &lineage, NewLineage::OnlyFirst).await.expect("add the lineage");
    }

    fn lineage(&self) -> Lineage {
        Lineage {
            system_id: self.server.system_identifier().parse().expect("a system identifier"),
            segment_size: (1 << 20).try_into().expect("a segment size"),
            postgres_major: self.server.installation().version(),
            created_at: "2026-01-01T00:00:00Z".parse().expect("a time"),
        }
    }

    async fn repository(&self) -> Repository {
        let config = config::load(self.holdfast.configuration()).expect("read the configuration");
        let location = config.repository.location().expect("a store");
        let store = storage::open::open(&location, Policy::default()).await.expect("open the store");
        Repository::open(store, Compression::default()).await.expect("open the repository")
    }

    /// The stored WAL. The server must run.
    pub async fn archive(&self) -> WalArchive {
        self.repository().await.wal(&resource(), &self.lineage())
    }

    /// What this test process, which may be root, has put into the store must belong to the servers' user.
    pub fn give_away(&self) {
        if self.store().exists() {
            ServerUser::current().own_all(&self.store());
        }
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::runtime::Runtime::new().expect("start a runtime").block_on(work)
    }

    pub fn store(&self) -> PathBuf {
        self.holdfast.scratch().path().join("store")
    }

    /// The stored object of a WAL file.
    pub fn object(&self, name: &str) -> PathBuf {
        let folder = self.store().join("postgres/main/wal").join(self.server.system_identifier());
        folder.join(&name[..16]).join(name)
    }

    /// Writes a table and ends the segment; returns the segment's name.
    pub fn write_segment(&self, table: &str) -> String {
        self.server.sql(&format!("CREATE TABLE {table} AS SELECT i, md5(i::text) FROM generate_series(1, 2000) i"));
        self.server.switch_wal()
    }

    /// Waits until a segment is archived.
    pub fn wait_for(&self, segment: &str) {
        let question = format!("SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver");
        self.server.wait_until(SOON, "the segment is archived", || self.server.sql(&question) == "t");
    }

    /// A copy of the data directory without WAL, ready to be recovered from the archive.
    pub fn base_backup(&self) -> PathBuf {
        let directory = self.server.new_directory("restored");
        self.server.pg_basebackup(&directory, &["--wal-method=none"]);
        let settings = format!(
            "\narchive_mode = off\nrestore_command = '{}'\nrecovery_target_timeline = latest\n",
            self.restore_command().replace('\'', "''")
        );
        let path = directory.join("postgresql.auto.conf");
        fs::write(&path, fs::read_to_string(&path).unwrap_or_default() + &settings).expect("write the settings");
        fs::write(directory.join("recovery.signal"), "").expect("ask for recovery");
        ServerUser::current().own_all(&directory);
        directory
    }

    pub fn restore_command(&self) -> String {
        format!(
            "{} --config {} --resource postgres/main --lineage {} %f \"%p\"",
            shim_command("holdfast-restore-command"),
            self.holdfast.configuration().display(),
            self.server.system_identifier()
        )
    }

    /// A server on a restored directory, not started.
    pub fn adopt(&self, directory: &Path) -> Cluster {
        Cluster::builder(self.server.installation()).setting("hot_standby", "off").adopt(directory)
    }

    /// Recovers to the end, and compares with what the original is now.
    pub fn recovers_to_the_same(&self, directory: &Path) -> Cluster {
        let expected = Checksums::of(&self.server);
        let restored = self.adopt(directory);
        restored.start();
        restored.wait_until(SOON, "recovery ends", || {
            restored.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
        });
        assert_eq!(Checksums::of(&restored), expected);
        restored
    }

    /// Recovery must stop loudly: the server ends, and was never promoted. Returns its log.
    pub fn recovery_stops(&self, directory: &Path) -> String {
        let restored = self.adopt(directory);
        if restored.try_start().is_ok() {
            assert!(restored.has_stopped_within(SOON), "the server goes on: {}", restored.log());
        }
        let log = restored.log();
        assert!(log.contains("FATAL"), "{log}");
        assert!(!log.contains("selected new timeline ID") && !log.contains("archive recovery complete"), "{log}");
        log
    }
}

/// The command of a shim, with the program under test in its path.
fn shim_command(name: &str) -> String {
    let program = env!("CARGO_BIN_EXE_holdfast");
    let holdfast = ServerUser::current().reachable(Path::new(program));
    let folder = holdfast.parent().expect("a program is in a folder").display();
    format!("PATH={folder}:$PATH {}", shim(program, name).display())
}

/// A shim's program.
pub fn shim_program(name: &str) -> PathBuf {
    shim(env!("CARGO_BIN_EXE_holdfast"), name)
}

pub fn resource() -> ResourceName {
    "postgres/main".parse().expect("a resource's name")
}

/// Flips a bit in the middle of a file.
pub fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("read the object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("make the object writable");
    fs::write(path, bytes).expect("write the object");
}
