//! `holdfast restore`: brings a resource back. The plan first, then the work.

mod cluster;
mod other;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Failure, USAGE};
use super::{Context, Outcome};
use crate::config::{Config, StoreUrl};
use crate::repository::{BackupId, ResourceKind, ResourceName};
use crate::resources::place::{InRepository, check_outside};

/// What `restore` takes.
#[derive(Args)]
pub(super) struct Options {
    /// What to restore, as in postgres/main [default: the only one in the configuration]
    resource: Option<ResourceName>,
    /// Where to: for a cluster a directory, new or empty; for files a directory [default: where they were]; for a bucket s3://BUCKET[/PREFIX] [default: its own] or a directory; for a Redis server a file or its directory; for a program's output a file, or - for standard output; for a dump a database's name or connection string, a file (with a slash in its path), or -
    #[arg(long, value_name = "PLACE")]
    to: Option<OsString>,
    /// The backup to restore or to begin with [default: the newest; for a cluster the newest before the target]
    #[arg(long, value_name = "ID")]
    backup: Option<BackupId>,
    /// Show the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Change what is there: without it, a restore that would do so only shows what it would do
    #[arg(long)]
    apply: bool,
    /// Remove what is there and not in the backup (files and buckets)
    #[arg(long)]
    delete_extra: bool,
    #[command(flatten)]
    cluster: Option<cluster::ClusterOptions>,
    #[command(flatten)]
    files: Option<FilesOptions>,
    #[command(flatten)]
    bucket: Option<BucketOptions>,
    #[command(flatten)]
    redis: Option<RedisOptions>,
}

/// What `restore` takes for Redis servers.
#[derive(Args)]
#[command(next_help_heading = "Redis")]
struct RedisOptions {
    /// Instead of a file: into this server, which runs and is empty, as in redis://user@host:6379 (without a password, which would be seen)
    #[arg(long, value_name = "URL")]
    into: Option<String>,
    /// The file that holds the password for --into
    #[arg(long, value_name = "FILE")]
    into_password_file: Option<PathBuf>,
}

/// What `restore` takes for trees of files.
#[derive(Args)]
#[command(next_help_heading = "Files")]
struct FilesOptions {
    /// Restore only this path, as it was when it was backed up, and what is below it; may be repeated
    #[arg(long, value_name = "PATH")]
    only: Vec<PathBuf>,
}

/// What `restore` takes for buckets.
#[derive(Args)]
#[command(next_help_heading = "Buckets")]
struct BucketOptions {
    /// Restore only the objects whose keys begin so
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Restore only the object of this key
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    key: Option<String>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let resource = config.resource(options.resource.as_ref())?;
    options.refuse_foreign(&resource)?;
    match &config.repository.url {
        StoreUrl::Directory(repository) => options.refuse_repository(&resource, repository)?,
        StoreUrl::S3 { .. } => options.refuse_repository_bucket(&config, &resource)?,
    }
    if resource.kind() == ResourceKind::Postgres {
        let defaults = cluster::ClusterOptions::default();
        let own = options.cluster.as_ref().unwrap_or(&defaults);
        return cluster::run(context, &config, &resource, options, own).await;
    }
    other::run(context, &config, &resource, options).await
}

impl Options {
    /// What is restored into the repository looks like one of its objects, or hides one.
    fn refuse_repository(&self, resource: &ResourceName, repository: &Path) -> Result<(), Failure> {
        let is_path = |to: &&OsString| {
            let text = to.to_string_lossy();
            let names_no_path = text == "-" || text.contains("://");
            !names_no_path && (resource.kind() != ResourceKind::Dump || text.contains('/'))
        };
        let tablespaces = self.cluster.iter().flat_map(cluster::ClusterOptions::new_places);
        let refused = |error: InRepository| Failure::new(error.to_string()).with_hint(Some(InRepository::HINT)).with_code(USAGE);
        let mut places = self.to.iter().filter(is_path).map(Path::new).chain(tablespaces);
        places.try_for_each(|place| check_outside(place, repository)).map_err(refused)
    }

    /// The same in an object store, where what does not belong to a backup may be removed besides.
    fn refuse_repository_bucket(&self, config: &Config, resource: &ResourceName) -> Result<(), Failure> {
        let Some((_, section)) = config.buckets().find(|(name, _)| name == resource) else { return Ok(()) };
        let place = match self.to.as_ref().map(|to| to.to_string_lossy()) {
            None => section.source.url.clone(),
            // What is no place at all is refused where it is read.
            Some(text) => match text.parse() {
                Ok(place) => place,
                Err(_) => return Ok(()),
            },
        };
        let begin =
            self.bucket.as_ref().and_then(|bucket| bucket.key.as_deref().or(bucket.prefix.as_deref())).unwrap_or_default();
        if !config.meets_repository(&section.source, &place, begin) {
            return Ok(());
        }
        let refused = format!("{place} and the repository {} lie one in the other", config.repository.url);
        Err(Failure::new(refused).with_hint(Some(InRepository::HINT)).with_code(USAGE))
    }

    /// Options of another kind would be left unheard.
    fn refuse_foreign(&self, resource: &ResourceName) -> Result<(), Failure> {
        let given = [
            (self.cluster.is_some(), ResourceKind::Postgres),
            (self.files.is_some(), ResourceKind::Files),
            (self.bucket.is_some(), ResourceKind::Bucket),
            (self.delete_extra && resource.kind() != ResourceKind::Bucket, ResourceKind::Files),
            (self.redis.is_some(), ResourceKind::Redis),
        ];
        let foreign = given.into_iter().find(|(given, kind)| *given && *kind != resource.kind()).map(|(_, kind)| kind);
        match foreign {
            None => Ok(()),
            Some(kind) => Err(Failure::new(format!("{resource} takes none of the options for {} resources", kind.as_str()))
                .with_hint(Some("'holdfast restore --help' says which options belong to which kind"))
                .with_code(USAGE)),
        }
    }
}
