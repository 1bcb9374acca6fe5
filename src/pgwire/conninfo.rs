//! Connection strings, with the one meaning that libpq gives them: keywords and values or a URI, completed by `PG...` variables.
//!
//! What `tokio-postgres` reads it reads here too (`Config`), so that plain SQL and replication cannot differ; the keywords of libpq that
//! it does not know are read here. Where they disagree (`tcp_user_timeout` in milliseconds, an omitted port of a URI) libpq is right.

mod error;
mod hosts;
mod keywords;
mod passfile;
mod settings;
mod tls;
mod uri;
mod variables;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::LoadBalanceHosts;

use super::authentication::{AllowedMethods, Credentials};
use super::socket::Keepalive;
use crate::config::Environment;
pub use error::ConnInfoError;
pub use hosts::{Host, HostSpec};
use passfile::PasswordFile;
use settings::Settings;
pub(super) use tls::{RootCertificates, TlsSettings, TlsVersion};
pub use tls::{SslMode, SslNegotiation};
use variables::Given;
pub use variables::LoginVariables;

/// Without `connect_timeout`, and with one that means to wait for ever: every wait has a deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_mins(10);
/// Two minutes instead of the two hours of the operating system: half-open connections are noticed while it matters.
const KEEPALIVES_IDLE: Duration = Duration::from_mins(2);

/// Which servers will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TargetSessionAttrs {
    /// All.
    #[default]
    Any,
    /// One that accepts writes.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// One that is not a standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or any other if none of them is one.
    PreferStandby,
}

impl TargetSessionAttrs {
    /// As it is written in a connection string.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }
}

impl FromStr for TargetSessionAttrs {
    type Err = ConnInfoError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Any, Self::ReadWrite, Self::ReadOnly, Self::Primary, Self::Standby, Self::PreferStandby];
        all.into_iter().find(|value| value.name() == text).ok_or_else(|| {
            let expected = all.map(Self::name).join(", ");
            ConnInfoError::invalid("target_session_attrs", text, format!("one of {expected}"))
        })
    }
}

/// How to connect to a cluster. Neither `Debug` nor `Display` shows a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnInfo {
    config: Config,
    user: String,
    hosts: Vec<HostSpec>,
    target: Option<TargetSessionAttrs>,
    pub(super) tls: TlsSettings,
    allowed: AllowedMethods,
    passfile: Option<PasswordFile>,
    tcp_user_timeout: Option<Duration>,
    connect_timeout: Duration,
    given: Given,
}

impl ConnInfo {
    /// Reads a connection string. What it leaves open is taken from the `PG...` variables and then from libpq's defaults. No file is
    /// read yet.
    ///
    /// # Errors
    /// When it, or a variable, cannot be understood.
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, ConnInfoError> {
        let pairs = match uri::strip_scheme(text) {
            Some(rest) => uri::split(rest)?,
            None => keywords::split(text)?,
        };
        Self::from_settings(&Settings::complete(pairs, environment)?, environment)
    }

    fn from_settings(settings: &Settings, environment: &Environment) -> Result<Self, ConnInfoError> {
        let home = environment.home();
        let user = settings.get("user").or(environment.user()).unwrap_or("postgres").to_owned();
        let mut config = settings.config()?;
        config.user(&user);
        Ok(Self {
            user,
            hosts: settings.hosts()?,
            target: settings.get("target_session_attrs").map(str::parse).transpose()?,
            tls: TlsSettings::read(settings, home)?,
            allowed: settings.allowed_methods()?,
            passfile: PasswordFile::of(settings.get("passfile"), home),
            tcp_user_timeout: settings.milliseconds("tcp_user_timeout")?,
            connect_timeout: connect_timeout(settings, &config),
            given: Given(settings.given()),
            config,
        })
    }

    /// The servers, in the order in which they are tried.
    #[must_use]
    pub fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// Who logs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database for plain SQL.
    #[must_use]
    pub fn dbname(&self) -> &str {
        self.config.get_dbname().unwrap_or(&self.user)
    }

    /// Whether the connection string or `PGDATABASE` names a database; otherwise `dbname` is libpq's default.
    #[must_use]
    pub fn names_a_database(&self) -> bool {
        self.config.get_dbname().is_some()
    }

    /// As the server shows it, and as `synchronous_standby_names` knows it.
    #[must_use]
    pub fn application_name(&self) -> Option<&str> {
        self.config.get_application_name()
    }

    /// Which servers will do.
    #[must_use]
    pub fn target_session_attrs(&self) -> TargetSessionAttrs {
        self.target.unwrap_or_default()
    }

    /// The same where the connection string or `PGTARGETSESSIONATTRS` says which; otherwise with this choice.
    #[must_use]
    pub fn with_default_target_session_attrs(mut self, target: TargetSessionAttrs) -> Self {
        self.target.get_or_insert(target);
        self
    }

    /// How long reaching and entering one server may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The same with another application name, unless one is given.
    #[must_use]
    pub fn with_default_application_name(mut self, name: &str) -> Self {
        if self.application_name().is_none() {
            self.config.application_name(name);
        }
        self
    }

    /// The same with another database.
    #[must_use]
    pub fn with_dbname(mut self, name: &str) -> Self {
        self.config.dbname(name);
        self
    }

    /// The same without one of its servers, named as errors and connections name it; `None` where no other is left.
    #[must_use]
    pub fn without_server(mut self, server: &str) -> Option<Self> {
        self.hosts.retain(|host| host.to_string() != server);
        (!self.hosts.is_empty()).then_some(self)
    }

    /// The same with one of its servers alone, named in the same way; `None` where it names no such server.
    #[must_use]
    pub fn with_only_server(mut self, server: &str) -> Option<Self> {
        self.hosts.retain(|host| host.to_string() == server);
        (!self.hosts.is_empty()).then_some(self)
    }

    /// The same with another choice of servers.
    #[must_use]
    pub const fn with_target_session_attrs(mut self, target: TargetSessionAttrs) -> Self {
        self.target = Some(target);
        self
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn keepalive(&self) -> Keepalive {
        Keepalive {
            enabled: self.config.get_keepalives(),
            idle: self.config.get_keepalives_idle(),
            interval: self.config.get_keepalives_interval(),
            count: self.config.get_keepalives_retries(),
            user_timeout: self.tcp_user_timeout,
        }
    }

    pub(super) fn tries_in_random_order(&self) -> bool {
        self.config.get_load_balance_hosts() == LoadBalanceHosts::Random
    }

    /// Who logs in to this server, with the password from here or from the password file. `database` is "replication" for
    /// replication.
    pub(super) fn credentials(&self, host: &HostSpec, database: &str) -> Credentials {
        let given = self.config.get_password().filter(|password| !password.is_empty()).map(<[u8]>::to_vec);
        let from_file = || self.passfile.as_ref()?.find(host, database, &self.user);
        Credentials {
            user: self.user.clone(),
            password: given.or_else(from_file),
            channel_binding: self.config.get_channel_binding(),
            allowed: self.allowed.clone(),
        }
    }

    /// All servers, for messages.
    pub(super) fn servers(&self) -> String {
        self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

fn connect_timeout(settings: &Settings, config: &Config) -> Duration {
    match (config.get_connect_timeout(), settings.get("connect_timeout")) {
        (Some(timeout), _) => (*timeout).min(CONNECT_TIMEOUT_MAX),
        (None, None) => CONNECT_TIMEOUT,
        (None, Some(_)) => CONNECT_TIMEOUT_MAX,
    }
}

impl fmt::Display for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.servers(), self.user)
    }
}

#[cfg(test)]
mod tests;
