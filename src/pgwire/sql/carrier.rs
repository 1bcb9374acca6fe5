//! What `tokio-postgres` needs to run over a stream that was opened elsewhere.

use std::future::{Ready, ready};
use std::io;

use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{AsyncMessage, Connection};

use crate::pgwire::Stream;

/// Takes a stream for a TLS session as it is.
pub(super) struct AsTls;

impl TlsConnect<Stream> for AsTls {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(stream))
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        self.binding().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// Moves messages until the connection ends, and logs what the server remarks.
pub(super) async fn carry(mut connection: Connection<Stream, Stream>, server: String) {
    loop {
        match std::future::poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => tracing::info!(server, "{notice}"),
            Some(Ok(_)) => {}
            // Whoever waits for an answer gets an error of their own.
            Some(Err(error)) => return tracing::debug!(server, "the SQL connection ended: {error}"),
            None => return,
        }
    }
}
