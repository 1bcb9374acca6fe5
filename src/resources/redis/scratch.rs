//! A scratch server that loads a file, to show that one does: in memory where that is possible, on a socket that nobody else can reach, gone afterwards.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::connection::Connection;
use super::restore::site::running_in;
use super::server::Facts;
use super::tls::Certificates;
use crate::config::{RedisPlace, RedisUrl, SecretVariables};
use crate::sys::clock::Deadline;
use crate::sys::scratch::ScratchDirectory;

/// A directory in memory.
const IN_MEMORY: &str = "/dev/shm";
/// The file holds the data in the clear, as the directory does that it lies in.
const FILE_MODE: u32 = 0o600;
/// What such directories are for, in their names.
const PURPOSE: &str = "redis";
/// How long a server may take to load a file.
const LOAD_LIMIT: Duration = Duration::from_hours(1);
const POLL_EVERY: Duration = Duration::from_millis(50);
/// A file takes about so many times its size in memory: itself, and what the server makes of it.
const MEMORY_FACTOR: u64 = 4;
/// And a server as such takes so many bytes.
const SERVER_BYTES: u64 = 64 << 20;
/// What a server says when the file may be sound, and is not for it.
const NOT_FOR_IT: [(&str, &str); 4] = [
    ("Can't handle RDB format version", "is too old for it, or of another kind"),
    ("Wrong signature", "is of another kind"),
    ("no matching module", "lacks a module that it needs"),
    ("Unknown RDB encoding type", "does not know a type of value in it"),
];

/// Where the file goes that a scratch server is to load.
pub(super) struct Scratch {
    directory: ScratchDirectory,
    file: File,
}

/// What became of it.
pub(super) enum Loaded {
    /// A server has loaded it.
    Keys {
        /// Which.
        server: String,
        /// How many keys it has found.
        keys: u64,
        /// Whether those that had expired are among them.
        expired_meanwhile: bool,
    },
    /// No server was there for it.
    LeftOut(String),
    /// A server that should load it does not.
    Refused {
        /// Which.
        server: String,
        /// What it said.
        said: String,
    },
}

impl Scratch {
    /// A place for so many bytes; an error, in words, where there is none.
    pub(super) fn begin(bytes: u64) -> Result<Self, String> {
        // What a killed process has left takes memory that is counted next.
        ScratchDirectory::sweep(Path::new(IN_MEMORY), PURPOSE, end_server);
        let needed = bytes.saturating_mul(MEMORY_FACTOR) + SERVER_BYTES;
        if available_memory().is_some_and(|available| available < needed) {
            return Err(format!("that would take about {} MB of memory, which are not there", needed >> 20));
        }
        let parent = if has_room(Path::new(IN_MEMORY), bytes) { PathBuf::from(IN_MEMORY) } else { std::env::temp_dir() };
        let failed = |error: std::io::Error| format!("{}: {error}", parent.display());
        let directory = ScratchDirectory::make(&parent, PURPOSE, end_server).map_err(failed)?;
        let path = directory.path().join("dump.rdb");
        let file = File::options().write(true).create_new(true).mode(FILE_MODE).open(path).map_err(failed)?;
        Ok(Self { directory, file })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), String> {
        self.file.write_all(piece).map_err(|error| format!("{}: {error}", self.directory.path().display()))
    }

    /// Lets the first of the installed servers that can load it; one of its own kind first.
    pub(super) async fn load(self, kind: &str, hidden: &SecretVariables) -> Loaded {
        let programs = if kind == "valkey" { ["valkey-server", "redis-server"] } else { ["redis-server", "valkey-server"] };
        let mut tried = Vec::new();
        for program in programs {
            let Some(server) = version(program, hidden).await else { continue };
            match self.try_load(program, &server, hidden).await {
                Loaded::LeftOut(why) => tried.push(why),
                other => return other,
            }
        }
        let nothing = "neither redis-server nor valkey-server is installed here";
        Loaded::LeftOut(if tried.is_empty() { nothing.to_owned() } else { tried.join("; ") })
    }

    async fn try_load(&self, program: &str, server: &str, hidden: &SecretVariables) -> Loaded {
        let log = self.directory.path().join("log");
        let mut child = match self.start(program, &log, hidden).await {
            Ok(child) => child,
            Err(error) => return Loaded::LeftOut(format!("{server} cannot be started: {error}")),
        };
        let facts = self.wait(&mut child).await;
        drop(child.start_kill());
        drop(child.wait().await);
        match facts {
            Some(facts) => counted(server, &facts),
            None => refused(server, &fs::read_to_string(&log).unwrap_or_default()),
        }
    }

