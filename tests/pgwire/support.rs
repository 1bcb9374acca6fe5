//! What these tests share.

use std::time::Duration;

use holdfast::config::Environment;
use holdfast::pg::Lsn;
use holdfast::pgwire::{ConnInfo, Error, ReplicationConnection, SqlConnection, WalEvent, WalStream};
use pg_fixtures::postgres::{Cluster, Installation};

/// Longer than anything here takes, shorter than patience.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Runs an asynchronous test, which has to end in time.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(3 * DEADLINE, work).await.expect("the test takes too long") })
}

/// Runs a test against a new server of every version.
pub fn on_every_version<F: Future<Output = ()>>(test: impl Fn(Cluster) -> F) {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        run(test(Cluster::builder(&installation).start()));
    }
}

/// A connection string without any environment.
pub fn conninfo(text: &str) -> ConnInfo {
    ConnInfo::parse(text, &Environment::default()).expect("a valid connection string")
}

pub async fn replication(text: &str) -> ReplicationConnection {
    ReplicationConnection::connect(&conninfo(text)).await.expect("a replication connection")
}

pub async fn refused(text: &str) -> Error {
    match ReplicationConnection::connect(&conninfo(text)).await {
        Ok(_) => panic!("let in with {text}"),
        Err(error) => error,
    }
}

pub async fn sql(text: &str) -> SqlConnection {
    SqlConnection::connect(&conninfo(text)).await.expect("a connection for SQL")
}

pub fn lsn(text: &str) -> Lsn {
    text.parse().expect("a position")
}

/// The next event that is no keepalive.
pub async fn next_but_keepalives(stream: &mut WalStream) -> Result<WalEvent, Error> {
    loop {
        match tokio::time::timeout(DEADLINE, stream.next()).await.expect("an event in time")? {
            WalEvent::Keepalive { .. } => {}
            event => return Ok(event),
        }
    }
}

/// Reads WAL up to a position, and returns it.
pub async fn read_until(stream: &mut WalStream, end: Lsn) -> Vec<u8> {
    let mut wal = Vec::new();
    while stream.position() < end {
        match next_but_keepalives(stream).await.expect("WAL") {
            WalEvent::XLogData { bytes, .. } => wal.extend_from_slice(&bytes),
            event => panic!("{event:?} instead of WAL"),
        }
    }
    wal
}
