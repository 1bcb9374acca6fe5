//! What a server says of itself (`INFO`).

use std::collections::BTreeMap;

use super::connection::Connection;
use super::error::Result;
use super::message::Reply;

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    lines: BTreeMap<String, String>,
}

impl Facts {
    /// Asks a server.
    pub(super) async fn ask(connection: &mut Connection) -> Result<Self> {
        match connection.command(&[b"INFO"]).await? {
            Reply::Bulk(Some(text)) => Ok(Self::parse(&String::from_utf8_lossy(&text))),
            _ => Err(connection.unexpected("it does not answer INFO with text")),
        }
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Self { lines: lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect() }
    }

    fn get(&self, name: &str) -> &str {
        self.lines.get(name).map_or("", String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }

    /// `redis` or `valkey`, and the version.
    pub(super) fn version(&self) -> (&'static str, String) {
        match self.get("valkey_version") {
            "" => ("redis", self.get("redis_version").to_owned()),
            version => ("valkey", version.to_owned()),
        }
    }

    pub(super) fn is_replica(&self) -> bool {
        self.get("role") == "slave"
    }

    pub(super) fn is_cluster_node(&self) -> bool {
        self.get("cluster_enabled") == "1"
    }

    pub(super) fn is_append_only(&self) -> bool {
        self.get("aof_enabled") == "1"
    }

    pub(super) fn is_loading(&self) -> bool {
        self.get("loading") == "1"
    }

    /// The databases that have keys, and how many.
    pub(super) fn databases(&self) -> BTreeMap<u64, u64> {
        let keys = |value: &str| value.split(',').find_map(|part| part.strip_prefix("keys=")?.parse().ok());
        let database = |(name, value): (&String, &String)| Some((name.strip_prefix("db")?.parse().ok()?, keys(value)?));
        self.lines.iter().filter_map(database).collect()
    }

    /// How many keys there are in all databases.
    pub(super) fn keys(&self) -> u64 {
        self.databases().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_understood() {
        let text = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:9.1.2\r\nrole:master\r\ncluster_enabled:0\r\n# Keyspace\r\n\
                    db0:keys=3,expires=1,avg_ttl=0\r\ndb12:keys=4,expires=0,avg_ttl=0,subexpiry=0\r\n";
        let facts = Facts::parse(text);
        assert_eq!(facts.version(), ("valkey", "9.1.2".to_owned()));
        assert_eq!((facts.keys(), facts.databases().len(), facts.is_replica()), (7, 2, false));
    }
}
