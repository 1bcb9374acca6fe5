//! The sections of resources other than clusters, and what must hold among them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{Config, Duration, Keep, Objectives, OnChange, Pattern, Schedule, Secret};
use crate::repository::{ResourceKind, ResourceName};

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

    /// What is wrong among the resources: the kind and name of the section, and why.
    pub(super) fn wrong_resource(&self) -> Option<(ResourceKind, String, String)> {
        let names = self.names().map(|(kind, name)| (kind, name, ResourceName::new(kind, name)));
        let mut wrong = names.filter_map(|(kind, name, parsed)| Some((kind, name.to_owned(), parsed.err()?.to_string())));
        let wrong = wrong.next().or_else(|| self.wrong_paths()).or_else(|| self.wrong_command());
        wrong.or_else(|| self.wrong_dump()).or_else(|| self.wrong_redis())
    }

    /// The kinds and names of all sections.
    fn names(&self) -> impl Iterator<Item = (ResourceKind, &str)> {
        let clusters = self.postgres.keys().map(|name| (ResourceKind::Postgres, name.as_str()));
        let files = self.files.keys().map(|name| (ResourceKind::Files, name.as_str()));
        let commands = self.command.keys().map(|name| (ResourceKind::Command, name.as_str()));
        let redis = self.redis.keys().map(|name| (ResourceKind::Redis, name.as_str()));
        let dumps = self.dump.keys().map(|name| (ResourceKind::Dump, name.as_str()));
        clusters.chain(redis).chain(files).chain(commands).chain(dumps)
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
            let clear =
                "the output of a program is stored encrypted only: set [encryption] recipients ('holdfast key new' makes a key)";
            self.encryption.recipients.is_empty().then_some(clear)
        };
        self.command.iter().find_map(|(name, section)| Some((ResourceKind::Command, name.clone(), wrong(section)?.to_owned())))
    }

    /// Paths that are no absolute plain paths, that are in two resources, or one within the other.
    fn wrong_paths(&self) -> Option<(ResourceKind, String, String)> {
        let mut before: Vec<(&str, &Path)> = Vec::new();
        for (name, section) in &self.files {
            if section.paths.is_empty() {
                return Some((ResourceKind::Files, name.clone(), "paths names nothing to back up".to_owned()));
            }
            for path in &section.paths {
                let wrong = wrong_path(path).or_else(|| overlap(&before, path));
                if let Some(why) = wrong {
                    return Some((ResourceKind::Files, name.clone(), why));
                }
                before.push((name, path));
            }
        }
        None
    }
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