    /// Its configuration goes through a pipe: nothing of it is seen in a list of processes, and no file is left.
    async fn start(&self, program: &str, log: &Path, hidden: &SecretVariables) -> std::io::Result<Child> {
        let directory = self.directory.path().display();
        let configuration = format!(
            "port 0\nunixsocket {directory}/socket\nunixsocketperm 700\ndir {directory}\ndbfilename dump.rdb\n\
             appendonly no\nsave \"\"\ndaemonize no\ndatabases 65536\n"
        );
        let log = File::create(log)?;
        let mut command = without(hidden, program);
        command.arg("-").current_dir(self.directory.path()).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(configuration.as_bytes()).await?;
        }
        Ok(child)
    }

    /// What the server says when it has loaded the file; none where it has ended instead, or takes too long.
    async fn wait(&self, child: &mut Child) -> Option<Facts> {
        let place = RedisPlace::Unix(self.directory.path().join("socket"));
        let url = RedisUrl { place, user: None, password: None };
        let deadline = Deadline::after(LOAD_LIMIT);
        while !deadline.has_passed() && matches!(child.try_wait(), Ok(None)) {
            if let Ok(mut connection) = Connection::open(&url, &Certificates::default()).await
                && let Ok(facts) = Facts::ask(&mut connection).await
                && !facts.is_loading()
            {
                return Some(facts);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        None
    }
}

/// A server of version 7 and later counts what it loads; an earlier one only what has not expired since.
fn counted(server: &str, facts: &Facts) -> Loaded {
    let loaded = facts.number("rdb_last_load_keys_loaded").zip(facts.number("rdb_last_load_keys_expired"));
    let server = server.to_owned();
    match loaded {
        Some((loaded, expired)) => Loaded::Keys { server, keys: loaded + expired, expired_meanwhile: true },
        None => Loaded::Keys { server, keys: facts.keys(), expired_meanwhile: false },
    }
}

fn refused(server: &str, log: &str) -> Loaded {
    let not_for_it = NOT_FOR_IT.iter().find(|(words, _)| log.contains(words));
    if let Some((_, why)) = not_for_it {
        return Loaded::LeftOut(format!("{server} {why}"));
    }
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" # ")).collect();
    let said = lines[lines.len().saturating_sub(3)..].join("; ");
    Loaded::Refused { server: server.to_owned(), said }
}

/// Ends the server that a killed process has left running in its directory.
fn end_server(left: &Path) {
    let Some(id) = running_in(left).and_then(|id| i32::try_from(id).ok()) else { return };
    match kill(Pid::from_raw(id), Signal::SIGKILL) {
        Ok(()) => tracing::info!("ended the server that a killed process had left running in {}", left.display()),
        Err(errno) => tracing::warn!("the server that runs in {} was not ended: {errno}", left.display()),
    }
}

/// The name and version of an installed program; none where there is none.
async fn version(program: &str, hidden: &SecretVariables) -> Option<String> {
    let output = without(hidden, program).arg("--version").stdin(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some(format!("{program} {version}"))
}

/// A program that does not inherit these variables.
fn without(hidden: &SecretVariables, program: &str) -> Command {
    let mut command = Command::new(program);
    for name in hidden.names() {
        command.env_remove(name);
    }
    command
}

fn has_room(directory: &Path, bytes: u64) -> bool {
    let free = nix::sys::statvfs::statvfs(directory).map(|found| found.blocks_available() * found.fragment_size());
    free.is_ok_and(|free| free > bytes + bytes / 8)
}

/// How much memory is free for use, in bytes, as far as the system tells.
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::time::SystemTime;

    use super::*;
    use crate::sys::clock;

    #[test]
    fn the_server_that_a_killed_verify_has_left_running_is_ended_and_its_data_removed() {
        let parent = tempfile::tempdir().expect("a directory");
        let left = parent.path().join("holdfast-redis-left");
        fs::create_dir(&left).expect("create a directory");
        fs::write(left.join("in-use"), "").expect("write a file");
        fs::write(left.join("dump.rdb"), "in the clear").expect("write a file");
        // A process is called what its file is called.
        std::os::unix::fs::symlink("/bin/sleep", left.join("redis-server")).expect("link");
        let mut server = std::process::Command::new(left.join("redis-server"));
        let mut server = server.arg0("sleep").arg("600").current_dir(&left).spawn().expect("start it");
        let long_ago = SystemTime::from(clock::now()) - Duration::from_hours(1);
        File::open(&left).and_then(|file| file.set_modified(long_ago)).expect("set a time");
        ScratchDirectory::sweep(parent.path(), PURPOSE, end_server);
        assert_eq!(server.wait().expect("its end").signal(), Some(9));
        assert!(!left.exists());
    }
}
