//! Running another program: its input and output piece by piece, its complaints bounded and masked, its end in time.
//!
//! Invariants: a program that is dropped is killed with all that it has started. No error and no log line shows one of the secrets that it
//! was given. Every wait ends at the program's deadline; what it has left running holds nothing up for longer than `GRACE`.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::clock::Deadline;

/// How much of what it says on standard error is kept: the last bytes.
const STDERR_BYTES: usize = 8 << 10;
/// How much output is read at once.
const PIECE_BYTES: usize = 64 << 10;
/// How long standard error is read on when the program has ended: what it has left running can hold the pipe open for ever.
const GRACE: Duration = Duration::from_secs(1);
/// Secrets shorter than this are not masked: they would mask half of any text.
const MASKED_MIN: usize = 4;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be started or watched.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It failed.
    #[error("{program} ended with {status}{}", said(stderr))]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error, secrets masked.
        stderr: String,
    },
    /// It took too long, and was killed with all that it had started.
    #[error("{program} did not end within {} s and was killed{}", limit.as_secs(), said(stderr))]
    TooLong {
        /// Its name.
        program: String,
        /// How long it had.
        limit: Duration,
        /// The end of what it wrote to standard error, secrets masked.
        stderr: String,
    },
}

impl Error {
    /// How it ended, without what it said: that can hold secrets that it was not given, and that nobody could mask.
    #[must_use]
    pub fn without_its_words(&self) -> String {
        let end = match self {
            Self::Failed { program, status, stderr } if !stderr.is_empty() => format!("{program} ended with {status}"),
            Self::TooLong { program, limit, stderr } if !stderr.is_empty() => {
                format!("{program} did not end within {} s and was killed", limit.as_secs())
            }
            _ => return self.to_string(),
        };
        format!("{end}; what it said is in the agent's log")
    }
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said:\n{stderr}") }
}

/// What a program is run with besides its command.
#[derive(Debug)]
pub struct Terms {
    /// What it is called in messages.
    pub name: String,
    /// How long it may take.
    pub limit: Duration,
    /// What must not be shown of what it says.
    pub secrets: Vec<String>,
}

/// A program that is running.
#[derive(Debug)]
pub struct Program {
    terms: Terms,
    deadline: Deadline,
    child: Child,
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<Listening>,
}

/// A task that reads what a program says on standard error.
#[derive(Debug)]
struct Listening {
    reading: JoinHandle<Kept>,
    /// Sent or dropped, it ends the task.
    stop: oneshot::Sender<()>,
}

impl Listening {
    fn to(source: impl AsyncRead + Unpin + Send + 'static, bytes_max: usize) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { reading: tokio::spawn(last_of(source, bytes_max, stopped)), stop }
    }

    /// What was said, to the end, or until the time of grace is over.
    async fn heard(self, program: &str) -> Kept {
        let Self { mut reading, stop } = self;
        if let Ok(kept) = tokio::time::timeout(GRACE, &mut reading).await {
            return kept.unwrap_or_default();
        }
        tracing::debug!(program, "something that it has started still holds its standard error open");
        drop(stop);
        reading.await.unwrap_or_default()
    }
}

/// The process group of a program, killed when this is dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            match killpg(group, Signal::SIGKILL) {
                // It may be gone already, which is just as well.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => tracing::warn!("the process group {group} was not killed: {errno}"),
            }
        }
    }
}

