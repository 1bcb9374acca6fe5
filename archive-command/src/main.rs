//! `archive_command = 'holdfast-archive-command --resource postgres/main %p'`
//!
//! Asks the agent to store a file, and ends with 0 only when it is durable. Where no agent answers it runs `holdfast wal push`.
//! PostgreSQL deletes the file after 0; after anything else it keeps it and asks again.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use holdfast_archive_command::{Operation, Request, Verdict, ask, exit, holdfast, option_value};

/// Where the agent listens, unless it is told otherwise.
const SOCKET: &str = "/run/holdfast/agent.sock";
/// How long the agent may take for one file, connecting included.
const DEADLINE: Duration = Duration::from_secs(300);

/// What stands on the command line.
#[derive(Default, Debug)]
struct Arguments {
    socket: Option<OsString>,
    config: Option<OsString>,
    resource: Option<OsString>,
    path: PathBuf,
}

/// What asking the agent led to.
enum Answer {
    Verdict(Verdict),
    /// Nobody listens.
    NoAgent(io::Error),
    /// The agent took the request, and its verdict did not come.
    Lost(String),
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("holdfast-archive-command: {message}");
            ExitCode::from(exit::NOT_STORED)
        }
    }
}

fn run() -> Result<u8, String> {
    let arguments = parse(env::args_os().skip(1))?;
    let path = std::path::absolute(&arguments.path).map_err(|error| format!("{}: {error}", arguments.path.display()))?;
    let resource = arguments.resource.as_ref().map_or(Vec::new(), |resource| resource.as_bytes().to_vec());
    let request = Request { operation: Operation::Push, fields: vec![resource, path.as_os_str().as_bytes().to_vec()] };
    let socket = arguments.socket.clone().map_or_else(|| PathBuf::from(SOCKET), PathBuf::from);
    match ask_agent(socket.clone(), request) {
        Answer::Verdict(verdict) => {
            if !verdict.message.is_empty() {
                eprintln!("holdfast-archive-command: {}", verdict.message);
            }
            // Above 125 PostgreSQL restarts its archiver, which no failure to store a file calls for.
            Ok(if verdict.code == exit::DONE { exit::DONE } else { exit::NOT_STORED })
        }
        Answer::NoAgent(error) => {
            eprintln!("holdfast-archive-command: no agent at {} ({error}): running holdfast wal push", socket.display());
            Err(push(&arguments, &path))
        }
        Answer::Lost(reason) => Err(format!("{reason}; {} is not known to be stored", path.display())),
    }
}

/// Asks on a thread, because connecting to a socket whose owner hangs has no deadline of its own.
fn ask_agent(socket: PathBuf, request: Request) -> Answer {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let answer = match UnixStream::connect(socket) {
            Err(error) => Answer::NoAgent(error),
            Ok(mut connection) => match ask(&mut connection, &request) {
                Ok(verdict) => Answer::Verdict(verdict),
                Err(error) => Answer::Lost(format!("the agent gave no verdict: {error}")),
            },
        };
        // Nobody listens any more once the deadline has passed.
        sender.send(answer).unwrap_or_default();
    });
    let late = |_| Answer::Lost(format!("the agent gave no verdict within {} seconds", DEADLINE.as_secs()));
    receiver.recv_timeout(DEADLINE).unwrap_or_else(late)
}

/// Becomes `holdfast wal push`; returns only if that cannot be started.
fn push(arguments: &Arguments, path: &PathBuf) -> String {
    let program = holdfast();
    let mut command = Command::new(&program);
    command.args(["wal", "push"]);
    for (name, value) in [("--config", &arguments.config), ("--resource", &arguments.resource)] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    let error = command.arg("--").arg(path).exec();
    format!("{} cannot be run: {error}", program.display())
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let mut arguments = arguments;
    let mut parsed = Arguments::default();
    let mut paths = Vec::new();
    while let Some(argument) = arguments.next() {
        if let Some(value) = option_value("--socket", &argument, &mut arguments)? {
            parsed.socket = Some(value);
        } else if let Some(value) = option_value("--config", &argument, &mut arguments)? {
            parsed.config = Some(value);
        } else if let Some(value) = option_value("--resource", &argument, &mut arguments)? {
            parsed.resource = Some(value);
        } else if argument.as_bytes().starts_with(b"--") {
            return Err(format!("unknown option {}; {USAGE}", argument.display()));
        } else {
            paths.push(argument);
        }
    }
    match <[OsString; 1]>::try_from(paths) {
        Ok([path]) => Ok(Arguments { path: path.into(), ..parsed }),
        Err(_) => Err(USAGE.to_owned()),
    }
}

const USAGE: &str =
    "usage: holdfast-archive-command [--socket PATH] [--config FILE] [--resource KIND/NAME] PATH (in archive_command: %p)";
