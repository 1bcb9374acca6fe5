//! What can stand in the configuration. `docs/configuration.md` describes every key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration as StdDuration;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::endpoint::is_same;
use super::load::holds_user_info;
use super::{
    Bucket, Command, Dump, Duration, EncryptionSection, Error, Files, Keep, Objectives, Period, Redis, Result, Schedule, Secret,
    StoreUrl, Zone,
};
use crate::codec::Compression;
use crate::repository::{ResourceKind, ResourceName};
use crate::storage::open::Location;
use crate::storage::s3;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is stored.
    pub repository: RepositorySection,
    /// Who can read what is stored.
    #[serde(default)]
    pub encryption: EncryptionSection,
    /// The long-running program.
    #[serde(default)]
    pub agent: Agent,
    /// The PostgreSQL clusters, by name.
    #[serde(default)]
    pub postgres: BTreeMap<String, Postgres>,
    /// The Redis servers, by name.
    #[serde(default)]
    pub redis: BTreeMap<String, Redis>,
    /// The buckets, by name.
    #[serde(default)]
    pub bucket: BTreeMap<String, Bucket>,
    /// Trees of files, by name.
    #[serde(default)]
    pub files: BTreeMap<String, Files>,
    /// The programs whose output is kept, by name.
    #[serde(default)]
    pub command: BTreeMap<String, Command>,
    /// The databases that are dumped, by name.
    #[serde(default)]
    pub dump: BTreeMap<String, Dump>,
    /// The file that this was read from, for the commands that it hands the configuration to.
    #[serde(skip)]
    pub path: PathBuf,
}

/// `[repository]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositorySection {
    /// `file:///path` or `s3://bucket/prefix`.
    pub url: StoreUrl,
    /// How new objects are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// The store's endpoint; that of AWS where none is given.
    pub endpoint: Option<String>,
    /// The store's region.
    pub region: Option<String>,
    /// Whether the bucket stands in the path instead of the host name; true by default with an endpoint of one's own.
    pub path_style: Option<bool>,
    /// The storage class of new objects.
    pub storage_class: Option<String>,
    /// Encryption by the service.
    pub sse: Option<ServerSideEncryption>,
    /// The key for `aws:kms`.
    pub sse_kms_key_id: Option<String>,
    /// The checksum that the service verifies each upload with.
    #[serde(default)]
    pub upload_checksum: UploadChecksum,
    /// After so long a backup, a restore or a scheduled run that gives no sign of life counts as dead.
    #[serde(default = "default_lease", deserialize_with = "lease")]
    pub lease: Duration,
    /// Credentials; by default those of the AWS credential chain.
    pub access_key_id: Option<Secret>,
    /// The secret that belongs to `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary keys.
    pub session_token: Option<Secret>,
}

impl Config {
    /// Whether both have the same repository, with the same readers, and an agent of the same place and size: then an agent that runs
    /// can take on the one for the other.
    #[must_use]
    pub fn stands_like(&self, other: &Self) -> bool {
        let agent = |config: &Self| (config.agent.listen, config.agent.jobs_at_once);
        self.repository == other.repository && self.encryption.is_like(&other.encryption) && agent(self) == agent(other)
    }
}

/// The storage classes of AWS that objects are put in by their name.
const AWS_CLASSES: [&str; 13] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
    "FSX_ONTAP",
    "FSX_OPENZFS",
    "OUTPOSTS",
    "SNOW",
];

/// Encryption by the store's service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ServerSideEncryption {
    /// With the service's own key.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of the key management service.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// The checksum that the store's service verifies each upload with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadChecksum {
    /// In a header that services which do not know it ignore.
    #[default]
    Crc32,
    /// For a service that refuses the header.
    None,
}

impl From<UploadChecksum> for s3::UploadChecksum {
    fn from(wanted: UploadChecksum) -> Self {
        match wanted {
            UploadChecksum::Crc32 => Self::Crc32,
            UploadChecksum::None => Self::None,
        }
    }
}

/// `[agent]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Where status and metrics are served.
    pub listen: SocketAddr,
    /// Where the `archive_command` shim finds the agent.
    pub socket: PathBuf,
    /// The user that PostgreSQL runs as: besides root and the agent's own user the only one for whom WAL is stored.
    pub archive_user: String,
    /// The time zone of schedules that name none, and of `keep`'s days; the system's where it is not given.
    pub time_zone: Option<Zone>,
    /// How many scheduled backups may run at once.
    pub jobs_at_once: NonZeroUsize,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9187)),
            socket: PathBuf::from("/run/holdfast/agent.sock"),
            archive_user: "postgres".to_owned(),
            time_zone: None,
            jobs_at_once: NonZeroUsize::new(2).expect("two is not zero"),
        }
    }
}

