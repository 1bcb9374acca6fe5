//! Encrypted connections to a Redis server: certificates are always checked, names included.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Redis;

/// Which certificates are trusted and shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates {
    root: Option<std::path::PathBuf>,
    own: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Certificates {
    /// Those of a section.
    pub(super) fn of(section: &Redis) -> Self {
        let own = section.tls_certificate.clone().zip(section.tls_key.clone());
        Self { root: section.tls_root_certificate.clone(), own }
    }

    /// Encrypts a connection.
    pub(super) async fn encrypt(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, String> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| format!("'{host}' is no name that a certificate can bear"))?;
        let connector = TlsConnector::from(Arc::new(self.client()?));
        connector.connect(name, stream).await.map_err(|error| explain(&error))
    }

    /// Reads the files anew for each connection: certificates are renewed while an agent runs.
    fn client(&self) -> Result<ClientConfig, String> {
        let roots = self.root.as_deref().map_or_else(system_roots, roots_of)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let builder = builder.with_root_certificates(roots);
        match &self.own {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| format!("{}: {error}", certificate.display()))
            }
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| format!("{}: {error}", path.display()))
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if store.is_empty() { Err(format!("{}: there is no certificate in it", path.display())) } else { Ok(store) }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        Err("the operating system has no certificates installed: set tls_root_certificate".to_owned())
    } else {
        Ok(store)
    }
}

/// What the other side, or we, have against the encrypted connection that an error is of; none where it is an error of another sort.
pub(super) fn refusal(error: &std::io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(explain(error))
}

fn explain(error: &std::io::Error) -> String {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let advice = match inner {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "; no certificate of tls_root_certificate has signed the server's"
        }
        Some(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
            "; the server's certificate is for another name than the host of the url"
        }
        Some(Error::InvalidMessage(_)) => "; what answers there has no TLS: use redis://, or the server's tls-port",
        Some(Error::AlertReceived(_)) => "; the server may ask for a certificate of ours: tls_certificate and tls_key",
        _ => "",
    };
    format!("{error}{advice}")
}
