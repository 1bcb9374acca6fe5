//! The sections of resources other than clusters, and what must hold among them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::endpoint::{is_same, is_same_service};
use super::environment::is_variable_name;
use super::load::holds_user_info;
use super::schema::lonely_key;
use super::{
    Config, Duration, Keep, Objectives, OnChange, Pattern, Result, Schedule, Secret, SecretVariables, StoreUrl, UploadChecksum,
};
use crate::repository::{ResourceKind, ResourceName};
use crate::storage::s3;

/// `[files.NAME]`: trees of files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The trees: absolute paths of directories or files.
    pub paths: Vec<PathBuf>,
    /// What is left out.
    #[serde(default)]
    pub exclude: Vec<Pattern>,
    /// Whether other file systems that are mounted in the trees are left out.
    #[serde(default)]
    pub one_file_system: bool,
    /// When it is backed up.
    pub schedule: Option<Schedule>,
    /// Whether it is backed up when it changes.
    pub on_change: Option<OnChange>,
    /// Which backups are kept; all of them where it is not given.
    pub keep: Option<Keep>,
    /// What it has to keep to.
    #[serde(default)]
    pub objectives: Objectives,
}

/// `[command.NAME]`: the output of a program.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments; no shell reads them.
    pub run: Vec<String>,
    /// How long it may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// What is added to its environment.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// The directory that it runs in.
    pub cwd: Option<PathBuf>,
    /// When it is backed up.
    pub schedule: Option<Schedule>,
    /// How often it is run to see whether its output differs.
    pub on_change: Option<OnChange>,
    /// Which backups are kept; all of them where it is not given.
    pub keep: Option<Keep>,
    /// What it has to keep to.
    #[serde(default)]
    pub objectives: Objectives,
    /// What no program that is run for it inherits.
    #[serde(skip)]
    pub hidden: SecretVariables,
}

/// `[bucket.NAME]`: the objects of a bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Which objects.
    pub source: BucketSource,
    /// What is left out: patterns of keys.
    #[serde(default)]
    pub exclude: Vec<Pattern>,
    /// Of which objects the tags are read.
    #[serde(default)]
    pub tags: Tags,
    /// When it is backed up.
    pub schedule: Option<Schedule>,
    /// Which backups are kept; all of them where it is not given.
    pub keep: Option<Keep>,
    /// What it has to keep to.
    #[serde(default)]
    pub objectives: Objectives,
}

/// Of which objects of a bucket the tags are read. A listing shows nothing of them: each object has to be asked for its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tags {
    /// Of none.
    Never,
    /// Of those that are read because they are new or changed.
    #[default]
    Changed,
    /// Of all: one request for each object in each backup.
    Always,
}

/// Where the objects of a bucket are, and how they are reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { url = \"s3://bucket\", endpoint = \"https://host\" }")]
pub struct BucketSource {
    /// `s3://bucket`, or `s3://bucket/prefix` for the keys that begin with `prefix/`.
    pub url: StoreUrl,
    /// The service's endpoint; that of AWS where none is given.
    pub endpoint: Option<String>,
    /// The service's region.
    pub region: Option<String>,
    /// Whether the bucket stands in the path instead of the host name; true by default with an endpoint of one's own.
    pub path_style: Option<bool>,
    /// The checksum that the service verifies each upload of a restore with.
    #[serde(default)]
    pub upload_checksum: UploadChecksum,
    /// Credentials; by default those of the AWS credential chain.
    pub access_key_id: Option<Secret>,
    /// The secret that belongs to `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary keys.
    pub session_token: Option<Secret>,
}