impl Program {
    /// Starts a program whose output is read, and which has no input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn read_from(mut command: Command, terms: Terms) -> Result<Self, Error> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self::start(command, terms)
    }

    /// Starts a program that is written to, and whose output is of no interest.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn write_to(mut command: Command, terms: Terms) -> Result<Self, Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self::start(command, terms)
    }

    /// Starts a program that does its work without either.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn alone(mut command: Command, terms: Terms) -> Result<Self, Error> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::start(command, terms)
    }

    fn start(mut command: Command, terms: Terms) -> Result<Self, Error> {
        let failed = |source| Error::Start { program: terms.name.clone(), source };
        command.process_group(0).kill_on_drop(true).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let stderr = child.stderr.take().ok_or_else(|| failed(std::io::Error::other("it has no pipe")))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let deadline = Deadline::after(terms.limit);
        let listening = Listening::to(stderr, STDERR_BYTES + longest(&terms.secrets));
        Ok(Self { terms, deadline, child, group, stdin, stdout, stderr: Some(listening) })
    }

    /// The next piece of its output; `None` at its end, when nothing that it has started holds its standard output open any more: until then there
    /// can be more of it.
    ///
    /// # Errors
    /// When it cannot be read, or its time is over.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(stdout) = &mut self.stdout else { return Ok(None) };
        let mut piece = vec![0; PIECE_BYTES];
        match tokio::time::timeout(self.deadline.remaining(), stdout.read(&mut piece)).await {
            Ok(Ok(0)) => Ok(None),
            Ok(Ok(read)) => {
                piece.truncate(read);
                Ok(Some(piece))
            }
            Ok(Err(source)) => Err(Error::Start { program: self.terms.name.clone(), source }),
            Err(_) => Err(self.too_long().await),
        }
    }

    /// Writes to its input. A program that takes no more of it is asked to end well all the same: `finish` tells why it did not.
    ///
    /// # Errors
    /// When its time is over.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        match tokio::time::timeout(self.deadline.remaining(), stdin.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                self.stdin = None;
                Ok(())
            }
            Err(_) => Err(self.too_long().await),
        }
    }

    /// Waits for its end, which has to be a good one; what it said on standard error meanwhile is logged and returned.
    ///
    /// # Errors
    /// When it fails, or its time is over.
    pub async fn finish(mut self) -> Result<String, Error> {
        self.stdin = None;
        let status = match tokio::time::timeout(self.deadline.remaining(), self.child.wait()).await {
            Ok(status) => status.map_err(|source| Error::Start { program: self.terms.name.clone(), source })?,
            Err(_) => return Err(self.too_long().await),
        };
        let stderr = self.stderr().await;
        if !status.success() {
            return Err(Error::Failed { program: self.terms.name.clone(), status, stderr });
        }
        if !stderr.is_empty() {
            tracing::info!(program = self.terms.name, "it said on standard error: {}", in_one_line(&stderr));
        }
        Ok(stderr)
    }

    async fn too_long(&mut self) -> Error {
        let stderr = self.stderr().await;
        Error::TooLong { program: self.terms.name.clone(), limit: self.terms.limit, stderr }
    }

    /// What it said, secrets masked. What it has started may hold the pipe open: the group is killed, and what has left the group is not waited for.
    async fn stderr(&mut self) -> String {
        drop(std::mem::replace(&mut self.group, Group(None)));
        let Some(listening) = self.stderr.take() else { return String::new() };
        let kept = listening.heard(&self.terms.name).await;
        masked(String::from_utf8_lossy(kept.shown(&self.terms.secrets)).trim_end(), &self.terms.secrets)
    }
}

/// The longest first: one can be a part of another.
fn masked(text: &str, secrets: &[String]) -> String {
    let mut secrets: Vec<&String> = maskable(secrets).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, "(secret)"))
}

fn maskable(secrets: &[String]) -> impl Iterator<Item = &String> {
    secrets.iter().filter(|secret| secret.len() >= MASKED_MIN)
}

fn longest(secrets: &[String]) -> usize {
    maskable(secrets).map(String::len).max().unwrap_or(0)
}

/// The last bytes of what a program said, and whether there were others before them.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Kept {
    /// What is shown of it: nothing that could be the rest of a secret whose beginning is not kept, nor a part of one that is.
    fn shown(&self, secrets: &[String]) -> &[u8] {
        let mut begin = if self.is_cut { longest(secrets).min(self.bytes.len()) } else { 0 };
        while let Some(end) = maskable(secrets).filter_map(|secret| self.end_across(begin, secret.as_bytes())).max() {
            begin = end;
        }
        &self.bytes[begin..]
    }

    /// The end of a secret that begins before `place` and ends behind it.
    fn end_across(&self, place: usize, secret: &[u8]) -> Option<usize> {
        let begins = (place + 1).saturating_sub(secret.len())..place;
        begins.rev().find(|begin| self.bytes[*begin..].starts_with(secret)).map(|begin| begin + secret.len())
    }
}

