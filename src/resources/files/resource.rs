//! Trees of files as a resource among others.

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::archive::{Archiver, Tally};
use super::error::{Error, Result as FilesResult};
use super::restore::{self, RestoreRequest};
use super::walk::{Denied, Survey, bare_links, survey};
use super::{verify, watch};
use crate::codec::{ChangeDigest, Hash};
use crate::config::Files;
use crate::repository::{BackupEntry, BackupId, Detail, Draft, FilesBackup, ObjectWriter, ResourceName, WriteLimits};
use crate::resources::exclusions::LeftOut;
use crate::resources::{BackedUp, Plan, Resource, RestoreOptions, RestorePlan, Result, Run, Verified, WantedRestore};

/// How many pieces of the archive wait to be stored.
const PIECES_WAITING: usize = 4;
/// The object that holds the archive; the extension of the compression follows.
const ARCHIVE: &str = "files.tar";

/// Trees of files.
#[derive(Debug, Clone)]
pub struct Trees {
    name: ResourceName,
    section: Files,
}

impl Trees {
    /// The trees of a section.
    #[must_use]
    pub fn new(name: ResourceName, section: &Files) -> Self {
        Self { name, section: section.clone() }
    }

    async fn survey(&self) -> FilesResult<(Survey, Denied)> {
        let section = self.section.clone();
        blocking(move || survey(&section)).await
    }

    async fn store(&self, run: &Run, draft: &Draft, survey: Survey) -> FilesResult<(BackupEntry, Vec<String>)> {
        run.progress.expect(survey.bytes);
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let (section, archiver) = (self.section.clone(), Archiver::new(sender, run.progress.clone()));
        let archiving = tokio::task::spawn_blocking(move || archiver.run(&section));
        let stored = pass_on(receiver, draft.begin_object(ARCHIVE)).await;
        let tally = archiving.await.map_err(|panic| Error::Interrupted(panic.to_string()))?;
        // When the store fails, the archiver only notices that nobody takes its pieces.
        let writer = stored?;
        let Tally { files, directories, links, skipped, bytes, remarks } = tally?;
        let mut objects = draft.finish_object(writer).await?.to_vec();
        let archive = objects[0].name.clone();
        let (exclusions, object) = left_out(&self.section).store(draft).await?;
        objects.extend(object);
        // The look came before the reading: what changed in between shows as a change.
        let fingerprint = blocking(move || ChangeDigest::of(&survey.fingerprint.0).map_err(Error::Digest)).await?;
        let exclusions = Some(exclusions);
        let detail = FilesBackup { archive, files, directories, links, skipped, fingerprint, exclusions };
        Ok((draft.entry(objects, bytes, Detail::Files(detail)), remarks))
    }
}

impl Trees {
    /// The newest backup, if nothing has changed since.
    async fn unchanged_since(&self, run: &Run, fingerprint: Hash) -> Result<Option<BackupId>> {
        let Some(newest) = run.repository.backups(&self.name).newest().await? else { return Ok(None) };
        let Detail::Files(detail) = newest.detail else { return Ok(None) };
        let same = blocking(move || detail.fingerprint.is_of(&fingerprint.0).map_err(Error::Digest)).await?;
        Ok(same.then_some(newest.id))
    }
}

/// What a section leaves out.
pub(super) fn left_out(section: &Files) -> LeftOut {
    LeftOut::new(&section.exclude, section.one_file_system)
}

/// Stores the pieces as they come.
async fn pass_on(mut pieces: mpsc::Receiver<Vec<u8>>, mut writer: ObjectWriter) -> FilesResult<ObjectWriter> {
    while let Some(piece) = pieces.recv().await {
        writer.write(&piece).await?;
    }
    Ok(writer)
}

/// Does something that blocks on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> FilesResult<T> + Send + 'static) -> FilesResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::Interrupted(panic.to_string()))?
}

#[async_trait]
impl Resource for Trees {
    fn name(&self) -> &ResourceName {
        &self.name
    }

    async fn plan(&self) -> Result<Plan> {
        let (survey, denied) = self.survey().await?;
        denied.into_result()?;
        let paths = self.section.paths.len();
        let found = format!("{} files, directories and links below {paths} path(s)", survey.entries);
        let left_out =
            |path: &std::path::PathBuf| format!("{} will be left out: it is a socket, a pipe or a device", path.display());
        let section = self.section.clone();
        let mut warnings = blocking(move || Ok(bare_links(&section))).await?;
        warnings.extend(survey.skipped.iter().map(left_out));
        Ok(Plan { found, plain_bytes: Some(survey.bytes), warnings })
    }

    async fn back_up(&self, run: &Run) -> Result<BackedUp> {
        // What may not be read fails the backup later, with everything of it named.
        let (survey, _) = self.survey().await?;
        if run.only_changes
            && let Some(id) = self.unchanged_since(run, survey.fingerprint).await?
        {
            return Ok(BackedUp::Unchanged(id));
        }
        let draft = run.begin(&self.name, WriteLimits::default()).await?;
        let made = run.until_cancelled(self.store(run, &draft, survey)).await;
        run.conclude(draft, made).await
    }

    async fn watch(&self) -> Result<BoxFuture<'static, ()>> {
        Ok(watch::begin(&self.section).await)
    }

    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified> {
        verify::verify(run, backup).await
    }

    async fn plan_restore(&self, run: &Run, backup: &BackupEntry, wanted: &WantedRestore) -> Result<Box<dyn RestorePlan>> {
        let request = match &wanted.options {
            RestoreOptions::Files(request) => request.clone(),
            _ => RestoreRequest::default(),
        };
        let plan = run.until_cancelled(restore::plan(run, &self.section, backup, wanted.to.clone(), request)).await?;
        Ok(Box::new(plan))
    }
}
