//! Commands on their way to a server, many before the first answer, and the answers.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::commands::Batch;
use super::{Error, Result};
use crate::resources::redis::connection::{Connection, Transport};
use crate::resources::redis::message::{LINE_BYTES_MAX, Opening, Reply, opening};

/// How many batches wait to be sent, and how many more are sent and not answered.
const BATCHES_WAITING: usize = 4;
const BATCHES_UNANSWERED: usize = 8;
/// How long a server may take to take a batch, and to answer.
const LIMIT: Duration = Duration::from_mins(5);

/// Where the encoder hands its batches on, from a thread that may block.
pub(super) struct Sender(mpsc::Sender<Batch>);

impl Sender {
    /// Whether it is still wanted.
    pub(super) fn hand_on(&self, batch: Batch) -> bool {
        self.0.blocking_send(batch).is_ok()
    }
}

/// Between the encoder and the connection.
pub(super) fn channel() -> (Sender, mpsc::Receiver<Batch>) {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
    (Sender(sender), receiver)
}

/// Sends everything, and returns when everything is answered.
pub(super) async fn send(connection: Connection, batches: mpsc::Receiver<Batch>) -> Result<()> {
    let server = connection.server.clone();
    let (reading, writing) = tokio::io::split(connection.into_stream());
    let (sent, unanswered) = mpsc::channel(BATCHES_UNANSWERED);
    let answers = Answers { server: server.clone(), reader: BufReader::new(reading), done: 0 };
    tokio::try_join!(answers.take_all(unanswered), write_all(server, writing, batches, sent)).map(drop)
}

async fn write_all(
    server: String,
    mut writing: WriteHalf<Box<dyn Transport>>,
    mut batches: mpsc::Receiver<Batch>,
    sent: mpsc::Sender<Vec<String>>,
) -> Result<()> {
    while let Some(Batch { bytes, commands }) = batches.recv().await {
        let write = async {
            writing.write_all(&bytes).await?;
            writing.flush().await
        };
        let silent = |_| Error::Silent { server: server.clone(), doing: "sending a command", limit: LIMIT };
        let written = timeout(LIMIT, write).await.map_err(silent)?;
        // Why a connection was closed stands in the answers, which end with it.
        if sent.send(commands).await.is_err() || written.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The answers, one line each.
struct Answers {
    server: String,
    reader: BufReader<ReadHalf<Box<dyn Transport>>>,
    done: u64,
}

impl Answers {
    async fn take_all(mut self, mut unanswered: mpsc::Receiver<Vec<String>>) -> Result<()> {
        while let Some(commands) = unanswered.recv().await {
            for command in commands {
                self.take(command).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, command: String) -> Result<()> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX as u64);
        let io = |source| Error::Io { server: self.server.clone(), doing: "read an answer", source };
        let silent = |_| Error::Silent { server: self.server.clone(), doing: "waiting for an answer", limit: LIMIT };
        timeout(LIMIT, limited.read_until(b'\n', &mut line)).await.map_err(silent)?.map_err(io)?;
        let line = line.trim_ascii_end();
        match opening(line) {
            Some(Opening::Whole(Reply::Simple(_) | Reply::Integer(_))) => {
                self.done += 1;
                Ok(())
            }
            Some(Opening::Whole(Reply::Error(reply))) => {
                Err(Error::Restore { server: self.server.clone(), command, reply, done: self.done })
            }
            _ if line.is_empty() => {
                Err(io(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it has closed the connection")))
            }
            _ => Err(Error::Unexpected { server: self.server.clone(), detail: "its answer is none to RESTORE".to_owned() }),
        }
    }
}
