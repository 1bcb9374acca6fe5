//! Starting the restored server, and following its recovery by what it logs: no password, no role and no database is needed for that.

mod compare;
mod log;
mod port;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use super::error::{Error, Result};
use crate::pg::history::TimelineHistory;
use crate::pg::recovery::TargetAction;
use crate::pg::{Lsn, TimelineId, WalFileName};
use crate::sys::clock::Deadline;
use crate::sys::local_postgres::{LocalPostgres, Programs, Stop};

use super::plan::RestorePlan;
use super::site::Site;
use compare::{Ended, Stopped, differences, replayed};
use log::Seen;

/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long a server may take until it has begun to start.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// How many lines of the log an error shows.
const LINES_SHOWN: usize = 30;
/// How much of the log is read at once; the rest the next time.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// What the server is started with.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// The port, instead of the restored configuration's; where that one is in use on this host, any free one.
    pub port: Option<u16>,
    /// The directory of the Unix socket, instead of the restored configuration's.
    pub socket_directory: Option<PathBuf>,
}

/// How recovery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The server takes writes.
    Promoted,
    /// The server waits in recovery, and takes queries.
    Paused,
    /// The server has shut down at the target.
    ShutDown,
}

/// Where recovery ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// How.
    pub end: End,
    /// Up to where was replayed, as `pg_last_wal_replay_lsn()` has it; none where that is not known.
    pub lsn: Option<Lsn>,
    /// The time of the last transaction that was replayed, as the server writes it.
    pub last_transaction: Option<String>,
    /// The timeline that the server is on now, if it began a new one.
    pub new_timeline: Option<TimelineId>,
    /// What the server said when it stopped at the target.
    pub stopped: Option<String>,
    /// What is not as planned; empty where recovery ended exactly where it should.
    pub differences: Vec<String>,
    /// The port it listens on.
    pub port: Option<u16>,
    /// The directory of its Unix socket.
    pub socket_directory: Option<PathBuf>,
    /// Its log.
    pub log: PathBuf,
}

/// How far recovery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The position that was last logged: where a record begins.
    pub lsn: Option<Lsn>,
    /// How many bytes of WAL lie before it, of those that the plan has.
    pub done_bytes: u64,
}

/// Starts the server of a restored cluster, and returns when recovery has ended, or waits at the target. The server goes on.
///
/// # Errors
/// `Error::ServerEnded` with the end of its log.
pub async fn start(
    plan: &RestorePlan,
    site: &Site,
    programs: Programs,
    options: &StartOptions,
    progress: impl Fn(&Replay),
) -> Result<Recovered> {
    let server = LocalPostgres::new(programs, site.owner, site.directory.clone());
    remove_old_log(&server.log())?;
    let (starting, mut options) = (server.clone(), options.clone());
    let started = tokio::task::spawn_blocking(move || {
        options.port = options.port.or_else(|| port::instead(&starting));
        starting.start(&settings(&options))
    });
    let started = started.await;
    let started = started.map_err(|panic| Error::Interrupted(panic.to_string()))?;
    let ended = || Error::ServerEnded { log: server.log_tail(LINES_SHOWN) };
    started.map_err(|error| if server.log().exists() { ended() } else { Error::Server(error.to_string()) })?;
    let begins = Deadline::after(BEGINS_WITHIN);
    let mut watch =
        Watch { directory: site.directory.clone(), log: server.log(), offset: 0, seen: Seen::default(), begun: false };
    let first = plan.backup.postgres().start_lsn;
    loop {
        let state = watch.look();
        progress(&Replay { lsn: watch.seen.lsn, done_bytes: watch.seen.lsn.map_or(0, |lsn| lsn.bytes_since(first)) });
        match state {
            State::Running if watch.seen.promoted => return Ok(watch.recovered(End::Promoted, plan)),
            State::Running if watch.seen.paused => return Ok(watch.recovered(End::Paused, plan)),
            State::Gone if watch.seen.shut_down_at_target && plan.stop.action == TargetAction::Shutdown => {
                return Ok(watch.recovered(End::ShutDown, plan));
            }
            State::Gone if watch.begun || watch.seen.ended || begins.has_passed() => return Err(ended()),
            State::Running | State::Gone => tokio::time::sleep(POLL).await,
        }
    }
}

/// Stops the server that `start` began, in whatever state it is.
///
/// # Errors
/// `Error::Server` with what `pg_ctl` says.
pub async fn stop(site: &Site, programs: Programs) -> Result<()> {
    let server = LocalPostgres::new(programs, site.owner, site.directory.clone());
    let lock_file = site.directory.join("postmaster.pid");
    let stopped = tokio::task::spawn_blocking(move || {
        // It takes a moment until one that was just started can be stopped.
        let begins = Deadline::after(BEGINS_WITHIN);
        while !lock_file.exists() && !begins.has_passed() {
            std::thread::sleep(POLL);
        }
        server.stop(Stop::Fast)
    });
    let stopped = stopped.await.map_err(|panic| Error::Interrupted(panic.to_string()))?;
    stopped.map_err(|error| Error::Server(error.to_string()))
}

