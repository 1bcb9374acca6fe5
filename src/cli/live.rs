//! What a running agent says of itself, over its HTTP address.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::repository::ResourceName;

/// How long the agent may take to answer; it answers from memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The agent's status; `None` where none answers there.
pub(super) async fn status(listen: SocketAddr) -> Option<Value> {
    timeout(ANSWER_WITHIN, ask(listen)).await.ok()?.ok()?
}

async fn ask(listen: SocketAddr) -> std::io::Result<Option<Value>> {
    let mut connection = TcpStream::connect(listen).await?;
    // HTTP/1.0: the answer is one body that ends with the connection.
    connection.write_all(b"GET /status HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|head| &answer[head + 4..]);
    Ok(body.and_then(|body| serde_json::from_slice(body).ok()))
}
