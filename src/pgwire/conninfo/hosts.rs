//! The servers that a connection string names: `host`, `hostaddr` and `port`, each a list.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::ConnInfoError;

/// Where servers put their Unix sockets by default: Debian's and PostgreSQL's own choice.
const SOCKET_DIRECTORIES: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];
const DEFAULT_PORT: u16 = 5432;

/// How a server is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The directory of a Unix socket.
    Unix(PathBuf),
    /// Not at all: the Unix socket in one of the usual directories.
    Local,
}

/// One server to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostSpec {
    /// Its name, which its certificate has to bear.
    pub host: Host,
    /// Its address, where the name is not to be looked up.
    pub address: Option<IpAddr>,
    /// Its port, which is also part of a Unix socket's name.
    pub port: u16,
}

impl HostSpec {
    /// The paths of the Unix socket; none for TCP.
    pub(in crate::pgwire) fn socket_paths(&self) -> Vec<PathBuf> {
        let path = |directory: &Path| directory.join(format!(".s.PGSQL.{}", self.port));
        match (&self.host, self.address) {
            (Host::Unix(directory), None) => vec![path(directory)],
            (Host::Local, None) => SOCKET_DIRECTORIES.iter().map(|directory| path(Path::new(directory))).collect(),
            _ => Vec::new(),
        }
    }

    /// The name that the certificate has to bear, and that is looked up unless there is an address.
    pub(in crate::pgwire) fn name(&self) -> String {
        match (&self.host, self.address) {
            (Host::Tcp(name), _) => name.clone(),
            (_, Some(address)) => address.to_string(),
            (Host::Unix(directory), None) => directory.display().to_string(),
            (Host::Local, None) => "localhost".into(),
        }
    }

    /// What this server is called in a password file: the usual Unix sockets count as `localhost`.
    pub(in crate::pgwire) fn password_file_name(&self) -> String {
        match &self.host {
            Host::Unix(directory) if SOCKET_DIRECTORIES.iter().any(|usual| Path::new(usual) == directory) => "localhost".into(),
            _ => self.name(),
        }
    }
}

impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.address) {
            (Host::Unix(directory), None) => write!(f, "{}", directory.join(format!(".s.PGSQL.{}", self.port)).display()),
            (Host::Local, None) => write!(f, "the local socket of port {}", self.port),
            _ => {
                let name = self.name();
                let name = if name.contains(':') { format!("[{name}]") } else { name };
                write!(f, "{name}:{}", self.port)?;
                match (&self.host, self.address) {
                    // Several servers can have one name, and are told apart by what is written here.
                    (Host::Tcp(_), Some(address)) => write!(f, " ({address})"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Pairs the three lists. One port holds for all hosts.
pub(super) fn pair(hosts: &str, addresses: &str, ports: &str) -> Result<Vec<HostSpec>, ConnInfoError> {
    let list = |text: &'_ str| -> Vec<String> {
        if text.is_empty() { Vec::new() } else { text.split(',').map(|entry| entry.trim().to_owned()).collect() }
    };
    let (hosts, addresses, ports) = (list(hosts), list(addresses), list(ports));
    let count = hosts.len().max(addresses.len()).max(1);
    let matches = |length: usize| length == 0 || length == count;
    if !matches(hosts.len()) || !matches(addresses.len()) || !(matches(ports.len()) || ports.len() == 1) {
        return Err(ConnInfoError::HostCount { hosts: hosts.len(), addresses: addresses.len(), ports: ports.len() });
    }
    let entry = |list: &[String], index: usize| list.get(index).cloned().unwrap_or_default();
    (0..count)
        .map(|index| {
            let port = if ports.len() == 1 { entry(&ports, 0) } else { entry(&ports, index) };
            spec(&entry(&hosts, index), &entry(&addresses, index), &port)
        })
        .collect()
}

/// In a URI whose password has a slash that is not escaped, what stands in the port's place is a part of the password.
fn shown(port: &str) -> &str {
    if port.bytes().all(|byte| byte.is_ascii_digit()) { port } else { "(not shown: it is no number)" }
}

fn spec(host: &str, address: &str, port: &str) -> Result<HostSpec, ConnInfoError> {
    let host = match host {
        "" => Host::Local,
        path if path.starts_with('/') => Host::Unix(path.into()),
        name => Host::Tcp(name.to_owned()),
    };
    let address = match address {
        "" => None,
        text => Some(text.parse().map_err(|_| ConnInfoError::invalid("hostaddr", text, "an IPv4 or IPv6 address"))?),
    };
    let port = match port {
        "" => DEFAULT_PORT,
        text => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| ConnInfoError::invalid("port", shown(text), "1 to 65535"))?,
    };
    Ok(HostSpec { host, address, port })
}
