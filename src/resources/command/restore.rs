//! Restores of a program's output: to standard output, or into a file that only its owner can read.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::TryStreamExt;

use super::error::{Error, Result};
use crate::repository::{BackupEntry, BackupObject, Content, Detail};
use crate::resources::place::check_replaceable;
use crate::resources::{RestorePlan, Restored, Run};
use crate::sys::durable::Draft;

/// What stands for standard output.
const STANDARD_OUTPUT: &str = "-";
/// Only its owner may read what was secret.
const MODE: u32 = 0o600;

/// What is wanted of a restore of output, besides the place.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Whether a file that is there may be replaced.
    pub apply: bool,
}

/// A restore that was planned.
#[derive(Debug)]
pub(super) struct Planned {
    backup: BackupEntry,
    object: BackupObject,
    /// The file; none for standard output.
    file: Option<PathBuf>,
    replaces: bool,
    confirmed: bool,
}

/// Finds out what a restore would do.
pub(super) async fn plan(run: &Run, backup: &BackupEntry, to: Option<OsString>, request: &RestoreRequest) -> Result<Planned> {
    let to = to.ok_or(Error::NoPlace)?;
    let name = match &backup.detail {
        Detail::Command(detail) => detail.content.clone(),
        _ => String::new(),
    };
    let key = run.repository.backups(&backup.resource).key(&backup.id, &name);
    let unlisted = || crate::repository::Error::Damaged { object: key, detail: "the catalog entry does not list it".to_owned() };
    let object = backup.object(&name).cloned().ok_or_else(unlisted)?;
    let file =
        if to == STANDARD_OUTPUT { None } else { Some(std::path::absolute(&to).map_err(Error::file("find", Path::new(&to)))?) };
    file.as_deref().map_or(Ok(()), check_replaceable)?;
    let replaces = file.as_ref().is_some_and(|file| file.symlink_metadata().is_ok());
    Ok(Planned { backup: backup.clone(), object, file, replaces, confirmed: request.apply || !replaces })
}

impl Planned {
    fn place(&self) -> String {
        self.file.as_ref().map_or_else(|| "standard output".to_owned(), |file| file.display().to_string())
    }

    async fn content(&self, run: &Run) -> Result<Content> {
        let backups = run.repository.backups(&self.backup.resource);
        let frames = backups.get_frames(&self.backup.id, &self.object.name).await?;
        run.progress.expect(self.object.plain_bytes);
        Ok(backups.read_whole(&self.backup.id, &self.object, &frames))
    }

    /// Writes the file beside its place and gives it its name when it is whole.
    async fn write(&self, run: &Run, file: &Path) -> Result<()> {
        let folder = file.parent().unwrap_or_else(|| Path::new("/"));
        let mut draft = Draft::begin(folder, MODE).map_err(Error::file("create a file beside", file))?;
        let mut content = self.content(run).await?;
        while let Some(piece) = content.try_next().await? {
            run.progress.done(piece.len() as u64);
            draft.write(&piece).map_err(Error::file("write", file))?;
        }
        let synced = draft.sync().map_err(Error::file("sync", file))?;
        synced.replace(file).map_err(Error::file("name", file))
    }

    async fn print(&self, run: &Run, output: &mut (dyn Write + Send)) -> Result<()> {
        let failed = |error: std::io::Error| Error::file("write to", Path::new("standard output"))(error);
        let mut content = self.content(run).await?;
        while let Some(piece) = content.try_next().await? {
            output.write_all(&piece).map_err(failed)?;
        }
        output.flush().map_err(failed)
    }
}

#[async_trait]
impl RestorePlan for Planned {
    fn text(&self) -> String {
        let Self { backup, object, replaces, .. } = self;
        let what = if *replaces { ", in place of what is there" } else { "" };
        format!(
            "{} bytes from backup {} of {}, {}, to {}{what}",
            object.plain_bytes,
            backup.id,
            backup.resource,
            backup.finished_at,
            self.place()
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({ "to": self.place(), "bytes": self.object.plain_bytes, "replaces": self.replaces })
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    async fn carry_out(self: Box<Self>, run: &Run, output: &mut (dyn Write + Send)) -> crate::resources::Result<Restored> {
        match &self.file {
            None => run.until_cancelled(self.print(run, output)).await?,
            Some(file) => run.until_cancelled(self.write(run, file)).await?,
        }
        Ok(Restored::whole(format!("restored to {}", self.place()), self.json()))
    }
}
