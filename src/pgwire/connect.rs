//! From a connection string to a session: servers, addresses and encryption are tried in libpq's order.

mod attempts;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::conninfo::{ConnInfo, HostSpec, SslMode, TargetSessionAttrs};
use super::error::{Error, Failure, Result};
use super::role::ServerRole;
use super::socket::Socket;
use super::stream::Stream;
use super::tls::{Tls, TlsError, tls_server_end_point};
use attempts::{Encryption, encryptions, next_after};

/// A kind of session that can be begun over a stream.
pub(super) trait Session: Sized + Send {
    /// What errors call this.
    const DOING: &'static str;

    /// Logs in.
    fn begin(stream: Stream, info: &ConnInfo, host: &HostSpec) -> impl Future<Output = Result<Self>> + Send;

    /// What kind of server it is.
    fn role(&mut self) -> impl Future<Output = Result<ServerRole>> + Send;
}

/// Begins a session with the first server that will do.
pub(super) async fn connect<T: Session>(info: &ConnInfo) -> Result<T> {
    let mut errors = Vec::new();
    for target in rounds(info.target_session_attrs()) {
        for host in order(info) {
            match connect_host::<T>(info, host, *target).await {
                Ok(session) => return Ok(session),
                Err(error) if next_after(error.failure()) => errors.push(error),
                Err(error) => return Err(error),
            }
        }
    }
    match errors.len() {
        1 => Err(errors.remove(0)),
        _ => Err(Error::new(T::DOING, info.servers(), Failure::NoServer(errors))),
    }
}

/// `prefer-standby` goes round twice.
const fn rounds(target: TargetSessionAttrs) -> &'static [TargetSessionAttrs] {
    match target {
        TargetSessionAttrs::Any => &[TargetSessionAttrs::Any],
        TargetSessionAttrs::ReadWrite => &[TargetSessionAttrs::ReadWrite],
        TargetSessionAttrs::ReadOnly => &[TargetSessionAttrs::ReadOnly],
        TargetSessionAttrs::Primary => &[TargetSessionAttrs::Primary],
        TargetSessionAttrs::Standby => &[TargetSessionAttrs::Standby],
        TargetSessionAttrs::PreferStandby => &[TargetSessionAttrs::Standby, TargetSessionAttrs::Any],
    }
}

fn order(info: &ConnInfo) -> Vec<&HostSpec> {
    let mut hosts: Vec<&HostSpec> = info.hosts().iter().collect();
    if info.tries_in_random_order() {
        attempts::shuffle(&mut hosts);
    }
    hosts
}

async fn connect_host<T: Session>(info: &ConnInfo, host: &HostSpec, target: TargetSessionAttrs) -> Result<T> {
    let mut session = enter::<T>(info, host).await?;
    if target == TargetSessionAttrs::Any {
        return Ok(session);
    }
    let role = within(info.connect_timeout(), T::DOING, host, session.role()).await?;
    if role.satisfies(target) {
        return Ok(session);
    }
    Err(Error::new(T::DOING, host.to_string(), Failure::OtherRole { found: role.name(), wanted: target.name() }))
}

/// Logs in at one server, with and without encryption as `sslmode` says.
async fn enter<T: Session>(info: &ConnInfo, host: &HostSpec) -> Result<T> {
    let mut first = None;
    for encryption in encryptions(info.tls.mode, host) {
        match within(info.connect_timeout(), T::DOING, host, attempt::<T>(info, host, *encryption)).await {
            Ok(session) => return Ok(session),
            Err(error) if attempts::may_differ_with_encryption(error.failure()) => first = first.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| Error::new(T::DOING, host.to_string(), Failure::Tls("no way to connect is left".into()))))
}

async fn within<T>(limit: Duration, doing: &str, host: &HostSpec, work: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(doing, host.to_string(), Failure::Timeout(limit))),
    }
}

async fn attempt<T: Session>(info: &ConnInfo, host: &HostSpec, encryption: Encryption) -> Result<T> {
    let fail = |failure| Error::new(T::DOING, host.to_string(), failure);
    let socket = open_socket(info, host).await.map_err(|error| fail(Failure::NotReached(error)))?;
    let stream = match encryption {
        Encryption::Plain => Stream::plain(socket),
        Encryption::Tls => encrypt(info, host, socket).await.map_err(fail)?,
    };
    T::begin(stream, info, host).await
}

async fn open_socket(info: &ConnInfo, host: &HostSpec) -> std::io::Result<Socket> {
    let mut failure = None;
    for path in host.socket_paths() {
        match Socket::connect_unix(&path).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    for address in addresses(info, host).await? {
        match Socket::connect_tcp(address, &info.keepalive()).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| std::io::Error::other("the name has no address")))
}

async fn addresses(info: &ConnInfo, host: &HostSpec) -> std::io::Result<Vec<SocketAddr>> {
    if let Some(address) = host.address {
        return Ok(vec![SocketAddr::new(address, host.port)]);
    }
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((host.name(), host.port)).await?.collect();
    if info.tries_in_random_order() {
        attempts::shuffle(&mut found);
    }
    Ok(found)
}

async fn encrypt(info: &ConnInfo, host: &HostSpec, socket: Socket) -> std::result::Result<Stream, Failure> {
    let tls = Tls::prepare(&info.tls).map_err(Failure::Tls)?;
    match tls.negotiate(socket, host).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let binding = certificate.and_then(|certificate| tls_server_end_point(certificate));
            Ok(Stream::encrypted(stream, binding))
        }
        Ok(Err(socket)) if info.tls.mode <= SslMode::Prefer => Ok(Stream::plain(socket)),
        Ok(Err(_)) => Err(Failure::Tls(format!("the server has no TLS, but sslmode={}", info.tls.mode.name()))),
        Err(TlsError::Io(error)) => Err(Failure::ConnectionLost(error.to_string())),
        Err(TlsError::Refused(detail)) => Err(Failure::Tls(detail)),
    }
}
