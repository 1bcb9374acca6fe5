//! Restores of files: first the difference between the backup and what is there, then, when it is wanted, file by file.

mod apply;
mod compare;
mod difference;
mod draft;
mod places;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::resource::{blocking, left_out};
use super::tar::Archive;
use crate::config::Files;
use crate::repository::{BackupEntry, Content, Detail};
use crate::resources::exclusions::LeftOut;
use crate::resources::{RestorePlan, Restored, Run};
use difference::Difference;
use places::Places;

/// What is wanted of a restore of files, besides the directory.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Whether what is there may be changed.
    pub apply: bool,
    /// Whether what the backup does not have is removed.
    pub delete_extra: bool,
    /// Only these, and what is below them: absolute paths as they were when they were backed up. Empty: everything.
    pub only: Vec<PathBuf>,
}

/// A restore that was planned.
#[derive(Debug)]
pub(super) struct Planned {
    backup: BackupEntry,
    places: Places,
    request: RestoreRequest,
    difference: Difference,
}

/// Finds out what a restore would change.
pub(super) async fn plan(
    run: &Run,
    section: &Files,
    backup: &BackupEntry,
    to: Option<OsString>,
    request: RestoreRequest,
) -> Result<Planned> {
    let places = Places::new(&backup.resource, section, to.as_deref().map(Path::new), &request.only)?;
    let (object, archive) = open(run, backup).await?;
    let (compared, delete_extra) = (places.clone(), request.delete_extra);
    let section = section.clone();
    let mut difference = blocking(move || compare::compare(&object, archive, &compared)).await?;
    if !difference.alone.is_empty() {
        let ((object, archive), compared) = (open(run, backup).await?, places.clone());
        difference = blocking(move || compare::compare_alone(&object, archive, &compared, difference)).await?;
    }
    let compared = places.clone();
    let left_out = LeftOut::of(run, backup, delete_extra).await?;
    let id = backup.id.to_string();
    let difference = blocking(move || {
        // With `delete_extra`, that it is not there is what is brought back, where the backup tells that it was not.
        let is_known = |missing: &&Vec<u8>| delete_extra && compare::lies_in_backup(missing, &difference);
        if let Some(missing) = difference.missing.iter().find(|missing| !is_known(missing)) {
            return Err(Error::NotInBackup(Path::new("/").join(OsStr::from_bytes(missing))));
        }
        difference.delete_extra = delete_extra;
        difference.is_recorded = left_out.is_some();
        let section = without(section, left_out, &mut difference.left_out_then);
        compare::find_extra(&section, &compared, &mut difference)?;
        if difference.removes() && !difference.is_recorded { Err(Error::Unrecorded(id)) } else { Ok(difference) }
    })
    .await?;
    Ok(Planned { backup: backup.clone(), places, request, difference })
}

/// The section as it leaves out what it left out when the backup was taken too, and what more that is than now.
fn without(section: Files, then: Option<LeftOut>, more: &mut Vec<String>) -> Files {
    let Some(then) = then else { return section };
    let now = left_out(&section);
    *more = then.more_than(&now);
    let LeftOut { patterns: exclude, one_file_system, .. } = now.and(then);
    Files { exclude, one_file_system, ..section }
}

/// The archive of a backup and the key of its object.
async fn open(run: &Run, backup: &BackupEntry) -> Result<(String, Archive<Cancellable<Source>>)> {
    let backups = run.repository.backups(&backup.resource);
    let name = match &backup.detail {
        Detail::Files(detail) => detail.archive.clone(),
        _ => String::new(),
    };
    let key = backups.key(&backup.id, &name);
    let unlisted = || Error::Archive { object: key.clone(), detail: "the catalog entry does not list it".to_owned() };
    let object = backup.object(&name).ok_or_else(unlisted)?;
    let frames = backups.get_frames(&backup.id, &name).await?;
    let content = backups.read_whole(&backup.id, object, &frames);
    run.progress.expect(object.plain_bytes);
    let source = Cancellable { source: blocking_reader(content), cancelled: run.cancelled.clone(), run: run.clone() };
    Ok((key, Archive::new(source)))
}

pub(super) type Source = Box<dyn Read + Send>;

/// Content as something that a thread which may block can read.
pub(super) fn blocking_reader(content: Content) -> Source {
    Box::new(SyncIoBridge::new(StreamReader::new(content.map_err(io::Error::other))))
}

/// Ends the reading when the work is cancelled, and tells how far it is.
struct Cancellable<R> {
    source: R,
    cancelled: CancellationToken,
    run: Run,
}

impl<R: Read> Read for Cancellable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let read = self.source.read(buffer)?;
        self.run.progress.done(read as u64);
        Ok(read)
    }
}

#[async_trait]
impl RestorePlan for Planned {
    fn text(&self) -> String {
        let Self { backup, places, difference, .. } = self;
        format!("backup {} of {}, {}, into {}\n{difference}", backup.id, backup.resource, backup.finished_at, places.text())
    }

    fn json(&self) -> serde_json::Value {
        let difference = serde_json::to_value(&self.difference).expect("a difference has string keys and no failing serializer");
        serde_json::json!({ "backup": self.backup.id, "into": self.places.text(), "difference": difference })
    }

    /// In another directory where nothing of it is yet, nothing can be lost.
    fn is_confirmed(&self) -> bool {
        self.request.apply || !self.places.is_in_place() && !self.difference.touches_what_is_there()
    }

    async fn carry_out(self: Box<Self>, run: &Run, _: &mut (dyn Write + Send)) -> crate::resources::Result<Restored> {
        run.progress.set(crate::resources::Doing::default());
        if let Some(path) = self.difference.filled.first() {
            return Err(Error::Filled(path.0.clone()).into());
        }
        let (object, archive) = open(run, &self.backup).await?;
        let again = if self.difference.alone.is_empty() { None } else { Some(open(run, &self.backup).await?.1) };
        let Self { places, difference, .. } = *self;
        let (undone, applied) = blocking(move || {
            let applied = apply::apply(&object, archive, again, places, &difference)?;
            Ok((applied.undone(&difference.occupied), applied))
        })
        .await?;
        let json = serde_json::to_value(&applied).expect("numbers and text");
        Ok(Restored { text: applied.to_string(), json, undone })
    }
}
