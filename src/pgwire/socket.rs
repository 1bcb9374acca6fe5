//! The socket below a connection: TCP or Unix.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How TCP finds out that the other side is gone. Unset values are the operating system's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Keepalive {
    pub(super) enabled: bool,
    pub(super) idle: Duration,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
    pub(super) user_timeout: Option<Duration>,
}

impl Socket {
    pub(super) async fn connect_tcp(address: SocketAddr, keepalive: &Keepalive) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        keepalive.set(&stream)?;
        Ok(Self::Tcp(stream))
    }

    pub(super) async fn connect_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::Unix(UnixStream::connect(path).await?))
    }
}

impl Keepalive {
    fn set(&self, stream: &TcpStream) -> io::Result<()> {
        setsockopt(stream, sockopt::KeepAlive, &self.enabled)?;
        if self.enabled {
            setsockopt(stream, sockopt::TcpKeepIdle, &seconds(self.idle))?;
            if let Some(interval) = self.interval {
                setsockopt(stream, sockopt::TcpKeepInterval, &seconds(interval))?;
            }
            if let Some(count) = self.count {
                setsockopt(stream, sockopt::TcpKeepCount, &count)?;
            }
        }
        if let Some(timeout) = self.user_timeout {
            setsockopt(stream, sockopt::TcpUserTimeout, &u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }
}

/// Whole seconds within what Linux accepts (`MAX_TCP_KEEPIDLE`).
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).clamp(1, 32767)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
