//! From a configuration to its resources: one line per kind.

use std::sync::Arc;

use super::{Resource, bucket, command, dump, files, postgres, redis};
use crate::config::{self, Config};
use crate::repository::ResourceName;

/// Every resource of a configuration, in the order of kinds and names.
#[must_use]
pub fn all(config: &Config) -> Vec<Arc<dyn Resource>> {
    let mut all: Vec<Arc<dyn Resource>> = Vec::new();
    all.extend(config.clusters().map(|(name, section)| Arc::new(postgres::Cluster::new(name, section, &config.path)) as _));
    all.extend(config.buckets().map(|(name, section)| Arc::new(bucket::Objects::new(name, section)) as _));
    all.extend(config.redis().map(|(name, section)| Arc::new(redis::Server::new(name, section)) as _));
    all.extend(config.files().map(|(name, section)| Arc::new(files::Trees::new(name, section)) as _));
    all.extend(config.commands().map(|(name, section)| Arc::new(command::Output::new(name, section)) as _));
    all.extend(config.dumps().map(|(name, section)| Arc::new(dump::Database::new(name, section)) as _));
    all
}

/// One resource; where none is named, the only one there is.
///
/// # Errors
/// When it is not configured, or none is named and there are several.
pub fn find(config: &Config, wanted: Option<&ResourceName>) -> Result<Arc<dyn Resource>, config::Error> {
    let wanted = config.resource(wanted)?;
    let unknown = || config::Error::UnknownResource { resource: wanted.to_string(), known: String::new() };
    all(config).into_iter().find(|resource| *resource.name() == wanted).ok_or_else(unknown)
}
