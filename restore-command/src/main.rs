//! `restore_command = 'holdfast-restore-command --config FILE --resource postgres/main --lineage SYSTEM_ID %f "%p"'`
//!
//! Asks the WAL server of this data directory for a file, and starts that server where none listens. Where that fails too it runs
//! `holdfast wal fetch`. PostgreSQL runs this with the data directory as its current directory.
//!
//! Invariant: it ends with 1, which PostgreSQL takes for the end of the WAL, only if server or `wal fetch` said that this is proven.

use std::env;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_archive_command::{Operation, Request, Verdict, ask, exit, holdfast, option_value};

/// The server's folder in the data directory. Relative: a socket's path may not be longer than 107 bytes.
const FOLDER: &str = "holdfast-restore";
const SOCKET: &str = "holdfast-restore/wal.sock";
const LOG: &str = "holdfast-restore/server.log";
/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// How long the server may take for one file.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often a server that ended is replaced before this goes on without one.
const SERVERS: usize = 2;

/// What stands on the command line.
#[derive(Default, Debug)]
struct Arguments {
    config: OsString,
    resource: OsString,
    lineage: OsString,
    no_prefetch: bool,
    name: OsString,
    path: OsString,
}

fn main() -> ExitCode {
    // A panic ends a program with 101 where it does not abort it, and 101 is the end of the WAL.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("holdfast-restore-command: {panic}");
        std::process::exit(i32::from(exit::FAILED));
    }));
    let code = parse(env::args_os().skip(1)).and_then(|arguments| fetch(&arguments));
    ExitCode::from(code.unwrap_or_else(|message| {
        eprintln!("holdfast-restore-command: {message}");
        exit::FAILED
    }))
}

fn fetch(arguments: &Arguments) -> Result<u8, String> {
    if !arguments.no_prefetch && is_servers_directory() {
        for _ in 0..SERVERS {
            match ask_server(arguments) {
                Ok(verdict) if verdict.code == exit::NOT_MINE => break,
                Ok(verdict) => {
                    if !verdict.message.is_empty() {
                        eprintln!("holdfast-restore-command: {}", verdict.message);
                    }
                    return Ok(safe(verdict.code));
                }
                Err(error) => eprintln!("holdfast-restore-command: the WAL server gave no verdict: {error}"),
            }
        }
    }
    fetch_directly(arguments)
}

/// Codes that no part of Holdfast ends with never pass for the end of the WAL.
const fn safe(code: u8) -> u8 {
    match code {
        exit::DONE | exit::ABSENT | exit::FAILED.. => code,
        _ => exit::FAILED,
    }
}

/// Whether this is the data directory of a server that runs. `pg_rewind` may be run in one whose server does not, and then has to remove
/// every file there that its source does not have: it cannot remove a socket.
fn is_servers_directory() -> bool {
    ["PG_VERSION", "global/pg_control", "postmaster.pid"].iter().all(|name| Path::new(name).exists())
}

fn ask_server(arguments: &Arguments) -> io::Result<Verdict> {
    let connection = match UnixStream::connect(SOCKET) {
        Ok(connection) => connection,
        Err(_) => start_server(arguments)?,
    };
    let path = std::path::absolute(&arguments.path)?;
    let fields = [&arguments.resource, &arguments.lineage, &arguments.config, &arguments.name, path.as_os_str()];
    let fields = fields.map(|field| field.as_bytes().to_vec()).to_vec();
    within(DEADLINE, move || {
        let mut connection = connection;
        ask(&mut connection, &Request { operation: Operation::Fetch, fields })
    })
}

/// Does it on a thread, because not every wait of a socket has a deadline of its own.
fn within<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more once the deadline has passed.
    thread::spawn(move || sender.send(work()).unwrap_or_default());
    receiver.recv_timeout(deadline).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Starts a server in a process group of its own, so that it outlives this process and the signals that stop recovery's children.
fn start_server(arguments: &Arguments) -> io::Result<UnixStream> {
    let deadline = Instant::now() + START;
    let mut server = spawn_server(arguments)?;
    loop {
        match UnixStream::connect(SOCKET) {
            Ok(connection) => return Ok(connection),
            Err(_) if Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
        // One that found another server before it ends with success; then that one listens, or will.
        if let Some(status) = server.try_wait()?
            && !status.success()
        {
            return Err(io::Error::other(format!("it ended with {status}; {LOG} says why")));
        }
        thread::sleep(PAUSE);
    }
}

fn spawn_server(arguments: &Arguments) -> io::Result<Child> {
    match DirBuilder::new().mode(0o700).create(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let log: File = OpenOptions::new().create(true).append(true).mode(0o600).open(LOG)?;
    let mut command = Command::new(holdfast());
    command.args(["wal", "serve"]).args(options(arguments));
    // Segments are large and come and go: glibc would keep twice what is in use, and this makes it give them back.
    command.env("MALLOC_MMAP_THRESHOLD_", "1048576").env("MALLOC_ARENA_MAX", "2");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()
}

fn fetch_directly(arguments: &Arguments) -> Result<u8, String> {
    let program = holdfast();
    let mut command = Command::new(&program);
    command.args(["wal", "fetch"]).args(options(arguments));
    command.arg("--").arg(&arguments.name).arg(&arguments.path).stdin(Stdio::null());
    let status = command.status().map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    Ok(code_of(status))
}

/// A process that a signal ended is reported as a shell would: PostgreSQL knows 143 as its own stop request.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(exit::FAILED, safe)
}

fn options(arguments: &Arguments) -> Vec<OsString> {
    let given = [("--config", &arguments.config), ("--resource", &arguments.resource), ("--lineage", &arguments.lineage)];
    let given = given.into_iter().filter(|(_, value)| !value.is_empty());
    given.flat_map(|(name, value)| [OsString::from(name), value.clone()]).collect()
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let mut arguments = arguments;
    let mut parsed = Arguments::default();
    let mut names = Vec::new();
    while let Some(argument) = arguments.next() {
        if let Some(value) = option_value("--config", &argument, &mut arguments)? {
            parsed.config = value;
        } else if let Some(value) = option_value("--resource", &argument, &mut arguments)? {
            parsed.resource = value;
        } else if let Some(value) = option_value("--lineage", &argument, &mut arguments)? {
            parsed.lineage = value;
        } else if argument == "--no-prefetch" {
            parsed.no_prefetch = true;
        } else if argument.as_bytes().starts_with(b"--") {
            return Err(format!("unknown option {}; {USAGE}", argument.display()));
        } else {
            names.push(argument);
        }
    }
    match <[OsString; 2]>::try_from(names) {
        Ok([name, path]) => Ok(Arguments { name, path, ..parsed }),
        Err(_) => Err(USAGE.to_owned()),
    }
}

const USAGE: &str = "usage: holdfast-restore-command [--config FILE] [--resource KIND/NAME] [--lineage SYSTEM_ID] [--no-prefetch] NAME PATH (in restore_command: %f \"%p\")";
