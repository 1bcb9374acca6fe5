//! Carrying a restore out: many small objects at once, large ones piece by piece. Decides nothing.

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::Serialize;
use tokio::task::JoinSet;

use super::super::error::{Error, Result};
use super::super::line::Line;
use super::super::source::WHOLE_BYTES_MAX;
use super::compare::{Action, Comparison, Step};
use super::content::Contents;
use super::directory::NewFile;
use super::target::Target;
use super::{Planned, Sum};
use crate::codec::{Hash, Hasher};
use crate::resources::Run;
use crate::storage::s3::{Bucket, BucketUpload};

/// How many objects are written, or removed, at once.
const WRITES_AT_ONCE: usize = 16;

/// What was done.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Done {
    pub written: Sum,
    pub right: Sum,
    pub removed: Sum,
}

/// Carries a plan out.
pub(super) async fn carry_out(run: &Run, planned: &Planned) -> Result<Done> {
    let contents = Contents::new(run.repository.backups(&planned.backup.resource));
    let mut restoring = Restoring { run, planned, contents, writes: JoinSet::new(), done: Done::default() };
    let mut comparison = Comparison::new(run, &planned.backup, &planned.target, &planned.request);
    while let Some(step) = comparison.next().await? {
        match step {
            Step::Object(line, Action::Leave) => restoring.done.right.add(line.size),
            // What has come since the plan was made is not overwritten without a word.
            Step::Object(line, Action::Overwrite) if !planned.may_overwrite() => {
                return Err(Error::Target {
                    to: planned.target.place(),
                    detail: format!("{} has appeared there since the plan was made", line.key),
                });
            }
            Step::Object(line, _) => restoring.restore(*line).await?,
            Step::PartEnded(survey) => {
                restoring.settle(0).await?;
                if planned.deletes() {
                    let mut extras = planned.target.extras(&survey, &planned.request, &planned.exclude);
                    while let Some((name, bytes)) = extras.next().await? {
                        restoring.remove(&name, bytes).await?;
                    }
                    restoring.settle(0).await?;
                }
            }
        }
    }
    Ok(restoring.done)
}

struct Restoring<'a> {
    run: &'a Run,
    planned: &'a Planned,
    contents: Contents,
    writes: JoinSet<Result<()>>,
    done: Done,
}

impl Restoring<'_> {
    async fn restore(&mut self, line: Line) -> Result<()> {
        match line.size <= WHOLE_BYTES_MAX {
            true => self.restore_whole(&line).await?,
            false => self.restore_large(&line).await?,
        }
        self.done.written.add(line.size);
        Ok(())
    }

    async fn restore_whole(&mut self, line: &Line) -> Result<()> {
        let content = self.contents.read(line).await?;
        if content.len() as u64 != line.size || Hash::of(&content) != line.blake3 {
            return Err(altered(line));
        }
        self.settle(WRITES_AT_ONCE - 1).await?;
        self.run.progress.done(line.size);
        match &self.planned.target {
            Target::Bucket(bucket) => {
                let (bucket, key, about) = (bucket.bucket().clone(), line.key.clone(), line.about.clone());
                self.writes.spawn(async move { Ok(bucket.put(&key, &about, content).await?) });
            }
            Target::Directory(directory) => {
                let file = directory.begin(&self.planned.target.name(&line.key)).await?;
                self.writes.spawn(async move { file.write(content).await?.finish().await });
            }
        }
        Ok(())
    }

    async fn restore_large(&mut self, line: &Line) -> Result<()> {
        let mut content = self.contents.stream(line).await?;
        let (mut hash, mut bytes) = (Hasher::new(), 0);
        let mut writing = match &self.planned.target {
            Target::Bucket(bucket) => Writing::Object(Box::new(bucket.bucket().upload(&line.listed(), line.about.clone()))),
            Target::Directory(directory) => Writing::File(directory.begin(&self.planned.target.name(&line.key)).await?),
        };
        loop {
            let piece = match content.try_next().await {
                Ok(piece) => piece,
                Err(error) => {
                    writing.abort().await;
                    return Err(error.into());
                }
            };
            let Some(piece) = piece else { break };
            hash.update(&piece);
            bytes += piece.len() as u64;
            self.run.progress.done(piece.len() as u64);
            writing = writing.write(piece).await?;
        }
        if bytes != line.size || hash.finish() != line.blake3 {
            writing.abort().await;
            return Err(altered(line));
        }
        writing.finish().await
    }

    async fn remove(&mut self, name: &str, bytes: u64) -> Result<()> {
        match &self.planned.target {
            Target::Bucket(bucket) => {
                self.settle(WRITES_AT_ONCE - 1).await?;
                let (bucket, key): (Bucket, String) = (bucket.bucket().clone(), name.to_owned());
                self.writes.spawn(async move { Ok(bucket.delete(&key).await?) });
            }
            Target::Directory(directory) => directory.delete(name).await?,
        }
        self.done.removed.add(bytes);
        Ok(())
    }

    /// Waits until at most so many writes are under way.
    async fn settle(&mut self, most: usize) -> Result<()> {
        while self.writes.len() > most
            && let Some(write) = self.writes.join_next().await
        {
            write.map_err(|panic| Error::Interrupted(panic.to_string()))??;
        }
        Ok(())
    }
}

fn altered(line: &Line) -> Error {
    let object = line.place.as_ref().map(|place| place.pack.clone()).unwrap_or_default();
    Error::Altered { key: line.key.clone(), object }
}

/// A large object on its way to the target.
enum Writing {
    Object(Box<BucketUpload>),
    File(NewFile),
}

impl Writing {
    async fn write(self, piece: Bytes) -> Result<Self> {
        Ok(match self {
            Self::Object(mut upload) => match upload.write(piece).await {
                Ok(()) => Self::Object(upload),
                Err(error) => {
                    upload.abort().await;
                    return Err(error.into());
                }
            },
            Self::File(file) => Self::File(file.write(piece).await?),
        })
    }

    async fn finish(self) -> Result<()> {
        match self {
            Self::Object(upload) => Ok(upload.finish().await?),
            Self::File(file) => file.finish().await,
        }
    }

    async fn abort(self) {
        if let Self::Object(upload) = self {
            upload.abort().await;
        }
    }
}
