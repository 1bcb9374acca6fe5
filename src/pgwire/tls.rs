//! TLS as PostgreSQL does it: asking the server, the handshake, and how far the server's certificate is trusted.
//!
//! The answer to the question is read as one single byte from the socket, so nothing that somebody slipped in behind it in the clear
//! can be taken for the server's words later (CVE-2021-23222): it would be read as a part of the handshake, which then fails.

mod binding;
mod identity;
mod roots;
mod verifier;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::conninfo::{HostSpec, SslNegotiation, TlsSettings, TlsVersion};
pub(super) use binding::tls_server_end_point;

/// What PostgreSQL calls itself where TLS begins at once.
const ALPN: &[u8] = b"postgresql";

/// Why there is no encrypted connection.
#[derive(Debug)]
pub(super) enum TlsError {
    /// The socket failed.
    Io(std::io::Error),
    /// Anything else.
    Refused(String),
}

impl From<String> for TlsError {
    fn from(detail: String) -> Self {
        Self::Refused(detail)
    }
}

/// Everything needed for a handshake, read from files once per attempt to connect: certificates are renewed while an agent runs.
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    negotiation: SslNegotiation,
}

impl Tls {
    /// Reads the certificates and the key that the settings name.
    pub(super) fn prepare(settings: &TlsSettings) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier::choose(settings, roots::read(&settings.roots)?, &provider)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&versions(settings)?).map_err(|error| error.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match identity::read(settings, &provider)? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| format!("sslcert: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = settings.server_name_indication;
        if settings.negotiation == SslNegotiation::Direct {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(Self { config: Arc::new(config), negotiation: settings.negotiation })
    }

    /// Encrypts the connection. `Ok(Err(stream))`: the server has no TLS, and the connection can go on without.
    pub(super) async fn negotiate<S>(&self, mut stream: S, host: &HostSpec) -> Result<Result<TlsStream<S>, S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.negotiation == SslNegotiation::Postgres && !ask(&mut stream).await? {
            return Ok(Err(stream));
        }
        let name = server_name(host);
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await.map_err(explain)?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if self.negotiation == SslNegotiation::Direct && agreed != Some(ALPN) {
            return Err("sslnegotiation=direct: what answers there is no PostgreSQL 17 or later".to_owned().into());
        }
        Ok(Ok(stream))
    }
}

fn versions(settings: &TlsSettings) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, String> {
    let range = settings.min_version..=settings.max_version;
    let all = [(TlsVersion::V1_2, &TLS12), (TlsVersion::V1_3, &TLS13)];
    let chosen: Vec<_> = all.into_iter().filter(|(version, _)| range.contains(version)).map(|(_, version)| version).collect();
    if chosen.is_empty() { Err("ssl_min_protocol_version is above ssl_max_protocol_version".into()) } else { Ok(chosen) }
}

/// Asks whether the server has TLS: SSLRequest and one byte.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<bool, TlsError> {
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(TlsError::Io)?;
    stream.flush().await.map_err(TlsError::Io)?;
    match stream.read_u8().await.map_err(TlsError::Io)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        // What follows an 'E' comes from nobody in particular yet, so it is not shown (CVE-2024-10977).
        b'E' => Err("the server answers the question for TLS with an error".to_owned().into()),
        other => Err(format!("the server answers the question for TLS with byte {other}: it is no PostgreSQL").into()),
    }
}

/// The name for the handshake. One that no certificate can bear is replaced by one that none bears, so that the full check fails and
/// the others work.
fn server_name(host: &HostSpec) -> ServerName<'static> {
    let name = host.name();
    ServerName::try_from(name.trim_end_matches('.').to_owned())
        .or_else(|_| ServerName::try_from("unknown.invalid"))
        .unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

fn explain(error: std::io::Error) -> TlsError {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else {
        return TlsError::Io(error);
    };
    let advice = match inner {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; no certificate of sslrootcert has signed the server's (a self-signed one is itself put there)"
        }
        Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "; give the server a certificate whose subject alternative names hold the host of the connection string (a common name \
             does not count), or use sslmode=verify-ca"
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "; sslrootcert holds another certificate of the same name: an authority was made anew"
        }
        Error::InvalidCertificate(CertificateError::BadEncoding) => "; certificates of X.509 version 1 are not accepted",
        Error::InvalidCertificate(_) => "; the server's certificate is not accepted",
        _ => "",
    };
    TlsError::Refused(format!("{inner}{advice}"))
}

/// The only cryptography that is used.
fn signature_algorithms(provider: &CryptoProvider) -> rustls::crypto::WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

#[cfg(test)]
mod tests;
