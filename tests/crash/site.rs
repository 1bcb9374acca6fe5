//! The repository of a life, in a directory or in a bucket, and the program with its configuration.

use std::cell::Cell;
use std::sync::Arc;

use holdfast::codec::Compression;
use holdfast::repository::{Repository, ResourceKind, ResourceName, WalArchive};
use holdfast::storage::Store;
use holdfast::storage::retry::Policy;
use pg_fixtures::FreePort;
use pg_fixtures::agent::Holdfast;
use pg_fixtures::s3::SeaweedFs;
use tokio::runtime::Runtime;

use crate::seaweed;

/// A real S3 server with a bucket, for all lives.
pub struct Bucket {
    server: std::cell::RefCell<SeaweedFs>,
    kills: Cell<u32>,
}

impl Bucket {
    pub fn start() -> Self {
        let server = SeaweedFs::start();
        Runtime::new().expect("a runtime").block_on(seaweed::bucket(&server, "soak"));
        Self { server: server.into(), kills: Cell::new(0) }
    }

    /// Kills the service and starts it again.
    pub fn crash(&self) {
        self.server.borrow_mut().restart();
        self.kills.set(self.kills.get() + 1);
    }

    fn lines(&self, life: u32) -> String {
        format!(
            "url = \"s3://soak/life-{life}\"\nendpoint = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"",
            self.server.borrow().endpoint(),
            SeaweedFs::ACCESS_KEY_ID,
            SeaweedFs::SECRET_ACCESS_KEY
        )
    }
}

/// Where a repository lies.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    Directory,
    Bucket(&'a Bucket, u32),
}

impl Place<'_> {
    /// For the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Bucket(..) => "S3",
        }
    }

    fn lines(self) -> String {
        match self {
            Self::Directory => "url = \"file://{scratch}/store\"".to_owned(),
            Self::Bucket(bucket, life) => bucket.lines(life),
        }
    }
}

/// The program with a configuration.
pub struct Site<'a> {
    pub holdfast: Holdfast,
    pub place: Place<'a>,
    pub runtime: Runtime,
    _port: FreePort,
}

impl<'a> Site<'a> {
    /// Nothing is created yet.
    pub fn new(place: Place<'a>, conninfo: &str, settings: &str) -> Self {
        let port = FreePort::take();
        let configuration = format!(
            "[repository]\n{}\n[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"{{scratch}}/agent.sock\"\n\
             [postgres.main]\nconninfo = \"{conninfo}\"\n{settings}\n",
            place.lines(),
            port.number()
        );
        let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration);
        Self { holdfast, place, runtime: Runtime::new().expect("a runtime"), _port: port }
    }

    pub const fn resource() -> &'static str {
        "postgres/main"
    }

    fn name() -> ResourceName {
        ResourceName::new(ResourceKind::Postgres, "main").expect("a name")
    }

    /// The store, as anybody finds it.
    pub fn store(&self) -> Arc<dyn Store> {
        let config = holdfast::config::load(self.holdfast.configuration()).expect("a configuration");
        let location = config.repository.location().expect("a store");
        self.runtime.block_on(holdfast::storage::open::open(&location, Policy::default())).expect("a store")
    }

    /// The stored WAL, as anybody finds it.
    pub fn archive(&self) -> WalArchive {
        let store = self.store();
        self.runtime.block_on(async {
            let repository = Repository::open(store, Compression::default()).await.expect("a repository");
            let lineage = repository.newest_lineage(&Self::name()).await.expect("a lineage");
            repository.wal(&Self::name(), &lineage)
        })
    }
}
