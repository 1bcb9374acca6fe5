//! A server, a store, an agent between them, and the comparison of the two ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast::agent::AgentStatus;
use holdfast::codec::Compression;
use holdfast::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use holdfast::repository::{Repository, ResourceKind, ResourceName, Slice, StoredWal, WalArchive, WalObject};
use holdfast::resources::postgres::archive::ReceiverStatus;
use holdfast::storage::retry::Policy;
use pg_fixtures::agent::Holdfast;
use pg_fixtures::postgres::{Builder, Cluster, Installation};
use pg_fixtures::{FreePort, ServerUser};

/// Longer than anything here takes, shorter than patience.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A cluster builder whose server keeps all its WAL, as the oracle.
pub fn server(installation: &Installation) -> Builder {
    let builder = Cluster::builder(installation);
    builder.setting("wal_keep_size", "8GB").setting("max_wal_size", "4GB").setting("wal_sender_timeout", "10s")
}

/// Everything that a test of streaming needs.
pub struct Site {
    pub holdfast: Holdfast,
    pub port: FreePort,
    pub archive: WalArchive,
    pub runtime: tokio::runtime::Runtime,
    store: String,
}

impl Site {
    /// A repository in a directory that knows the cluster, and a configuration; the agent is not started.
    pub fn new(cluster: &Cluster, settings: &str) -> Self {
        Self::with_store("url = \"file://{scratch}/store\"", &cluster.conninfo(), settings)
    }

    /// The same in another store, which the lines of `[repository]` tell of.
    pub fn with_store(store: &str, conninfo: &str, settings: &str) -> Self {
        let port = FreePort::take();
        let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration(store, &port, conninfo, settings));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        holdfast.run(&["init"]);
        let archive = runtime.block_on(open(holdfast.configuration()));
        Self { holdfast, port, archive, runtime, store: store.to_owned() }
    }

    /// The directory that is the store.
    pub fn store(&self) -> PathBuf {
        self.holdfast.scratch().path().join("store")
    }

    /// Points the agent at another server.
    pub fn configure(&self, conninfo: &str, settings: &str) {
        self.holdfast.configure(&configuration(&self.store, &self.port, conninfo, settings));
    }

    /// Another agent with the same store and slot.
    pub fn second_agent(&self, cluster: &Cluster) -> Holdfast {
        let configuration = configuration(&self.store, &FreePort::take(), &cluster.conninfo(), "");
        Holdfast::new(
            env!("CARGO_BIN_EXE_holdfast"),
            &configuration.replace("{scratch}/store", &self.store().display().to_string()),
        )
    }

    /// The end of the stored WAL of the first timeline, from the store alone.
    pub fn stored_end(&self) -> Lsn {
        let content = self.content(TimelineId(1));
        content.pieces.keys().map(|(_, end)| Lsn(*end)).max().expect("something is stored")
    }

    /// What the agent answers to a GET request: status code and body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port.number())).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The agent's status, if it answers.
    pub fn status(&self) -> Option<AgentStatus> {
        serde_json::from_str(&self.get("/status")?.1).ok()
    }

    /// The status of the cluster, if the agent answers.
    pub fn receiver(&self) -> Option<ReceiverStatus> {
        self.status()?.clusters.into_iter().next()
    }

    /// Waits until the agent says that everything up to here is stored.
    pub fn wait_for(&self, lsn: Lsn) {
        let stored = || self.receiver().and_then(|status| status.stored).is_some_and(|stored| stored >= lsn);
        self.holdfast.wait_until(DEADLINE, &format!("WAL is stored up to {lsn}"), stored);
    }

    /// Everything stored on a timeline.
    pub fn stored(&self, timeline: TimelineId) -> Vec<StoredWal> {
        let first = SegmentName::new(timeline, SegmentNumber(0), self.archive.segment_size());
        self.runtime.block_on(async {
            let mut all = self.archive.list_from(first, 1000).await.expect("a listing");
            loop {
                let page = match all.last() {
                    Some(last) => self.archive.list_after(&last.object, 1000).await.expect("a listing"),
                    None => return all,
                };
                if page.is_empty() {
                    return all;
                }
                all.extend(page);
            }
        })
    }

    /// Every stored piece of a timeline's WAL, opened and checked.
    pub fn content(&self, timeline: TimelineId) -> Content {
        let mut pieces = BTreeMap::new();
        for stored in self.stored(timeline) {
            let Some(range) = range(&stored.object, self.archive.segment_size()) else { continue };
            let bytes = self.runtime.block_on(async {
                match &stored.object {
                    WalObject::File(name) => self.archive.get_file(*name).await,
                    WalObject::Slice(slice) => self.archive.get_slice(slice).await,
                }
            });
            // A slice that was merged meanwhile is gone.
            let Some((_, bytes)) = bytes.expect("a sound object") else { continue };
            assert_eq!(bytes.len() as u64, range.1 - range.0, "{stored:?}");
            pieces.insert(range, bytes);
        }
        Content { timeline, size: self.archive.segment_size(), pieces }
    }

    /// How much memory the agent took at its peak, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.holdfast.agent_pid().expect("the agent runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of a process");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") << 10
    }
}

