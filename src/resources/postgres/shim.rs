//! The other side of the shims: reads their requests from a Unix socket and sends them verdicts.

use std::future::Future;
use std::io;
use std::time::Duration;

use holdfast_archive_command::{HEADER_BYTES, Header, Request, Verdict, exit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::sys::fail_point;

/// How long a shim may take to send its request, or to take the verdict.
const EXCHANGE: Duration = Duration::from_secs(10);

/// Reads a request and sends what `answer` makes of it; after `deadline` a verdict with the code `late` instead.
///
/// # Errors
/// When the shim goes away or sends what is no request. Nobody waits for a verdict then.
pub async fn serve<F: Future<Output = Verdict>>(
    mut stream: UnixStream,
    deadline: Duration,
    late: u8,
    answer: impl FnOnce(Request) -> F,
) -> io::Result<()> {
    let request = timeout(EXCHANGE, read(&mut stream)).await??;
    let verdict = timeout(deadline, answer(request))
        .await
        .unwrap_or_else(|_| Verdict { code: late, message: format!("no verdict within {} seconds", deadline.as_secs()) });
    fail_point::reach("verdict.before", || verdict.code.to_string())?;
    timeout(EXCHANGE, stream.write_all(&verdict.encode())).await?
}

async fn read(stream: &mut UnixStream) -> io::Result<Request> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let header = Header::parse(&header)?;
    let mut rest = vec![0; header.rest_bytes];
    stream.read_exact(&mut rest).await?;
    Request::decode(header, &rest)
}

/// The verdict of something that succeeded, or that failed with a message and what to do next.
#[must_use]
pub fn verdict(result: Result<u8, (u8, String, Option<String>)>) -> Verdict {
    match result {
        Ok(code) => Verdict { code, message: String::new() },
        Err((code, message, Some(hint))) => {
            Verdict { code: code.max(exit::NOT_STORED), message: format!("{message} (hint: {hint})") }
        }
        Err((code, message, None)) => Verdict { code: code.max(exit::NOT_STORED), message },
    }
}
