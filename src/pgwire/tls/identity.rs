//! The client's own certificate.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pgwire::conninfo::TlsSettings;

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads `sslcert` and `sslkey`, where they are there or have to be.
pub(super) fn read(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Option<Identity>, String> {
    let Some((certificate, key)) = &settings.identity else {
        return Ok(None);
    };
    if !settings.identity_required && !certificate.exists() {
        return Ok(None);
    }
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("sslcert {}: {error}", certificate.display()))?;
    let key = read_key(key, provider)?;
    Ok(Some((chain, key)))
}

fn read_key(path: &Path, provider: &CryptoProvider) -> Result<PrivateKeyDer<'static>, String> {
    let fail = |detail: &str| format!("sslkey {}: {detail}", path.display());
    let metadata = std::fs::metadata(path).map_err(|error| fail(&error.to_string()))?;
    if is_open(&metadata) {
        return Err(fail("others can read it; run chmod 0600 on it (0640 if it belongs to root)"));
    }
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| {
        fail(&format!("{error}; an encrypted key has to be decrypted first, as with 'openssl pkey -in KEY -out NEW'"))
    })?;
    provider.key_provider.load_private_key(key.clone_key()).map_err(|error| fail(&error.to_string()))?;
    Ok(key)
}

/// libpq's rule: nobody else may read it, or, if it belongs to root, its group may (fe-secure-openssl.c).
fn is_open(metadata: &Metadata) -> bool {
    let forbidden = if metadata.uid() == 0 { 0o137 } else { 0o177 };
    metadata.mode() & forbidden & 0o077 != 0
}