/// `[postgres.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// How to reach the cluster: keywords or URI, as libpq reads them.
    pub conninfo: Secret,
    /// Whether WAL is streamed; without, `archive_command` is the only way in.
    #[serde(default = "yes")]
    pub stream: bool,
    /// The replication slot.
    #[serde(default = "default_slot", deserialize_with = "slot_name")]
    pub slot: String,
    /// The longest that received WAL waits before it is stored.
    #[serde(default = "default_max_delay")]
    pub max_delay: Duration,
    /// Whether every advance is stored at once, for use in `synchronous_standby_names`.
    #[serde(default)]
    pub synchronous: bool,
    /// The `application_name` of the receiver: what stands in `synchronous_standby_names`.
    #[serde(default = "default_application_name")]
    pub application_name: String,
    /// When base backups are taken.
    pub schedule: Option<Schedule>,
    /// Which base backups are kept; all of them where it is not given.
    pub keep: Option<Keep>,
    /// How far back any moment can be restored, where that is to differ from what `keep` keeps.
    pub keep_wal: Option<Spanned<Period>>,
    /// What it has to keep to.
    #[serde(default)]
    pub objectives: Objectives,
}

const fn yes() -> bool {
    true
}

fn default_slot() -> String {
    "holdfast".to_owned()
}

/// As PostgreSQL has it (`ReplicationSlotValidateName` in `replication/slot.c`).
fn slot_name<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=63).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(name);
    }
    let detail = format!("'{name}' cannot name a replication slot: 1 to 63 lower-case letters, digits and underscores can");
    Err(serde::de::Error::custom(detail))
}

fn default_application_name() -> String {
    "holdfast".to_owned()
}

const fn default_lease() -> Duration {
    Duration(StdDuration::from_mins(2))
}

/// Shorter than a second it would have ended before it is renewed: stores tell the time in seconds.
fn lease<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    let wanted = Duration::deserialize(deserializer)?;
    if wanted.0 < StdDuration::from_secs(1) {
        return Err(serde::de::Error::custom("lease must be a second at least; some minutes are usual, as in 2m"));
    }
    Ok(wanted)
}

/// A key for a store that lacks the one that it needs: its name, and what to do. Left alone, it would be ignored, and others used.
pub(super) fn lonely_key(
    id: Option<&Secret>,
    key: Option<&Secret>,
    token: Option<&Secret>,
) -> Option<(&'static str, &'static str)> {
    match (id, key, token) {
        (Some(_), None, _) => Some(("access_key_id", "access_key_id needs secret_access_key: give both, or neither")),
        (None, Some(_), _) => Some(("secret_access_key", "secret_access_key needs access_key_id: give both, or neither")),
        (None, None, Some(_)) => Some(("session_token", "session_token needs access_key_id and secret_access_key")),
        _ => None,
    }
}

const fn default_max_delay() -> Duration {
    Duration(StdDuration::from_secs(1))
}

impl Postgres {
    /// Whether a receiver of the one does for the other: only what concerns it is compared.
    #[must_use]
    pub fn receives_like(&self, other: &Self) -> bool {
        let what = |section: &Self| (section.stream, section.max_delay, section.synchronous);
        let names = |section: &Self| (section.slot.clone(), section.application_name.clone());
        self.conninfo == other.conninfo && what(self) == what(other) && names(self) == names(other)
    }
}

impl Config {
    /// The PostgreSQL clusters with their resource names. Names were checked when the file was read.
    pub fn clusters(&self) -> impl Iterator<Item = (ResourceName, &Postgres)> {
        self.postgres.iter().filter_map(|(name, cluster)| Some((ResourceName::new(ResourceKind::Postgres, name).ok()?, cluster)))
    }

    /// The names of all resources, in the order of kinds and names.
    pub fn resources(&self) -> impl Iterator<Item = ResourceName> {
        let others = self.files().map(|(name, _)| name).chain(self.commands().map(|(name, _)| name));
        let others = others.chain(self.dumps().map(|(name, _)| name));
        let buckets = self.buckets().map(|(name, _)| name);
        self.clusters().map(|(name, _)| name).chain(buckets).chain(self.redis().map(|(name, _)| name)).chain(others)
    }

