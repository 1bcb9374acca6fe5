//! What these tests share: a cluster, a repository, and something that brings the cluster's WAL into it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holdfast::codec::Compression;
use holdfast::config::Environment;
use holdfast::pg::SegmentSize;
use holdfast::pgwire::{ConnInfo, ReplicationConnection};
use holdfast::repository::{
    BackupEntry, BackupId, Lineage, NewLineage, PackArchive, Repository, ResourceName, WalAbout, WalArchive, WalSource,
    WriteLimits,
};
use holdfast::resources::postgres::backup::{Failed, Limits, Report, Reporter, Request, take};
use holdfast::storage::{FileStore, Store};
use holdfast::sys::clock;
use pg_fixtures::postgres::{Builder, Cluster, Installation};
use pg_fixtures::{Scratch, ServerUser};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, shorter than patience.
const DEADLINE: Duration = Duration::from_secs(240);

/// Runs an asynchronous test, which has to end in time.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("the test takes too long") })
}

/// A cluster that archives into a directory.
pub fn archiving(installation: &Installation) -> Builder {
    let command = "cp %p ../archive/%f.part && mv ../archive/%f.part ../archive/%f";
    Cluster::builder(installation).setting("archive_mode", "on").setting("archive_command", command)
}

/// A cluster and the repository that it is backed up into.
pub struct Bench {
    pub cluster: Cluster,
    pub repository: Repository,
    pub resource: ResourceName,
    pub lineage: Lineage,
    pub root: PathBuf,
    archive: PathBuf,
    pub scratch: Scratch,
}

impl Bench {
    /// A repository in a directory.
    pub async fn new(builder: Builder, compression: Compression) -> Self {
        let root = Scratch::new();
        let path = root.new_directory("repository");
        let store = Arc::new(FileStore::create(&path).await.expect("a store"));
        Self::over(builder, store, compression, path, root).await
    }

    /// A repository in this store.
    pub async fn over(
        builder: Builder,
        store: Arc<dyn Store>,
        compression: Compression,
        root: PathBuf,
        scratch: Scratch,
    ) -> Self {
        let cluster = builder.create();
        let archive = cluster.new_directory("archive");
        cluster.start();
        let (repository, _) = Repository::create(store, compression).await.expect("a repository");
        let resource: ResourceName = "postgres/main".parse().expect("a name");
        let lineage = Lineage {
            system_id: cluster.system_identifier().parse().expect("a system identifier"),
            segment_size: SegmentSize::DEFAULT,
            postgres_major: cluster.installation().version(),
            created_at: clock::now(),
        };
        repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.expect("a lineage");
        Self { cluster, repository, resource, lineage, root, archive, scratch }
    }

    /// Takes a backup while the WAL is brought in.
    pub async fn backup(&self, request: &Request) -> Result<Report, Failed> {
        self.backup_of(&self.cluster, request).await
    }

    /// Takes a backup of another server, while the WAL of this one is brought in.
    pub async fn backup_of(&self, server: &Cluster, request: &Request) -> Result<Report, Failed> {
        let pump = tokio::spawn(pump(self.archive.clone(), self.repository.wal(&self.resource, &self.lineage)));
        let report = self.take(server, request).await;
        pump.abort();
        report
    }

    /// Takes a backup while nobody brings the WAL in.
    pub async fn backup_without_wal(&self, request: &Request) -> Result<Report, Failed> {
        self.take(&self.cluster, request).await
    }

    async fn take(&self, server: &Cluster, request: &Request) -> Result<Report, Failed> {
        let (reporter, _progress) = Reporter::new();
        take(&self.repository, &self.resource, connect(server).await, request, reporter, &CancellationToken::new()).await
    }

    /// What the catalog lists.
    pub async fn listed(&self) -> Vec<BackupEntry> {
        self.repository.backups(&self.resource).list().await.expect("a catalog").records
    }

