//! Running a program: its output piece by piece, its complaints bounded and masked, its end in time.

use std::process::{ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::error::{Error, Result};
use crate::config;
use crate::sys::clock::Deadline;

/// How much of what it says on standard error is kept: the last bytes.
const STDERR_BYTES: usize = 8 << 10;
/// How much output is read at once.
const PIECE_BYTES: usize = 64 << 10;
/// Secrets shorter than this are not masked: they would mask half of any text.
const MASKED_MIN: usize = 4;

/// A program that is running. Dropping it kills it with all that it has started.
pub(super) struct Program {
    name: String,
    limit: std::time::Duration,
    deadline: Deadline,
    child: Child,
    group: Group,
    stdout: ChildStdout,
    stderr: Option<JoinHandle<Vec<u8>>>,
    secrets: Vec<String>,
}

/// The process group of a program, killed when this is dropped.
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
    /// Starts the program of a section.
    pub(super) fn start(section: &config::Command) -> Result<Self> {
        let name = section.program().to_owned();
        let failed = |source| Error::Start { program: name.clone(), source };
        let mut command = Command::new(section.program());
        command.args(section.run.iter().skip(1)).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut secrets = Vec::new();
        for (variable, value) in &section.env {
            let value = value.reveal()?;
            command.env(variable, &value);
            secrets.push(value);
        }
        if let Some(directory) = &section.cwd {
            command.current_dir(directory);
        }
        let mut child = command.spawn().map_err(failed)?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let no_pipe = || std::io::Error::other("it has no pipe");
        let stdout = child.stdout.take().ok_or_else(no_pipe).map_err(failed)?;
        let stderr = child.stderr.take().ok_or_else(no_pipe).map_err(failed)?;
        let (limit, deadline) = (section.timeout.0, Deadline::after(section.timeout.0));
        let stderr = Some(tokio::spawn(last_of(stderr)));
        Ok(Self { name, limit, deadline, child, group, stdout, stderr, secrets })
    }

    /// The next piece of its output; `None` at its end.
    pub(super) async fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        let mut piece = vec![0; PIECE_BYTES];
        match tokio::time::timeout(self.deadline.remaining(), self.stdout.read(&mut piece)).await {
            Ok(Ok(0)) => Ok(None),
            Ok(Ok(read)) => {
                piece.truncate(read);
                Ok(Some(piece))
            }
            Ok(Err(source)) => Err(Error::Start { program: self.name.clone(), source }),
            Err(_) => Err(self.too_long().await),
        }
    }

    /// Waits for its end, which has to be a good one; what it said on standard error meanwhile is logged.
    pub(super) async fn finish(mut self) -> Result<()> {
        let status = match tokio::time::timeout(self.deadline.remaining(), self.child.wait()).await {
            Ok(status) => status.map_err(|source| Error::Start { program: self.name.clone(), source })?,
            Err(_) => return Err(self.too_long().await),
        };
        let stderr = self.stderr().await;
        if !status.success() {
            return Err(self.failed(status, stderr));
        }
        if !stderr.is_empty() {
            tracing::info!(program = self.name, "it said on standard error:\n{stderr}");
        }
        Ok(())
    }

    fn failed(&self, status: ExitStatus, stderr: String) -> Error {
        Error::Failed { program: self.name.clone(), status, stderr }
    }

    async fn too_long(&mut self) -> Error {
        let stderr = self.stderr().await;
        Error::TooLong { program: self.name.clone(), limit: self.limit, stderr }
    }

    /// What it said, secrets masked. What it has started may hold the pipe open: that is not waited for, the group is killed.
    async fn stderr(&mut self) -> String {
        drop(std::mem::replace(&mut self.group, Group(None)));
        let Some(reading) = self.stderr.take() else { return String::new() };
        let bytes = reading.await.unwrap_or_default();
        masked(String::from_utf8_lossy(&bytes).trim_end(), &self.secrets)
    }
}

fn masked(text: &str, secrets: &[String]) -> String {
    let long_enough = secrets.iter().filter(|secret| secret.len() >= MASKED_MIN);
    long_enough.fold(text.to_owned(), |text, secret| text.replace(secret, "(secret)"))
}

/// Reads to the end and keeps the last bytes.
async fn last_of(mut source: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; STDERR_BYTES]);
    while let Ok(read @ 1..) = source.read(&mut piece).await {
        kept.extend_from_slice(&piece[..read]);
        let over = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..over);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let secrets = ["hunter2".to_owned(), "abc".to_owned()];
        assert_eq!(masked("token hunter2hunter2 abc", &secrets), "token (secret)(secret) abc");
    }
}
