//! The section of a Redis server, and where such a server is found.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::{Config, Keep, Objectives, Result, Schedule, Secret, SecretVariables};
use crate::repository::{ResourceKind, ResourceName};

/// The port of a Redis server that does not say otherwise.
const PORT: u16 = 6379;

/// `[redis.NAME]`: the data of a Redis or Valkey server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Where the server is: `redis://[user[:password]@]host[:port]`, `rediss://` for TLS, `unix:///path` for a socket.
    pub url: Secret,
    /// The password, where it is not in the URL.
    pub password: Option<Secret>,
    /// The file with the certificates that are trusted; those of the operating system where it is not given.
    pub tls_root_certificate: Option<PathBuf>,
    /// The certificate that is shown to the server, for servers that ask for one.
    pub tls_certificate: Option<PathBuf>,
    /// The key of `tls_certificate`.
    pub tls_key: Option<PathBuf>,
    /// Whether `verify` loads a backup into a scratch server, where one is installed.
    #[serde(default = "yes")]
    pub scratch_server: bool,
    /// When it is backed up.
    pub schedule: Option<Schedule>,
    /// Which backups are kept; all of them where it is not given.
    pub keep: Option<Keep>,
    /// What it has to keep to.
    #[serde(default)]
    pub objectives: Objectives,
    /// What no program that is run for it inherits.
    #[serde(skip)]
    pub hidden: SecretVariables,
}

const fn yes() -> bool {
    true
}

/// Where a server is, and who logs in there.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// What is connected to.
    pub place: RedisPlace,
    /// The user of the access control list; none: the one that is called `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// What is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RedisPlace {
    /// A host and a port.
    Tcp {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// A socket of this host.
    Unix(PathBuf),
}

impl Redis {
    /// Where the server is, with secrets revealed.
    ///
    /// # Errors
    /// When a secret cannot be had, or the URL is none.
    pub fn location(&self) -> Result<RedisUrl> {
        let wrong = |detail| super::Error::Secret { from: "url of a [redis] section".to_owned(), detail };
        let mut url: RedisUrl = self.url.reveal()?.parse().map_err(wrong)?;
        if let Some(password) = &self.password {
            url.password = Some(password.reveal()?);
        }
        Ok(url)
    }

    /// What is wrong with the section.
    fn wrong(&self) -> Option<String> {
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Some("tls_certificate and tls_key need each other".to_owned());
        }
        // One that is taken from elsewhere is read when it is needed.
        let Secret::Inline(url) = &self.url else { return None };
        match url.parse::<RedisUrl>() {
            Err(why) => Some(why),
            Ok(url) if url.password.is_some() && self.password.is_some() => {
                Some("there is a password in the url, and another one beside it".to_owned())
            }
            Ok(_) => None,
        }
    }
}

impl std::str::FromStr for RedisUrl {
    type Err = String;

    /// The password, or what might be one, is in none of the messages.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let written = "write it as in redis://user@host:6379, rediss://host:6379 (TLS) or unix:///run/redis/redis.sock";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("the url has no scheme; {written}"))?;
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (user, password) = match login {
            None => (None, None),
            Some(login) => {
                let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
                (Some(decoded(user)?).filter(|user| !user.is_empty()), password.map(decoded).transpose()?)
            }
        };
        let place = match scheme {
            "redis" => tcp(place, false)?,
            "rediss" => tcp(place, true)?,
            "unix" | "redis+unix" if place.starts_with('/') => RedisPlace::Unix(PathBuf::from(decoded(place)?)),
            _ => return Err(format!("'{scheme}' is no scheme of a Redis server, or names no place; {written}")),
        };
        Ok(Self { place, user, password })
    }
}

fn decoded(text: &str) -> std::result::Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| "the url holds what is not UTF-8 when it is decoded".to_owned())
}

/// `host`, `host:port`, `[::1]:port`, with a slash at the end or without.
fn tcp(place: &str, tls: bool) -> std::result::Result<RedisPlace, String> {
    let place = place.trim_end_matches('/');
    if place.contains(['/', '?', '#']) {
        return Err(
            "the url of a Redis server ends with its port: a backup holds all its databases, and options have keys".to_owned()
        );
    }
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => PORT,
        Some(port) => port.parse().map_err(|_| "the port of the url is no number up to 65535".to_owned())?,
    };
    if host.is_empty() {
        return Err("the url names no host".to_owned());
    }
    Ok(RedisPlace::Tcp { host: host.to_owned(), port, tls })
}

impl fmt::Display for RedisPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Without the password.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrl").field("place", &self.place).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Config {
    /// The Redis servers with their resource names. Names were checked when the file was read.
    pub fn redis(&self) -> impl Iterator<Item = (ResourceName, &Redis)> {
        self.redis.iter().filter_map(|(name, section)| Some((ResourceName::new(ResourceKind::Redis, name).ok()?, section)))
    }

    /// A section that makes no sense.
    pub(super) fn wrong_redis(&self) -> Option<(ResourceKind, String, String)> {
        self.redis.iter().find_map(|(name, section)| Some((ResourceKind::Redis, name.clone(), section.wrong()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn urls_of_every_form() {
        let tcp = |host: &str, port, tls| RedisPlace::Tcp { host: host.to_owned(), port, tls };
        assert_eq!(parsed("redis://localhost").place, tcp("localhost", 6379, false));
        assert_eq!(parsed("rediss://[::1]:7000/").place, tcp("::1", 7000, true));
        assert_eq!(parsed("unix:///run/redis/redis.sock").place, RedisPlace::Unix(PathBuf::from("/run/redis/redis.sock")));
        let login = parsed("redis://back%40up:p%3Ass@host:1");
        assert_eq!((login.user.as_deref(), login.password.as_deref()), (Some("back@up"), Some("p:ss")));
        let only_password = parsed("redis://:p@host");
        assert_eq!((only_password.user, only_password.password.as_deref()), (None, Some("p")));
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_repeated() {
        for text in [
            "",
            "host:6379",
            "http://u:hush@h",
            "redis://u:hush@",
            "redis://u:hush@h:x",
            "unix://u:hush@run/sock",
            "redis://u:hush@h/0",
            "redis://u:%ffhush@h",
        ] {
            let message = text.parse::<RedisUrl>().expect_err("a wrong url");
            assert!(!message.contains("hush"), "{text}: {message}");
        }
        assert!(!format!("{:?}", parsed("redis://u:hush@h")).contains("hush"));
    }
}
