//! The WAL server of one recovery: fetches segments ahead of the requests that the restore shim brings, and hands them over by rename.
//!
//! Invariants: it serves one lineage. Only what this process has fetched whole and checked is handed over; whatever an earlier server left
//! in the spool is removed at the start. Only what is there is known ahead: that something is absent is decided anew for every request.
//! It ends when nobody asks for a while, and at once when recovery or the PostgreSQL server has ended, or its folder is gone. At most `AHEAD_BYTES` lie in
//! the spool, and a few segments in memory.

mod home;
mod spool;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use holdfast_archive_command::{Operation, Request, Verdict, exit};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::fetch::{Fetched, Fetcher};
use super::protection::WalProtection;
use crate::pg::{SegmentName, WalFileName};
use crate::resources::postgres::shim;
use crate::sys::clock::Deadline;

pub use home::FOLDER;
use home::Home;
use spool::Spool;

/// How long a request may take. The shim waits a little longer.
const REQUEST: Duration = Duration::from_secs(540);
/// The most requests that are answered at once. PostgreSQL makes one at a time.
const REQUESTS_AT_ONCE: usize = 4;
/// How long it stays without a request where no recovery is known of.
const AFTER_RECOVERY: Duration = Duration::from_secs(3);
/// How often it is looked whether it is time to end.
const TICK: Duration = Duration::from_millis(100);

/// What the server serves, as the shim's command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The resource; empty where none was given.
    pub resource: Vec<u8>,
    /// The system identifier; empty where none was given.
    pub lineage: Vec<u8>,
    /// The configuration file; empty where none was given.
    pub config: Vec<u8>,
}

/// Opens the repository: a fetcher, or the verdict for requests until it can be opened.
pub type Open = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Fetcher, Verdict>> + Send>> + Send + Sync>;

/// A server that has its folder to itself.
pub struct WalServer {
    home: Home,
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    open: Open,
    fetcher: OnceCell<Fetcher>,
    spool: Mutex<Spool>,
    protection: Arc<Mutex<WalProtection>>,
}

impl WalServer {
    /// Takes the folder `FOLDER` in the current directory; `None` where another server has it.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn start(identity: Identity, open: Open) -> io::Result<Option<Self>> {
        let Some(home) = Home::take(Path::new(FOLDER)).await? else { return Ok(None) };
        let spool = Mutex::new(Spool::new(home.spool()));
        let protection = Arc::new(Mutex::new(WalProtection::of(&std::path::absolute(FOLDER)?)));
        let shared = Shared { identity, open, fetcher: OnceCell::new(), spool, protection };
        Ok(Some(Self { home, shared: Arc::new(shared) }))
    }

    /// Answers requests until there is none for `idle` (for a few seconds where no recovery is known of), recovery or the PostgreSQL server
    /// has ended, or the folder is gone.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn run(self, idle: Duration) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
        let mut silence = Silence::begin(idle, is_recovering());
        while !silence.is_long(is_recovering()) && self.home.is_ours() && is_server_there() {
            let waited = tokio::time::timeout(TICK, self.home.listener().accept()).await;
            if let Ok(accepted) = waited {
                let permit = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
                let (stream, _) = accepted?;
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    if let Err(error) = shared.serve(stream).await {
                        tracing::warn!("a request was not answered: {error}");
                    }
                    drop(permit);
                });
            }
            if waited_for_somebody(&places) {
                silence = Silence::begin(idle, is_recovering());
            }
        }
        // The folder first: the store may take its time.
        self.home.leave();
        if let Err(error) = self.shared.protection.lock().await.leave().await {
            tracing::warn!("retention is not told any more of this recovery: {error}");
        }
        Ok(())
    }
}

/// The time since the last request.
struct Silence {
    in_recovery: Deadline,
    after_recovery: Deadline,
    /// Whether the server recovered when it asked.
    recovered: bool,
}

impl Silence {
    fn begin(idle: Duration, recovers: bool) -> Self {
        let after_recovery = Deadline::after(AFTER_RECOVERY.min(idle));
        Self { in_recovery: Deadline::after(idle), after_recovery, recovered: recovers }
    }

