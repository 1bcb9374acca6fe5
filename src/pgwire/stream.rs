//! What a session runs over: a socket, encrypted or not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::socket::Socket;

/// A socket, encrypted or not.
#[derive(Debug)]
pub struct Stream(Inner);

#[derive(Debug)]
enum Inner {
    Plain(Socket),
    /// With the `tls-server-end-point` of the server's certificate, where it has one.
    Tls(Box<TlsStream<Socket>>, Option<Vec<u8>>),
}

impl Stream {
    pub(super) const fn plain(socket: Socket) -> Self {
        Self(Inner::Plain(socket))
    }

    pub(super) fn encrypted(stream: TlsStream<Socket>, binding: Option<Vec<u8>>) -> Self {
        Self(Inner::Tls(Box::new(stream), binding))
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.0, Inner::Tls(..))
    }

    /// The hash of the server's certificate that SCRAM-SHA-256-PLUS binds to (RFC 5929, section 4).
    pub(super) fn binding(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Inner::Plain(_) => None,
            Inner::Tls(_, binding) => binding.clone(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Inner::Tls(stream, _) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Inner::Tls(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(context),
            Inner::Tls(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Inner::Tls(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
