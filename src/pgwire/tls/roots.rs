//! The authorities that are trusted.

use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::pgwire::conninfo::RootCertificates;

/// Reads them; `None` where there are none to be read.
pub(super) fn read(from: &RootCertificates) -> Result<Option<RootCertStore>, String> {
    match from {
        RootCertificates::File(path) => read_file(path).map(Some),
        RootCertificates::FileIfPresent(path) if path.exists() => read_file(path).map(Some),
        RootCertificates::System => read_system().map(Some),
        RootCertificates::FileIfPresent(_) | RootCertificates::None => Ok(None),
    }
}

fn read_file(path: &Path) -> Result<RootCertStore, String> {
    let fail = |detail: String| format!("sslrootcert {}: {detail}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?;
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        store.add(certificate).map_err(|error| fail(error.to_string()))?;
    }
    if store.is_empty() { Err(fail("no certificate in it".into())) } else { Ok(store) }
}

fn read_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 { Err("sslrootcert=system: the operating system has no certificates installed".into()) } else { Ok(store) }
}