    /// Whether nobody is expected to ask any more. Where a recovery has ended that is so at once; the server may be what `pg_rewind` copies from next,
    /// which can read no socket.
    fn is_long(&self, recovers: bool) -> bool {
        self.in_recovery.has_passed() || (!recovers && (self.recovered || self.after_recovery.has_passed()))
    }
}

/// Whether the server of the current directory recovers: when it does no more, PostgreSQL has removed what asked it to
/// (`StartupXLOG`, once the new timeline has begun).
fn is_recovering() -> bool {
    ["recovery.signal", "standby.signal"].iter().any(|signal| Path::new(signal).exists())
}

/// Whether the server of the current directory runs, or was killed: one that ends removes its lock file. Then `pg_rewind` may come, which
/// removes what its source does not have, and fails half-way where it meets a socket, or misses a file that it has seen.
fn is_server_there() -> bool {
    Path::new("postmaster.pid").exists()
}

/// Whether a request is being answered.
fn waited_for_somebody(places: &Semaphore) -> bool {
    places.available_permits() < REQUESTS_AT_ONCE
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: UnixStream) -> io::Result<()> {
        shim::serve(stream, REQUEST, exit::FAILED, async |request| {
            // A task of its own, so that a panic becomes a verdict.
            let answered = tokio::spawn(async move { self.answer(&request).await }).await;
            answered.unwrap_or_else(|panic| failed(format!("the WAL server failed: {panic}")))
        })
        .await
    }

    async fn answer(&self, request: &Request) -> Verdict {
        let (Operation::Fetch, [resource, lineage, config, name, path]) = (request.operation, request.fields.as_slice()) else {
            return failed("not a request for a WAL file: install shims and holdfast of one version".to_owned());
        };
        let identity = Identity { resource: resource.clone(), lineage: lineage.clone(), config: config.clone() };
        if identity != self.identity {
            return Verdict { code: exit::NOT_MINE, message: String::new() };
        }
        let name: WalFileName = match String::from_utf8_lossy(name).parse() {
            Ok(name) => name,
            Err(error) => return failed(format!("{error}")),
        };
        let fetcher = match self.fetcher.get_or_try_init(|| (self.open)()).await {
            Ok(fetcher) => fetcher,
            Err(verdict) => return verdict,
        };
        self.fetch(fetcher, name, &PathBuf::from(OsStr::from_bytes(path))).await
    }

    async fn fetch(&self, fetcher: &Fetcher, name: WalFileName, destination: &Path) -> Verdict {
        let mut spool = self.spool.lock().await;
        let ahead = match name {
            WalFileName::Segment(segment) => spool.hand_over(segment, destination).await,
            _ => false,
        };
        let fetched = if ahead { Ok(Fetched::Delivered) } else { fetcher.fetch(name, destination).await };
        if let (WalFileName::Segment(segment), Ok(Fetched::Delivered)) = (name, &fetched) {
            spool.fetch_ahead(fetcher, segment);
            self.protect(fetcher, segment);
        }
        shim::verdict(match fetched {
            Ok(Fetched::Delivered) => Ok(exit::DONE),
            Ok(Fetched::Absent(_)) => Ok(exit::ABSENT),
            Err(error) => Err((error.exit_code(), error.to_string(), error.hint())),
        })
    }
}

impl Shared {
    /// Keeps retention away from what follows, beside the answer: recovery does not wait for it.
    fn protect(&self, fetcher: &Fetcher, segment: SegmentName) {
        let (protection, archive) = (Arc::clone(&self.protection), fetcher.archive().clone());
        tokio::spawn(async move { protection.lock().await.asked_for(&archive, segment).await });
    }
}

fn failed(message: String) -> Verdict {
    Verdict { code: exit::FAILED, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_that_has_ended_is_not_waited_for() {
        let idle = Duration::from_mins(1);
        let asked_in_recovery = Silence::begin(idle, true);
        assert!(!asked_in_recovery.is_long(true) && asked_in_recovery.is_long(false));
        let asked_without = Silence::begin(idle, false);
        assert!(!asked_without.is_long(false) && !asked_without.is_long(true));
        assert!(Silence::begin(Duration::ZERO, true).is_long(true), "nobody asked for long enough");
    }
}
