//! Clients that write, and remember what the server has confirmed to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast::pg::Lsn;
use pg_fixtures::postgres::Cluster;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

/// How long a client waits for an answer until it takes its server for dead. A commit may wait for an agent that is being killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A commit that the server has confirmed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Confirmed {
    pub client: i32,
    pub number: i64,
    /// A position at or past the end of its commit record.
    pub flushed: Lsn,
}

/// Clients at work. Dropped, they stop.
pub struct Clients {
    runtime: Option<Runtime>,
    stop: Arc<AtomicBool>,
    confirmed: Arc<Mutex<Vec<Confirmed>>>,
}

impl Clients {
    /// So many of them, on a table that is made for them.
    pub fn start(cluster: &Cluster, clients: i32) -> Self {
        cluster.sql("CREATE TABLE marks (client int, number bigint, text text, PRIMARY KEY (client, number))");
        let runtime = Runtime::new().expect("a runtime");
        let (stop, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        for client in 0..clients {
            let work = work(cluster.conninfo(), client, Arc::clone(&stop), Arc::clone(&confirmed));
            runtime.spawn(work);
        }
        Self { runtime: Some(runtime), stop, confirmed }
    }

    /// Everything that was confirmed until now.
    pub fn confirmed(&self) -> Vec<Confirmed> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn work(conninfo: String, client: i32, stop: Arc<AtomicBool>, confirmed: Arc<Mutex<Vec<Confirmed>>>) {
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        // It ends with the server; what was under way then may or may not be committed.
        drop(timeout(PATIENCE, connect_and_write(&conninfo, client, &mut number, &confirmed)).await);
        sleep(Duration::from_millis(50)).await;
    }
}

/// Commits one after the other, for a while.
async fn connect_and_write(
    conninfo: &str,
    client: i32,
    number: &mut i64,
    confirmed: &Mutex<Vec<Confirmed>>,
) -> Result<(), tokio_postgres::Error> {
    let (server, connection) = tokio_postgres::connect(conninfo, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    for _ in 0..2000 {
        *number += 1;
        server.execute("INSERT INTO marks VALUES ($1, $2, repeat('x', 200))", &[&client, &*number]).await?;
        let row = server.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?;
        let flushed = row.get::<_, String>(0).parse().expect("a position");
        confirmed.lock().unwrap_or_else(PoisonError::into_inner).push(Confirmed { client, number: *number, flushed });
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