    /// The files below the folder of all backups' content.
    pub fn content(&self) -> Vec<PathBuf> {
        files_below(&self.root.join("postgres/main/data"))
    }

    pub fn object(&self, id: &BackupId, name: &str) -> PathBuf {
        self.root.join(format!("postgres/main/data/{id}/{name}"))
    }

    pub fn stored_bytes(&self, id: &BackupId, name: &str) -> u64 {
        fs::metadata(self.object(id, name)).expect("a stored object").len()
    }

    /// Copies what another store holds of a backup to where a directory would have it.
    async fn mirror(&self, entry: &BackupEntry) {
        let backups = self.repository.backups(&self.resource);
        for object in &entry.objects {
            let path = self.object(&entry.id, &object.name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("create a folder");
            let stored = backups.get_range(&entry.id, &object.name, 0..object.stored_bytes + 1).await.expect("an object");
            assert_eq!(stored.len() as u64, object.stored_bytes);
            fs::write(path, stored).expect("write a file");
        }
    }

    /// Unpacks a backup with public programs only, and has PostgreSQL's own program compare it with the manifest.
    pub async fn unpack_and_verify(&self, entry: &BackupEntry) -> PathBuf {
        let target = self.scratch.new_directory(&format!("unpacked-{}", entry.id));
        if self.content().is_empty() {
            self.mirror(entry).await;
        }
        let backups = self.repository.backups(&self.resource);
        for (pack, object, _) in entry.packs() {
            let index = backups.get_index(&entry.id, pack).await.expect("an index");
            let directory = match index.archive {
                PackArchive::Base => target.clone(),
                PackArchive::Tablespace(oid) => target.join(format!("pg_tblspc/{oid}")),
            };
            fs::create_dir_all(&directory).expect("a directory");
            let path = self.object(&entry.id, &object.name);
            shell(&format!("{} -dc '{}' | tar -xf - -C '{}'", program(&object.name), path.display(), directory.display()));
        }
        let manifest = &entry.postgres().manifest.name;
        let path = self.object(&entry.id, manifest);
        shell(&format!("{} -dc '{}' > '{}'", program(manifest), path.display(), target.join("backup_manifest").display()));
        ServerUser::current().own_all(&target);
        self.cluster.run("pg_verifybackup", &["--no-parse-wal", &target.display().to_string()]);
        target
    }
}

pub async fn connect(cluster: &Cluster) -> ReplicationConnection {
    let info = ConnInfo::parse(&cluster.conninfo(), &Environment::default()).expect("a valid connection string");
    ReplicationConnection::connect(&info).await.expect("a replication connection")
}

/// Packs and frames so small that a small cluster has many of them.
pub fn small() -> Request {
    let writing = WriteLimits { frame_bytes: 128 << 10, ..WriteLimits::default() };
    let limits = Limits { pack_bytes: 2 << 20, writing, ..Limits::default() };
    Request { limits, wal_patience: Duration::from_secs(30), ..Request::default() }
}

fn program(name: &str) -> &'static str {
    if name.ends_with(".lz4") { "lz4" } else { "zstd" }
}

fn shell(script: &str) {
    let output = Command::new("bash").args(["-o", "pipefail", "-c", script]).stdin(Stdio::null()).output().expect("run bash");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Stores whatever the server archives.
async fn pump(directory: PathBuf, archive: WalArchive) {
    let mut stored = BTreeSet::new();
    loop {
        let entries = fs::read_dir(&directory).expect("the archive");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        for name in names.filter(|name| !name.ends_with(".part") && !stored.contains(name)).collect::<Vec<_>>() {
            let plain = fs::read(directory.join(&name)).expect("an archived file").into();
            let about = WalAbout {
                system_id: archive.system_id(),
                source: WalSource::ArchiveCommand,
                start: None,
                end: None,
                activity: None,
            };
            let file = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            archive.put_file(file, plain, &about).await.expect("a stored file");
            stored.insert(name);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