impl BucketSource {
    /// How another bucket, or another part of this one, is reached in the same way, with secrets revealed.
    ///
    /// # Errors
    /// When a secret cannot be had.
    pub fn options(&self, bucket: &str, prefix: &str) -> Result<s3::Options> {
        let reveal = |secret: &Option<Secret>| secret.as_ref().map(Secret::reveal).transpose();
        let session_token = reveal(&self.session_token)?;
        let keys = reveal(&self.access_key_id)?.zip(reveal(&self.secret_access_key)?);
        Ok(s3::Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
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

const fn default_timeout() -> Duration {
    Duration(std::time::Duration::from_secs(60))
}

impl Command {
    /// The name of the program.
    #[must_use]
    pub fn program(&self) -> &str {
        self.run.first().map_or("", String::as_str)
    }
}

impl Config {
    /// The programs whose output is kept, with their resource names. Names were checked when the file was read.
    pub fn commands(&self) -> impl Iterator<Item = (ResourceName, &Command)> {
        self.command.iter().filter_map(|(name, section)| Some((ResourceName::new(ResourceKind::Command, name).ok()?, section)))
    }

    /// The trees of files with their resource names. Names were checked when the file was read.
    pub fn files(&self) -> impl Iterator<Item = (ResourceName, &Files)> {
        self.files.iter().filter_map(|(name, section)| Some((ResourceName::new(ResourceKind::Files, name).ok()?, section)))
    }

    /// The buckets with their resource names. Names were checked when the file was read.
    pub fn buckets(&self) -> impl Iterator<Item = (ResourceName, &Bucket)> {
        self.bucket.iter().filter_map(|(name, section)| Some((ResourceName::new(ResourceKind::Bucket, name).ok()?, section)))
    }

    /// What is wrong among the resources: the kind and name of the section, and why.
    pub(super) fn wrong_resource(&self) -> Option<(ResourceKind, String, String)> {
        let names = self.names().map(|(kind, name)| (kind, name, ResourceName::new(kind, name)));
        let mut wrong = names.filter_map(|(kind, name, parsed)| Some((kind, name.to_owned(), parsed.err()?.to_string())));
        let wrong = wrong.next().or_else(|| self.wrong_paths()).or_else(|| self.wrong_command());
        wrong.or_else(|| self.wrong_dump()).or_else(|| self.wrong_redis()).or_else(|| self.wrong_bucket())
    }

    /// The kinds and names of all sections.
    fn names(&self) -> impl Iterator<Item = (ResourceKind, &str)> {
        let clusters = self.postgres.keys().map(|name| (ResourceKind::Postgres, name.as_str()));
        let files = self.files.keys().map(|name| (ResourceKind::Files, name.as_str()));
        let commands = self.command.keys().map(|name| (ResourceKind::Command, name.as_str()));
        let redis = self.redis.keys().map(|name| (ResourceKind::Redis, name.as_str()));
        let dumps = self.dump.keys().map(|name| (ResourceKind::Dump, name.as_str()));
        let buckets = self.bucket.keys().map(|name| (ResourceKind::Bucket, name.as_str()));
        clusters.chain(buckets).chain(redis).chain(files).chain(commands).chain(dumps)
    }

    /// A program that is none, or whose output would lie in the clear.
    fn wrong_command(&self) -> Option<(ResourceKind, String, String)> {
        let wrong = |section: &Command| {
            if section.program().is_empty() {
                return Some("run names no program; write it as in run = [\"kubectl\", \"get\", \"secrets\"]");
            }
            if section.on_change == Some(OnChange::AtOnce) {
                return Some(
                    "that the output would differ shows only when the program is run: write how often, as in on_change = \"15m\"",
                );
            }
            if section.env.keys().any(|name| !is_variable_name(name)) {
                return Some("env has a key that cannot be the name of a variable: it is empty or holds '='");
            }
            let clear =
                "the output of a program is stored encrypted only: set [encryption] recipients ('holdfast key new' makes a key)";
            self.encryption.recipients.is_empty().then_some(clear)
        };
        self.command.iter().find_map(|(name, section)| Some((ResourceKind::Command, name.clone(), wrong(section)?.to_owned())))
    }

    /// A source that is no bucket, that shows secrets, or in which the backups themselves would lie.
    fn wrong_bucket(&self) -> Option<(ResourceKind, String, String)> {
        let within = |outer: &str, inner: &str| outer.is_empty() || inner == outer || inner.starts_with(&format!("{outer}/"));
        let wrong = |section: &Bucket| {
            let BucketSource { url, endpoint, .. } = &section.source;
            let StoreUrl::S3 { bucket, prefix } = url else {
                return Some("the source is no bucket; write it as in source = { url = \"s3://bucket/prefix\" }");
            };
            if endpoint.as_deref().is_some_and(holds_user_info) {
                return Some(
                    "the endpoint holds user information, which would be shown in logs; use access_key_id and secret_access_key",
                );
            }
            let BucketSource { access_key_id, secret_access_key, session_token, .. } = &section.source;
            if let Some((_, why)) = lonely_key(access_key_id.as_ref(), secret_access_key.as_ref(), session_token.as_ref()) {
                return Some(why);
            }
            match &self.repository.url {
                StoreUrl::S3 { bucket: own, prefix: inner }
                    if own == bucket
                        && is_same(self.repository.endpoint.as_deref(), endpoint.as_deref())
                        && within(prefix, inner) =>
                {
                    Some("the repository lies in this source: every backup would back up the ones before it")
                }
                _ => None,
            }
        };
        self.bucket.iter().find_map(|(name, section)| {
            let useless = || section.exclude.iter().find_map(Pattern::wrong_for_keys);
            Some((ResourceKind::Bucket, name.clone(), wrong(section).map(str::to_owned).or_else(useless)?))
        })
    }

    /// Whether objects of the repository lie among those of `place` whose keys begin with `begin`, or the other way round. `place` is reached
    /// as `source` is.
    #[must_use]
    pub fn meets_repository(&self, source: &BucketSource, place: &StoreUrl, begin: &str) -> bool {
        let (StoreUrl::S3 { bucket: own, prefix: below }, StoreUrl::S3 { bucket, prefix }) = (&self.repository.url, place) else {
            return false;
        };
        let folder = |prefix: &str| if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (repository, written) = (folder(below), folder(prefix) + begin);
        let meet = repository.starts_with(&written) || written.starts_with(&repository);
        own == bucket && meet && is_same_service(self.repository.endpoint.as_deref(), source.endpoint.as_deref())
    }

    /// Paths that are no absolute plain paths, that are in two resources, or one within the other.
    fn wrong_paths(&self) -> Option<(ResourceKind, String, String)> {
        let mut before: Vec<(&str, &Path)> = Vec::new();
        for (name, section) in &self.files {
            if section.paths.is_empty() {
                return Some((ResourceKind::Files, name.clone(), "paths names nothing to back up".to_owned()));
            }
            for path in &section.paths {
                let wrong = wrong_path(path).or_else(|| overlap(&before, path)).or_else(|| self.holds_backups(section, path));
                if let Some(why) = wrong {
                    return Some((ResourceKind::Files, name.clone(), why));
                }
                before.push((name, path));
            }
            if let Some(why) = section.exclude.iter().find_map(|pattern| pattern.wrong_for_trees(&section.paths)) {
                return Some((ResourceKind::Files, name.clone(), why));
            }
        }
        None
    }

    /// A tree in which the backups themselves would lie, or that lies among them. Links on the way to either count as far as they are there.
    fn holds_backups(&self, section: &Files, path: &Path) -> Option<String> {
        let StoreUrl::Directory(repository) = &self.repository.url else { return None };
        let is_excluded = |rest: &Path| {
            // Something in it: a pattern may mean that alone, as in /backups/**.
            let inner = path.join(rest).join("anything");
            let mut way = inner.ancestors().take_while(|part| part.starts_with(path));
            way.any(|part| section.exclude.iter().any(|pattern| pattern.matches(part)))
        };
        let holds = |path: &Path, repository: &Path| {
            path.starts_with(repository) || repository.strip_prefix(path).is_ok_and(|rest| !is_excluded(rest))
        };
        (holds(path, repository) || holds(&real(path), &repository.canonicalize().unwrap_or_else(|_| real(repository)))).then(|| {
            let (path, repository) = (path.display(), repository.display());
            format!(
                "'{path}' and the repository {repository} lie in one another: every backup would back up the ones before it; leave the \
                 repository out with exclude, or move it"
            )
        })
    }
}

/// Where a path leads when the links on the way to it are followed; not the one that it may be itself, which is backed up as one.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

fn wrong_path(path: &Path) -> Option<String> {
    let plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    let fits = path.is_absolute() && plain && path.components().count() > 1;
    (!fits).then(|| format!("'{}' is not an absolute path of a directory or file below /", path.display()))
}

fn overlap(before: &[(&str, &Path)], path: &Path) -> Option<String> {
    let (name, other) = before.iter().find(|(_, other)| path.starts_with(other) || other.starts_with(path))?;
    let (path, other) = (path.display(), other.display());
    Some(format!("'{path}' overlaps with '{other}' of files/{name}: one file would be in two places of the backups"))
}