/// Only for this start, on the command line: what is followed is logged, in English, in one place.
fn settings(options: &StartOptions) -> Vec<(String, String)> {
    let mut settings = vec![
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("log_min_messages", "warning".to_owned()),
        ("lc_messages", "C".to_owned()),
        ("log_line_prefix", "%m [%p] ".to_owned()),
        ("log_startup_progress_interval", "1s".to_owned()),
    ];
    settings.extend(options.port.map(|port| ("port", port.to_string())));
    let sockets = options.socket_directory.as_ref().map(|path| path.display().to_string());
    settings.extend(sockets.map(|path| ("unix_socket_directories", path)));
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Running,
    Gone,
}

struct Watch {
    directory: PathBuf,
    log: PathBuf,
    offset: u64,
    seen: Seen,
    /// The server has made its lock file, which takes a moment.
    begun: bool,
}

impl Watch {
    /// The state comes first: what is logged before it changes is then in the log.
    fn look(&mut self) -> State {
        let state = self.state();
        self.begun |= !matches!(state, State::Gone);
        self.read_log();
        state
    }

    /// The lock file's own status tells a promoted server from one in recovery no more than its existence does. A server that was killed
    /// leaves it behind.
    fn state(&self) -> State {
        let is_there = self.directory.join("postmaster.pid").exists();
        let process = lock_file_line(&self.directory, 0).and_then(|line| line.trim().parse().ok()).map(Pid::from_raw);
        let is_dead = process.is_some_and(|process| kill(process, None::<Signal>) == Err(Errno::ESRCH));
        if is_there && !is_dead { State::Running } else { State::Gone }
    }

    fn read_log(&mut self) {
        use std::io::{Read, Seek, SeekFrom};
        let Ok(mut file) = fs::File::open(&self.log) else { return };
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(self.offset)).and_then(|_| file.take(LOG_BYTES_MAX).read_to_end(&mut bytes));
        if read.is_err() {
            return;
        }
        // Of a line that is longer than what is read at once, nothing is waited for.
        let rest = if bytes.len() as u64 == LOG_BYTES_MAX { bytes.len() } else { 0 };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(rest, |last| last + 1);
        self.offset += whole as u64;
        String::from_utf8_lossy(&bytes[..whole]).lines().for_each(|line| self.seen.take(line));
    }

    fn recovered(&mut self, end: End, plan: &RestorePlan) -> Recovered {
        self.read_log();
        let seen = self.seen.clone();
        let history = seen.new_timeline.and_then(|timeline| self.history(timeline));
        let words = seen.stopped.as_deref().and_then(|message| message.strip_prefix("recovery stopping "));
        let stopped = words.and_then(Stopped::parse);
        let ended = Ended { stopped, last_read: seen.last_read, consistent: seen.consistent, history };
        Recovered {
            end,
            lsn: replayed(plan, &ended),
            last_transaction: seen.last_transaction,
            new_timeline: seen.new_timeline,
            stopped: seen.stopped,
            differences: differences(plan, &ended),
            port: lock_file_line(&self.directory, 3).and_then(|line| line.trim().parse().ok()),
            socket_directory: lock_file_line(&self.directory, 4).filter(|line| !line.is_empty()).map(PathBuf::from),
            log: self.log.clone(),
        }
    }
}

impl Watch {
    /// The history of the timeline that the server has begun, which says where it left the one before.
    fn history(&self, timeline: TimelineId) -> Option<TimelineHistory> {
        let content = fs::read(self.directory.join("pg_wal").join(WalFileName::History(timeline).to_string())).ok()?;
        TimelineHistory::parse(timeline, &content).ok()
    }
}

/// A log of that name that came with the backup, or from an earlier start, is not this server's.
fn remove_old_log(log: &Path) -> Result<()> {
    match fs::remove_file(log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::Server(format!("{}: {error}", log.display()))),
        _ => Ok(()),
    }
}

fn lock_file_line(directory: &Path, number: usize) -> Option<String> {
    let text = fs::read_to_string(directory.join("postmaster.pid")).ok()?;
    text.lines().nth(number).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_line_without_end_hides_nothing_that_follows_it() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, log) = (folder.path().to_owned(), folder.path().join("log"));
        let mut text = vec![b'x'; 3 << 20];
        text.extend(b"\n2026-11-22 10:00:03.123 UTC [15] LOG:  database system is ready to accept connections\n");
        fs::write(&log, text).unwrap();
        let mut watch = Watch { directory, log, offset: 0, seen: Seen::default(), begun: false };
        (0..4).for_each(|_| watch.read_log());
        assert!(watch.seen.promoted);
    }

    #[test]
    fn a_server_that_was_killed_is_gone_though_its_lock_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_owned();
        let watch = Watch { log: directory.join("log"), directory, offset: 0, seen: Seen::default(), begun: false };
        assert_eq!(watch.state(), State::Gone);
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        // The server makes the file before it writes to it.
        for (process, state) in [
            (String::new(), State::Running),
            (std::process::id().to_string(), State::Running),
            (ended.id().to_string(), State::Gone),
        ] {
            fs::write(watch.directory.join("postmaster.pid"), format!("{process}\n/data\n")).unwrap();
            assert_eq!(watch.state(), state, "{process}");
        }
    }
}