/// For a log, in which each line is an event.
fn in_one_line(text: &str) -> String {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}

/// Reads to the end, or until it is stopped, and keeps the last bytes.
async fn last_of(mut source: impl AsyncRead + Unpin, bytes_max: usize, mut stopped: oneshot::Receiver<()>) -> Kept {
    let (mut kept, mut piece) = (Kept::default(), vec![0; STDERR_BYTES]);
    loop {
        let read = tokio::select! {
            read = source.read(&mut piece) => read,
            _ = &mut stopped => break,
        };
        let Ok(read @ 1..) = read else { break };
        kept.bytes.extend_from_slice(&piece[..read]);
        let over = kept.bytes.len().saturating_sub(bytes_max);
        kept.bytes.drain(..over);
        kept.is_cut |= over > 0;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_is_one_line_of_the_log() {
        assert_eq!(in_one_line("one\r\n\ntwo \nthree"), "one | two | three");
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let secrets = ["hunter2".to_owned(), "abc".to_owned()];
        assert_eq!(masked("token hunter2hunter2 abc", &secrets), "token (secret)(secret) abc");
        let nested = ["hunter2".to_owned(), "hunter2-and-more".to_owned()];
        assert_eq!(masked("hunter2-and-more", &nested), "(secret)");
    }

    #[tokio::test]
    async fn no_part_of_a_secret_is_left_where_the_beginning_is_cut_off() {
        let secrets = ["hunter2-hunter3".to_owned(), "3-hunter".to_owned()];
        let said = "hunter2-hunter3".repeat(20);
        for bytes_max in 16..said.len() {
            let (_going_on, stopped) = oneshot::channel();
            let shown = last_of(said.as_bytes(), bytes_max, stopped).await;
            let text = masked(&String::from_utf8_lossy(shown.shown(&secrets)), &secrets);
            assert_eq!(text.replace("(secret)", ""), "", "{bytes_max}");
        }
        let (_going_on, stopped) = oneshot::channel();
        let whole = last_of(&b"all of it"[..], 100, stopped).await;
        assert_eq!(whole.shown(&secrets), b"all of it");
    }

    /// A shell that runs this.
    fn shell(script: &str, limit: Duration) -> Program {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        Program::read_from(command, Terms { name: "bash".to_owned(), limit, secrets: vec![] }).expect("start it")
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_does_not_hold_up_its_end() {
        let soon = Deadline::after(Duration::from_secs(20));
        // What has a session of its own is not killed with the group.
        let script = "echo done; echo said >&2; setsid sleep 30 >/dev/null & sleep 0.3; exit 0";
        let mut program = shell(script, Duration::from_secs(60));
        let mut output = Vec::new();
        while let Some(piece) = program.next_piece().await.expect("its output") {
            output.extend(piece);
        }
        assert_eq!(output, b"done\n");
        assert_eq!(program.finish().await.expect("a good end"), "said");
        assert!(!soon.has_passed());
    }

    #[tokio::test]
    async fn an_output_that_does_not_end_in_time_is_a_failure() {
        let soon = Deadline::after(Duration::from_secs(20));
        let mut program = shell("echo done; echo said >&2; setsid sleep 30 & sleep 0.3; exit 0", Duration::from_secs(1));
        let failed = loop {
            match program.next_piece().await {
                Ok(piece) => assert!(piece.is_some(), "there can be more of it"),
                Err(error) => break error,
            }
        };
        assert!(matches!(&failed, Error::TooLong { stderr, .. } if stderr == "said"), "{failed}");
        assert!(!soon.has_passed());
    }
}
