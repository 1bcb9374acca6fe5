//! Restores of a Redis server's data: into the file that a stopped server loads, or into a server that runs and is empty.

mod file;
mod into;
pub(super) mod site;

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::{Error, Result};
use super::resource::Server;
use crate::repository::{BackupEntry, BackupObject, Content, Detail, RedisBackup};
use crate::resources::{self, RestorePlan, Run};

/// What is wanted of a restore, besides the place.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Whether a file that is there may be replaced.
    pub apply: bool,
    /// The server to restore into, instead of a file.
    pub into: Option<String>,
    /// The file with the password for that server.
    pub into_password_file: Option<PathBuf>,
}

/// Finds out what a restore would do.
pub(super) async fn plan(
    run: &Run,
    server: &Server,
    backup: &BackupEntry,
    to: Option<OsString>,
    request: &RestoreRequest,
) -> Result<Box<dyn RestorePlan>> {
    let stored = Stored::of(run, backup)?;
    match (to, &request.into) {
        (None, None) => Err(Error::NoPlace),
        (Some(_), Some(_)) => {
            Err(Error::NotRestored("two places were given".to_owned(), "give --to FILE or --into URL, not both"))
        }
        (Some(to), None) => Ok(Box::new(file::plan(run, server, stored, &to, request.apply).await?)),
        (None, Some(_)) => Ok(Box::new(into::plan(run, server, stored, request).await?)),
    }
}

/// The file of a backup as it is stored.
#[derive(Debug, Clone)]
struct Stored {
    backup: BackupEntry,
    object: BackupObject,
    detail: RedisBackup,
    key: String,
}

impl Stored {
    fn of(run: &Run, backup: &BackupEntry) -> Result<Self> {
        let backups = run.repository.backups(&backup.resource);
        let damaged = |object: String, detail: &str| {
            Error::Repository(crate::repository::Error::Damaged { object, detail: detail.to_owned() })
        };
        let Detail::Redis(detail) = &backup.detail else {
            return Err(damaged(backup.id.to_string(), "it is no backup of a Redis server"));
        };
        let key = backups.key(&backup.id, &detail.rdb);
        let object = backup.object(&detail.rdb).cloned();
        let object = object.ok_or_else(|| damaged(key.clone(), "the catalog entry does not list it"))?;
        Ok(Self { backup: backup.clone(), object, detail: detail.clone(), key })
    }

    async fn content(&self, run: &Run) -> Result<Content> {
        let backups = run.repository.backups(&self.backup.resource);
        let frames = backups.get_frames(&self.backup.id, &self.object.name).await?;
        run.progress.set(resources::Doing::default());
        run.progress.expect(self.object.plain_bytes);
        Ok(backups.read_whole(&self.backup.id, &self.object, &frames))
    }

    /// What is restored, in words.
    fn text(&self) -> String {
        let Self { backup, object, detail, .. } = self;
        let keys = detail.keys.map_or_else(String::new, |keys| format!("{keys} keys, "));
        format!("{keys}{} bytes from backup {} of {}, {}", object.plain_bytes, backup.id, backup.resource, backup.started_at)
    }
}