fn configuration(store: &str, port: &FreePort, conninfo: &str, settings: &str) -> String {
    format!(
        "[repository]\n{store}\n[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"{{scratch}}/agent.sock\"\n\
         [postgres.main]\nconninfo = \"{conninfo}\"\n{settings}\n",
        port.number()
    )
}

async fn open(configuration: &Path) -> WalArchive {
    let config = holdfast::config::load(configuration).expect("a configuration");
    let location = config.repository.location().expect("a store");
    let store = holdfast::storage::open::open(&location, Policy::default()).await.expect("a store");
    let repository = Repository::open(store, Compression::default()).await.expect("a repository");
    let repository = repository.with_encryption(config.encryption.encryption(std::sync::Arc::new(|_| None)));
    let resource = ResourceName::new(ResourceKind::Postgres, "main").expect("a name");
    let lineage = repository.newest_lineage(&resource).await.expect("a lineage");
    repository.wal(&resource, &lineage)
}

/// Which WAL an object holds, if any.
fn range(object: &WalObject, size: SegmentSize) -> Option<(u64, u64)> {
    let start = |name: &SegmentName| name.number(size).map(|number| number.start(size).0);
    match object {
        WalObject::File(WalFileName::Segment(name)) => Some((start(name)?, start(name)? + size.bytes())),
        WalObject::Slice(Slice { segment, bytes }) => Some((start(segment)? + bytes.start, start(segment)? + bytes.end)),
        WalObject::File(_) => None,
    }
}

/// The stored WAL of one timeline.
pub struct Content {
    timeline: TimelineId,
    size: SegmentSize,
    pieces: BTreeMap<(u64, u64), bytes::Bytes>,
}

impl Content {
    /// The end of what is stored without a hole around `lsn`; `lsn`'s segment must be stored from its beginning.
    pub fn end_from(&self, lsn: Lsn) -> Lsn {
        let mut end = lsn.0 - lsn.0 % self.size.bytes();
        for (start, stop) in self.pieces.keys() {
            if *start <= end {
                end = end.max(*stop);
            }
        }
        Lsn(end)
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Compares every stored byte with the server's own files; returns how many bytes that were.
    pub fn compare(&self, cluster: &Cluster) -> u64 {
        self.compare_before(cluster, Lsn(u64::MAX))
    }

    /// The same with what lies before `limit` only.
    pub fn compare_before(&self, cluster: &Cluster, limit: Lsn) -> u64 {
        let mut compared = 0;
        for ((start, end), bytes) in self.pieces.iter().filter(|((start, _), _)| *start < limit.0) {
            let name = SegmentName::new(self.timeline, SegmentNumber::containing(Lsn(*start), self.size), self.size);
            let path = cluster.data_directory().join("pg_wal").join(name.to_string());
            let file = std::fs::read(&path).unwrap_or_else(|error| panic!("the server's {}: {error}", path.display()));
            let offset = usize::try_from(start % self.size.bytes()).expect("an offset");
            let length = usize::try_from((*end).min(limit.0) - start).expect("a length");
            let same = file[offset..offset + length] == bytes[..length];
            assert!(same, "{name} from {start:X} to {end:X} is stored with other bytes than the server has");
            compared += length as u64;
        }
        compared
    }

    /// Writes the stored segments and the assembled last one into a directory, and lets `pg_waldump` read them from `from` to `to`.
    pub fn dump(&self, cluster: &Cluster, from: Lsn, to: Lsn) {
        let scratch = pg_fixtures::Scratch::new();
        let directory = scratch.new_directory("wal");
        let mut segments: BTreeMap<SegmentName, Vec<u8>> = BTreeMap::new();
        for ((start, _), bytes) in &self.pieces {
            let name = SegmentName::new(self.timeline, SegmentNumber::containing(Lsn(*start), self.size), self.size);
            let size = usize::try_from(self.size.bytes()).expect("a size");
            let offset = usize::try_from(start % self.size.bytes()).expect("an offset");
            segments.entry(name).or_insert_with(|| vec![0; size])[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        for (name, bytes) in segments {
            std::fs::write(directory.join(name.to_string()), bytes).expect("write a segment");
        }
        ServerUser::current().own_all(&directory);
        let (path, timeline) = (format!("--path={}", directory.display()), format!("--timeline={}", self.timeline));
        let (start, end) = (format!("--start={from}"), format!("--end={to}"));
        cluster.run("pg_waldump", &["--quiet", &path, &timeline, &start, &end]);
    }
}

/// What the server was told is flushed, and what its slot holds back.
pub fn acknowledged(cluster: &Cluster) -> Option<Lsn> {
    let text = cluster.sql(
        "SELECT coalesce(greatest((SELECT max(flush_lsn) FROM pg_stat_replication), \
                                  (SELECT max(restart_lsn) FROM pg_replication_slots)), '0/0')",
    );
    text.parse().ok().filter(|lsn: &Lsn| lsn.is_valid())
}

/// The end of the server's WAL.
pub fn end_of_wal(cluster: &Cluster) -> Lsn {
    cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position")
}
