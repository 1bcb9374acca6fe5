//! The output of a program as a resource among others.

use async_trait::async_trait;

use super::error::{Error, Result as CommandResult};
use super::program;
use super::restore::{self, RestoreRequest};
use crate::codec::{ChangeDigest, Hash, Hasher};
use crate::config;
use crate::repository::{BackupEntry, CommandBackup, Detail, Draft, ObjectWriter, ResourceName, WriteLimits};
use crate::resources::{BackedUp, Plan, Resource, RestoreOptions, RestorePlan, Result, Run, Verified, WantedRestore};
use crate::sys::program::{Program, Terms};

/// The object that holds the output; the extension of the compression follows.
const OUTPUT: &str = "output";
/// Output up to this size is held in memory until it is known whether it has changed.
const HELD_BYTES_MAX: usize = 4 << 20;

/// The output of a program.
#[derive(Debug, Clone)]
pub struct Output {
    name: ResourceName,
    section: config::Command,
}

/// What a program has written, on its way into the store.
struct Written {
    hash: Hasher,
    bytes: u64,
    held: Vec<u8>,
    writer: Option<ObjectWriter>,
}

impl Output {
    /// The output of the program of a section.
    #[must_use]
    pub fn new(name: ResourceName, section: &config::Command) -> Self {
        Self { name, section: section.clone() }
    }

    /// Runs the program and stores what it writes, unless that is what `before` has.
    async fn store(&self, draft: &Draft, before: Option<ChangeDigest>) -> CommandResult<Option<(BackupEntry, Vec<String>)>> {
        let mut program = start(&self.section)?;
        let mut written = Written { hash: Hasher::new(), bytes: 0, held: Vec::new(), writer: None };
        while let Some(piece) = program.next_piece().await? {
            written.take(&piece, draft).await?;
        }
        program.finish().await?;
        let hash = written.hash.finish();
        if let Some(before) = before
            && is_of(before, hash).await?
        {
            return Ok(None);
        }
        let remarks = if written.bytes == 0 { vec!["the output is empty".to_owned()] } else { Vec::new() };
        let (bytes, writer) = (written.bytes, written.writer(draft).await?);
        let objects = draft.finish_object(writer).await?;
        let detail = CommandBackup { content: objects[0].name.clone(), digest: digest_of(hash).await? };
        Ok(Some((draft.entry(objects.to_vec(), bytes, Detail::Command(detail)), remarks)))
    }

    /// The newest backup and its digest.
    async fn newest(&self, run: &Run) -> Result<Option<(BackupEntry, ChangeDigest)>> {
        let newest = run.repository.backups(&self.name).newest().await?;
        Ok(newest.and_then(|entry| match &entry.detail {
            Detail::Command(CommandBackup { digest, .. }) => Some((entry.clone(), digest.clone())),
            _ => None,
        }))
    }
}

/// Starts the program of a section.
fn start(section: &config::Command) -> CommandResult<Program> {
    let mut command = tokio::process::Command::new(section.program());
    command.args(section.run.iter().skip(1));
    // Those that it is given come after: they may be among them.
    for name in section.hidden.names() {
        command.env_remove(name);
    }
    let mut secrets = Vec::new();
    for (variable, value) in &section.env {
        let value = value.reveal()?;
        command.env(variable, &value);
        secrets.push(value);
    }
    if let Some(directory) = &section.cwd {
        command.current_dir(directory);
    }
    Ok(Program::read_from(command, Terms { name: section.program().to_owned(), limit: section.timeout.0, secrets })?)
}

impl Written {
    async fn take(&mut self, piece: &[u8], draft: &Draft) -> CommandResult<()> {
        self.hash.update(piece);
        self.bytes += piece.len() as u64;
        self.held.extend_from_slice(piece);
        if self.held.len() >= HELD_BYTES_MAX {
            self.pass_on(draft).await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self, draft: &Draft) -> CommandResult<()> {
        let writer = self.writer.get_or_insert_with(|| draft.begin_object(OUTPUT));
        writer.write(&std::mem::take(&mut self.held)).await?;
        Ok(())
    }

    /// What writes the object, everything handed over.
    async fn writer(mut self, draft: &Draft) -> CommandResult<ObjectWriter> {
        self.pass_on(draft).await?;
        self.writer.ok_or_else(|| Error::Interrupted("the output has no writer".to_owned()))
    }
}

/// The digest is of the hash, so that output of any length can be compared in bounded memory. It is slow, and has a thread of its own.
async fn digest_of(hash: Hash) -> CommandResult<ChangeDigest> {
    let work = tokio::task::spawn_blocking(move || ChangeDigest::of(&hash.0)).await;
    work.map_err(|panic| Error::Interrupted(panic.to_string()))?.map_err(Error::Digest)
}

async fn is_of(digest: ChangeDigest, hash: Hash) -> CommandResult<bool> {
    let work = tokio::task::spawn_blocking(move || digest.is_of(&hash.0)).await;
    work.map_err(|panic| Error::Interrupted(panic.to_string()))?.map_err(Error::Digest)
}

#[async_trait]
impl Resource for Output {
    fn name(&self) -> &ResourceName {
        &self.name
    }

    /// The program is looked for and not run: what it does is not known.
    async fn plan(&self) -> Result<Plan> {
        let section = self.section.clone();
        let looked = tokio::task::spawn_blocking(move || program::look(&section)).await;
        let warning = looked.map_err(|panic| Error::Interrupted(panic.to_string()))??;
        let found = format!("the output of {} will be stored when it exits with 0", self.section.program());
        Ok(Plan { found, plain_bytes: None, warnings: warning.into_iter().collect() })
    }

    async fn back_up(&self, run: &Run) -> Result<BackedUp> {
        if run.repository.encryption().recipients.is_empty() {
            return Err(Error::NotEncrypted { program: self.section.program().to_owned() }.into());
        }
        let newest = if run.only_changes { self.newest(run).await? } else { None };
        let draft = run.begin(&self.name, WriteLimits::default()).await?;
        let before = newest.as_ref().map(|(_, digest)| digest.clone());
        let stored = run.until_cancelled(self.store(&draft, before)).await;
        match (stored, newest) {
            (Ok(None), Some((entry, _))) => {
                draft.discard().await;
                Ok(BackedUp::Unchanged(entry.id))
            }
            (Ok(Some(made)), _) => run.conclude(draft, Ok(made)).await,
            (Ok(None), None) => run.conclude(draft, Err(Error::Interrupted("nothing was stored".to_owned()).into())).await,
            (Err(error), _) => run.conclude(draft, Err(error)).await,
        }
    }

    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified> {
        let mut verified = Verified::begin(backup);
        verified.read_all(run, backup).await?;
        Ok(verified)
    }

    async fn plan_restore(&self, run: &Run, backup: &BackupEntry, wanted: &WantedRestore) -> Result<Box<dyn RestorePlan>> {
        let request = match &wanted.options {
            RestoreOptions::Command(request) => request.clone(),
            _ => RestoreRequest::default(),
        };
        Ok(Box::new(restore::plan(run, backup, wanted.to.clone(), &request).await?))
    }
}
