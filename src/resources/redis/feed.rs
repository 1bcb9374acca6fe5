//! A stream of pieces as something that a thread of its own can read: the checks run there.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::rdb::{self, Checked};

/// How many pieces wait to be read.
const PIECES_WAITING: usize = 4;

/// Checks a file while its pieces come.
pub(super) struct Checking {
    pieces: mpsc::Sender<Bytes>,
    checked: JoinHandle<rdb::Result<Checked>>,
}

impl Checking {
    pub(super) fn begin() -> Self {
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
        let source = Pieces { receiver, current: Bytes::new() };
        Self { pieces, checked: tokio::task::spawn_blocking(move || rdb::check(source)) }
    }

    /// Hands a piece over; false where it has ended already: `finish` says why.
    pub(super) async fn take(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// What the file is, when all of it was handed over.
    pub(super) async fn finish(self) -> Result<rdb::Result<Checked>, String> {
        drop(self.pieces);
        self.checked.await.map_err(|panic| panic.to_string())
    }
}

/// Pieces from a channel, one after the other. Blocks while there is none.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let bytes = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}
