//! The `ssl...` keywords.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ConnInfoError;
use super::settings::Settings;

/// Whether and how carefully the connection is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server can.
    Prefer,
    /// Always, whoever the server is; with a root certificate, as `VerifyCa`.
    Require,
    /// Always, and the server's certificate must come from a trusted authority.
    VerifyCa,
    /// Always, and the certificate must also bear the server's name.
    VerifyFull,
}

impl SslMode {
    const ALL: [Self; 6] = [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// As it is written in a connection string.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl FromStr for SslMode {
    type Err = ConnInfoError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| ConnInfoError::invalid("sslmode", text, format!("one of {}", Self::ALL.map(Self::name).join(", "))))
    }
}

/// How the server is asked for encryption.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SslNegotiation {
    /// By PostgreSQL's own question first.
    #[default]
    Postgres,
    /// Not at all: TLS begins at once, with ALPN. PostgreSQL 17 and later.
    Direct,
}

/// Which authorities are trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::pgwire) enum RootCertificates {
    /// Those in this file.
    File(PathBuf),
    /// Those in this file, if it is there: `~/.postgresql/root.crt`.
    FileIfPresent(PathBuf),
    /// Those of the operating system.
    System,
    /// None.
    None,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::pgwire) enum TlsVersion {
    /// Also what the older ones are taken for: they are not spoken any more.
    V1_2,
    V1_3,
}

/// Everything about encryption.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::pgwire) struct TlsSettings {
    pub(in crate::pgwire) mode: SslMode,
    pub(in crate::pgwire) negotiation: SslNegotiation,
    pub(in crate::pgwire) roots: RootCertificates,
    /// The client's certificate and key.
    pub(in crate::pgwire) identity: Option<(PathBuf, PathBuf)>,
    /// Whether these files were named, and so have to be there.
    pub(in crate::pgwire) identity_required: bool,
    /// Whether the server's name is sent in the clear, so that a proxy can route by it.
    pub(in crate::pgwire) server_name_indication: bool,
    pub(in crate::pgwire) min_version: TlsVersion,
    pub(in crate::pgwire) max_version: TlsVersion,
}

impl TlsSettings {
    pub(super) fn read(settings: &Settings, home: Option<&Path>) -> Result<Self, ConnInfoError> {
        let roots = roots(settings, home);
        let mode = mode(settings, &roots)?;
        let (identity, identity_required) = identity(settings, home)?;
        Ok(Self {
            mode,
            negotiation: negotiation(settings, mode)?,
            roots,
            identity,
            identity_required,
            server_name_indication: settings.flag("sslsni")?.unwrap_or(true),
            min_version: version(settings, "ssl_min_protocol_version")?.unwrap_or(TlsVersion::V1_2),
            max_version: version(settings, "ssl_max_protocol_version")?.unwrap_or(TlsVersion::V1_3),
        })
    }
}

fn default_file(home: Option<&Path>, name: &str) -> Option<PathBuf> {
    home.map(|home| home.join(".postgresql").join(name))
}

fn roots(settings: &Settings, home: Option<&Path>) -> RootCertificates {
    match settings.get("sslrootcert") {
        Some("system") => RootCertificates::System,
        Some(path) => RootCertificates::File(path.into()),
        None => default_file(home, "root.crt").map_or(RootCertificates::None, RootCertificates::FileIfPresent),
    }
}

/// With the system's authorities, which certify anybody, only the full check makes sense: libpq refuses the weaker modes too.
fn mode(settings: &Settings, roots: &RootCertificates) -> Result<SslMode, ConnInfoError> {
    let mode: Option<SslMode> = settings.get("sslmode").map(str::parse).transpose()?;
    match (roots, mode) {
        (RootCertificates::System, None) => Ok(SslMode::VerifyFull),
        (RootCertificates::System, Some(mode)) if mode != SslMode::VerifyFull => {
            Err(ConnInfoError::invalid("sslmode", mode.name(), "with sslrootcert=system, verify-full"))
        }
        (_, mode) => Ok(mode.unwrap_or(SslMode::Prefer)),
    }
}

fn negotiation(settings: &Settings, mode: SslMode) -> Result<SslNegotiation, ConnInfoError> {
    match settings.get("sslnegotiation") {
        None | Some("postgres") => Ok(SslNegotiation::Postgres),
        Some("direct") if mode >= SslMode::Require => Ok(SslNegotiation::Direct),
        Some("direct") => Err(ConnInfoError::invalid("sslmode", mode.name(), "with sslnegotiation=direct, at least require")),
        Some(other) => Err(ConnInfoError::invalid("sslnegotiation", other, "postgres or direct")),
    }
}

type Identity = (Option<(PathBuf, PathBuf)>, bool);

fn identity(settings: &Settings, home: Option<&Path>) -> Result<Identity, ConnInfoError> {
    let wanted = match settings.get("sslcertmode") {
        None | Some("allow" | "require") => true,
        Some("disable") => false,
        Some(other) => return Err(ConnInfoError::invalid("sslcertmode", other, "disable, allow or require")),
    };
    let named = settings.get("sslcert").is_some() || settings.get("sslcertmode") == Some("require");
    let file = |keyword, name| settings.get(keyword).map(PathBuf::from).or_else(|| default_file(home, name));
    let files = file("sslcert", "postgresql.crt").zip(file("sslkey", "postgresql.key"));
    Ok((files.filter(|_| wanted), named && wanted))
}

fn version(settings: &Settings, keyword: &'static str) -> Result<Option<TlsVersion>, ConnInfoError> {
    match settings.get(keyword) {
        None => Ok(None),
        Some("TLSv1" | "TLSv1.1" | "TLSv1.2") => Ok(Some(TlsVersion::V1_2)),
        Some("TLSv1.3") => Ok(Some(TlsVersion::V1_3)),
        Some(other) => Err(ConnInfoError::invalid(keyword, other, "TLSv1.2 or TLSv1.3")),
    }
}
