//! Certificates for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pg_fixtures::postgres::Builder;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, PKCS_RSA_SHA512, RsaKeySize, SignatureAlgorithm,
};

/// How an authority signs: the hash is the one that channel binding takes.
pub fn kinds() -> Vec<(&'static str, &'static SignatureAlgorithm)> {
    vec![
        ("rsa-sha256", &PKCS_RSA_SHA256),
        ("rsa-sha512", &PKCS_RSA_SHA512),
        ("ecdsa-sha256", &PKCS_ECDSA_P256_SHA256),
        ("ecdsa-sha384", &PKCS_ECDSA_P384_SHA384),
    ]
}

/// An authority of its own, and the directory where its files are.
pub struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_rsa_for(algorithm, RsaKeySize::_2048);
        let key = key.or_else(|_| KeyPair::generate_for(algorithm)).expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("valid parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "an authority for tests");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("root.crt"), &pem).expect("written");
        Self { directory, issuer: Issuer::new(parameters, key), pem }
    }

    /// A certificate and its key, in PEM.
    pub fn issue(&self, common_name: &str, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut parameters = CertificateParams::new(names).expect("valid parameters");
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Gives a server a certificate for these names, and lets it trust clients that this authority has signed.
    pub fn equip(&self, builder: Builder, names: &[&str]) -> Builder {
        let (certificate, key) = self.issue("a server", names);
        let builder = builder.data_file("server.crt", certificate).data_file("server.key", key);
        let builder = builder.data_file("root.crt", self.pem.clone());
        builder.setting("ssl", "on").setting("ssl_ca_file", "root.crt")
    }

    /// The file for `sslrootcert`.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root.crt")
    }

    /// The files for `sslcert` and `sslkey`.
    pub fn client(&self, role: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue(role, &[]);
        let path = |extension: &str| self.directory.path().join(format!("{role}.{extension}"));
        write_private(&path("crt"), &certificate);
        write_private(&path("key"), &key);
        (path("crt"), path("key"))
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, content: &str) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode set");
}