    /// The name of one resource; where none is named, of the only one there is.
    ///
    /// # Errors
    /// When it is not configured, or none is named and there are several.
    pub fn resource(&self, wanted: Option<&ResourceName>) -> Result<ResourceName> {
        let known: Vec<ResourceName> = self.resources().collect();
        match (wanted, &known[..]) {
            (Some(wanted), _) if known.contains(wanted) => Ok(wanted.clone()),
            (Some(wanted), _) => Err(self.unknown(wanted.to_string())),
            (None, [only]) => Ok(only.clone()),
            (None, []) => Err(Error::NoResource),
            (None, known) => Err(ambiguous(&known.iter().map(ToString::to_string).collect::<Vec<_>>())),
        }
    }

    fn unknown(&self, resource: String) -> Error {
        let known: Vec<String> = self.resources().map(|name| name.to_string()).collect();
        Error::UnknownResource { resource, known: known.join(", ") }
    }

    /// One cluster; where none is named, the only one there is.
    ///
    /// # Errors
    /// When it is not configured, or none is named and there are several.
    pub fn cluster(&self, wanted: Option<&ResourceName>) -> Result<(ResourceName, &Postgres)> {
        let known: Vec<String> = self.clusters().map(|(name, _)| name.to_string()).collect();
        let unknown = |resource: String| Error::UnknownResource { resource, known: known.join(", ") };
        match wanted {
            Some(wanted) => self.clusters().find(|(name, _)| name == wanted).ok_or_else(|| unknown(wanted.to_string())),
            None if known.len() > 1 => Err(ambiguous(&known)),
            None => self.clusters().next().ok_or_else(|| unknown("a PostgreSQL cluster".to_owned())),
        }
    }
}

fn ambiguous(known: &[String]) -> Error {
    Error::WhichResource { known: known.join(", ") }
}

impl RepositorySection {
    /// Where the store is, with secrets revealed.
    ///
    /// # Errors
    /// When a secret cannot be had.
    pub fn location(&self) -> Result<Location> {
        match &self.url {
            StoreUrl::Directory(path) => Ok(Location::Directory(path.clone())),
            StoreUrl::S3 { bucket, prefix } => self.s3(bucket, prefix).map(Box::new).map(Location::S3),
        }
    }

    /// A key of the section that cannot be as it is, and why.
    pub(super) fn wrong(&self) -> Option<(&'static str, String)> {
        if self.endpoint.as_deref().is_some_and(holds_user_info) {
            let why =
                "the endpoint holds user information, which would be shown in logs; use access_key_id and secret_access_key";
            return Some(("endpoint", why.to_owned()));
        }
        let keys = [&self.access_key_id, &self.secret_access_key, &self.session_token].map(Option::as_ref);
        let lonely = lonely_key(keys[0], keys[1], keys[2]).map(|(key, why)| (key, why.to_owned()));
        lonely.or_else(|| self.wrong_class().map(|why| ("storage_class", why)))
    }

    /// A class that AWS does not know; other services have their own.
    fn wrong_class(&self) -> Option<String> {
        let class = self.storage_class.as_deref()?;
        let is_known = if is_same(self.endpoint.as_deref(), None) { AWS_CLASSES.contains(&class) } else { !class.is_empty() };
        (!is_known).then(|| format!("'{class}' is no storage class; AWS has {}", AWS_CLASSES.join(", ")))
    }

    fn s3(&self, bucket: &str, prefix: &str) -> Result<s3::Options> {
        let reveal = |secret: &Option<Secret>| secret.as_ref().map(Secret::reveal).transpose();
        let session_token = reveal(&self.session_token)?;
        let keys = reveal(&self.access_key_id)?.zip(reveal(&self.secret_access_key)?);
        Ok(s3::Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            storage_class: self.storage_class.clone(),
            encryption: self.sse.map(|sse| match sse {
                ServerSideEncryption::Aes256 => s3::Encryption::Aes256,
                ServerSideEncryption::Kms => s3::Encryption::Kms { key_id: self.sse_kms_key_id.clone() },
            }),
            checksum: self.upload_checksum.into(),
            credentials: keys.map(|(access_key_id, secret_access_key)| s3::Credentials {
                access_key_id,
                secret_access_key,
                session_token,
            }),
            ..s3::Options::new(bucket, prefix)
        })
    }
}
