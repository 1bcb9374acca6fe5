//! A plan reads headers, and of the WAL itself only the piece of a segment in which the target lies and the one before.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use holdfast::codec::Compression;
use holdfast::pg::recovery::RecoveryTarget;
use holdfast::repository::{Repository, ResourceName};
use holdfast::resources::postgres::restore::gather::gather;
use holdfast::resources::postgres::restore::locate::locate;
use holdfast::resources::postgres::restore::plan::{RestorePlan, choose_route, plan};
use holdfast::resources::postgres::restore::target::{Wanted, parse_time};
use holdfast::storage::{ConditionalPut, Entry, FileStore, IsOwn, ObjectKey, Put, Result, Store, Upload};
use pg_fixtures::postgres::{Cluster, Installation};

use super::refused::walk;
use super::support::Story;

/// What the envelope of an object has in front at most.
const HEADER_BYTES: u64 = 4096;

/// A store that counts the bytes that are read from it.
#[derive(Debug)]
struct Counting {
    inner: FileStore,
    read: AtomicU64,
}

impl Counting {
    fn count(&self, bytes: Bytes) -> Bytes {
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes
    }
}

#[async_trait::async_trait]
impl Store for Counting {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn conditional_put(&self) -> ConditionalPut {
        self.inner.conditional_put()
    }

    fn set_conditional_put(&self, found: ConditionalPut) {
        self.inner.set_conditional_put(found);
    }

    async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<Put> {
        self.inner.put_if_absent(key, body).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        self.inner.upload(key).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        Ok(self.count(self.inner.get(key).await?))
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        Ok(self.count(self.inner.get_range(key, range).await?))
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        self.inner.size(key).await
    }

    async fn settle(&self, key: &ObjectKey) -> Result<()> {
        self.inner.settle(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.inner.list(prefix, after, limit).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize> {
        self.inner.sweep(age, own).await
    }
}

/// Plans a restore, and says how many bytes that took.
async fn planned(story: &Story, target: RecoveryTarget) -> (RestorePlan, u64) {
    let inner = FileStore::open(&story.repository()).await.expect("a store");
    let store = Arc::new(Counting { inner, read: AtomicU64::new(0) });
    let repository = Repository::open(Arc::clone(&store) as Arc<dyn Store>, Compression::default()).await.expect("a repository");
    let resource: ResourceName = "postgres/main".parse().expect("a name");
    let (facts, archive) = gather(&repository, &resource, None).await.expect("facts");
    let route = choose_route(&facts, &Wanted { target, ..Wanted::END }).expect("a route");
    let located = locate(&archive, &route).await.expect("a place");
    let plan = plan(&facts, &route, located).expect("a plan");
    (plan, store.read.load(Ordering::Relaxed))
}

fn at(time: &str) -> RecoveryTarget {
    RecoveryTarget::Time(parse_time(time).expect("a time"))
}

#[test]
fn a_time_is_found_without_downloading_the_archive() {
    const SEGMENTS: u64 = 16;
    let story = Story::new(&Installation::newest());
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (i int, filler text)");
    story.backup();
    let mut moments = Vec::new();
    for number in 0..SEGMENTS {
        // Random, so that compression leaves it large.
        let random = "(SELECT string_agg(md5(random()::text || g || k), '') FROM generate_series(1, 60) k)";
        cluster.sql(&format!("INSERT INTO t SELECT {number}, {random} FROM generate_series(1, 1000) g"));
        let xid = cluster.sql("BEGIN; INSERT INTO t VALUES (-1); SELECT pg_current_xact_id(); COMMIT");
        let time = cluster.sql("SELECT clock_timestamp()");
        let next = cluster.sql("BEGIN; INSERT INTO t VALUES (-2); SELECT pg_current_xact_id(); COMMIT");
        moments.push((xid, time, next));
        cluster.switch_wal();
    }
    story.store_wal();
    let sizes = walk(&story.repository().join("postgres/main/wal"));
    let sizes: Vec<u64> = sizes.iter().map(|path| path.metadata().expect("an object").len()).collect();
    let (largest, all): (u64, u64) = (sizes.iter().copied().max().unwrap_or(0), sizes.iter().sum());
    let (before, time, after) = &moments[10];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (plan, read) = runtime.block_on(planned(&story, at(time)));
    assert_eq!(plan.located.before.map(|commit| commit.xid.to_string()).as_ref(), Some(before));
    assert_eq!(plan.located.after.map(|commit| commit.xid.to_string()).as_ref(), Some(after));
    // The headers, some of them twice; two segments; the catalog, which lists the packs.
    let few = 2 * largest + 3 * (SEGMENTS + 4) * HEADER_BYTES + (256 << 10);
    println!("{read} bytes of {all} were read");
    assert!(read <= few && few < all / 2, "{read} bytes were read, of {all}; {few} would be enough");
}

#[test]
fn of_a_large_segment_no_more_than_two_of_its_pieces_are_read() {
    const PIECE: u64 = 16 << 20;
    let story = Story::with(Cluster::builder(&Installation::newest()).wal_segment_size(64).setting("max_wal_size", "1GB"));
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE noise (b bytea); ALTER TABLE noise ALTER b SET STORAGE EXTERNAL");
    story.backup();
    // 8 MB that no compression makes smaller.
    let noise = "INSERT INTO noise SELECT pg_read_binary_file('/dev/urandom', n, 1000000) FROM generate_series(0, 7) AS n";
    (0..9).for_each(|_| drop(cluster.sql(noise)));
    let (time, lsn) = (cluster.sql("SELECT clock_timestamp()"), cluster.lsn().parse().expect("an LSN"));
    let xid = cluster.sql("BEGIN; CREATE TABLE t (i int); SELECT pg_current_xact_id(); COMMIT").parse().expect("a number");
    (0..3).for_each(|_| drop(cluster.sql(noise)));
    // Most of what follows the switch is nothing at all.
    story.store_wal();
    cluster.sql("INSERT INTO noise VALUES ('last')");
    story.store_wal();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let all: u64 =
        walk(&story.repository().join("postgres/main/wal")).iter().map(|it| it.metadata().map_or(0, |it| it.len())).sum();
    for target in [at(&time), RecoveryTarget::Lsn(lsn), RecoveryTarget::Xid(xid), RecoveryTarget::EndOfWal] {
        let (plan, read) = runtime.block_on(planned(&story, target.clone()));
        println!("{target:?}: {read} bytes of {all} were read");
        assert!(read < 2 * PIECE + (1 << 20) && read < all / 2, "{read} bytes of {all} were read");
        let (after, last) = (plan.located.after, plan.located.last_record);
        match target {
            RecoveryTarget::EndOfWal => assert!(last.is_some_and(|record| record.start > lsn), "the end is known"),
            _ => assert_eq!(after.or(plan.located.before).map(|commit| commit.xid), Some(xid), "{target:?}"),
        }
    }
}
