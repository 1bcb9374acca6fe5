//! Carrying a restore out: many small objects at once, large ones piece by piece. Decides nothing.

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::Serialize;
use tokio::task::JoinSet;

use super::super::error::{Error, Result};
use super::super::line::Line;
use super::super::source::WHOLE_BYTES_MAX;
use super::super::survey::Mark;
use super::compare::{Action, Comparison, Step};
use super::content::Contents;
use super::directory::NewFile;
use super::seen::is_as_seen;
use super::target::Target;
use super::{FirstKeys, Planned, Sum};
use crate::codec::{Hash, Hasher};
use crate::resources::Run;
use crate::storage::s3::{Bucket, BucketUpload};

/// How many objects are written, or removed, at once.
const WRITES_AT_ONCE: usize = 16;

/// What was done.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Done {
    pub written: Sum,
    pub right: Sum,
    pub removed: Sum,
    /// What was to be written or removed, and was left because something has come or changed there since the plan was made.
    pub left: Sum,
    /// The first keys of that.
    pub left_keys: FirstKeys,
}

/// What became of an object.
#[derive(Clone, Copy)]
enum Outcome {
    Written,
    Removed,
    Left,
}

/// An object that is done with.
struct Ended {
    key: String,
    bytes: u64,
    outcome: Outcome,
}

impl Done {
    fn take(&mut self, ended: &Ended) {
        match ended.outcome {
            Outcome::Written => self.written.add(ended.bytes),
            Outcome::Removed => self.removed.add(ended.bytes),
            Outcome::Left => {
                self.left.add(ended.bytes);
                self.left_keys.add(&ended.key);
            }
        }
    }
}

/// Carries a plan out.
pub(super) async fn carry_out(run: &Run, planned: &Planned) -> Result<Done> {
    let contents = Contents::new(run.repository.backups(&planned.backup.resource));
    let mut restoring = Restoring { run, planned, contents, writes: JoinSet::new(), done: Done::default() };
    let mut comparison = Comparison::new(run, &planned.backup, &planned.target, &planned.request);
    while let Some(step) = comparison.next().await? {
        match step {
            Step::Object(line, Action::Leave) => restoring.done.right.add(line.size),
            // What has come or changed since the plan was made is not overwritten.
            Step::Object(line, Action::Overwrite(mark)) if !planned.changes(&planned.target.name(&line.key), mark) => {
                restoring.done.take(&Ended { bytes: line.size, key: line.key, outcome: Outcome::Left });
            }
            Step::Object(line, Action::Overwrite(mark)) => restoring.restore(*line, Some(mark)).await?,
            Step::Object(line, Action::Create) => restoring.restore(*line, None).await?,
            Step::PartEnded(survey) => {
                restoring.settle(0).await?;
                if planned.deletes() {
                    let mut extras = planned.target.extras(&survey, &planned.request, &planned.exclude);
                    while let Some((name, bytes)) = extras.next().await? {
                        let mark = survey.mark(&name);
                        restoring.remove(name, bytes, mark).await?;
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
    writes: JoinSet<Result<Ended>>,
    done: Done,
}

impl Restoring<'_> {
    /// Restores an object; `seen`: what is there in its place.
    async fn restore(&mut self, line: Line, seen: Option<Mark>) -> Result<()> {
        if line.size <= WHOLE_BYTES_MAX {
            return self.restore_whole(line, seen).await;
        }
        let outcome = self.restore_large(&line, seen).await?;
        self.done.take(&Ended { key: line.key, bytes: line.size, outcome });
        Ok(())
    }

    async fn restore_whole(&mut self, line: Line, seen: Option<Mark>) -> Result<()> {
        let content = self.contents.read(&line).await?;
        if content.len() as u64 != line.size || Hash::of(&content) != line.blake3 {
            return Err(altered(&line));
        }
        self.settle(WRITES_AT_ONCE - 1).await?;
        self.run.progress.done(line.size);
        match &self.planned.target {
            Target::Bucket(bucket) => {
                let bucket = bucket.bucket().clone();
                self.writes.spawn(async move {
                    let outcome = match is_as_seen(&bucket, &line.key, seen).await? {
                        true => bucket.put(&line.key, &line.about, content).await.map(|()| Outcome::Written)?,
                        false => Outcome::Left,
                    };
                    Ok(Ended { key: line.key, bytes: line.size, outcome })
                });
            }
            Target::Directory(directory) => {
                let file = directory.begin(&self.planned.target.name(&line.key)).await?;
                self.writes.spawn(async move {
                    file.write(content).await?.finish().await?;
                    Ok(Ended { key: line.key, bytes: line.size, outcome: Outcome::Written })
                });
            }
        }
        Ok(())
    }

    async fn restore_large(&mut self, line: &Line, seen: Option<Mark>) -> Result<Outcome> {
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
        if let Target::Bucket(bucket) = &self.planned.target {
            match is_as_seen(bucket.bucket(), &line.key, seen).await {
                Ok(true) => {}
                looked => {
                    writing.abort().await;
                    return looked.map(|_| Outcome::Left);
                }
            }
        }
        writing.finish().await?;
        Ok(Outcome::Written)
    }

    /// Removes what the backup does not have, if it is still what the plan has seen; `mark`: what it looked like when the work began.
    async fn remove(&mut self, key: String, bytes: u64, mark: Option<Mark>) -> Result<()> {
        if !mark.is_some_and(|mark| self.planned.changes(&key, mark)) {
            self.done.take(&Ended { key, bytes, outcome: Outcome::Left });
            return Ok(());
        }
        match &self.planned.target {
            Target::Bucket(bucket) => {
                self.settle(WRITES_AT_ONCE - 1).await?;
                let bucket: Bucket = bucket.bucket().clone();
                self.writes.spawn(async move {
                    let outcome = match is_as_seen(&bucket, &key, mark).await? {
                        true => bucket.delete(&key).await.map(|()| Outcome::Removed)?,
                        false => Outcome::Left,
                    };
                    Ok(Ended { key, bytes, outcome })
                });
            }
            Target::Directory(directory) => {
                directory.delete(&key).await?;
                self.done.take(&Ended { key, bytes, outcome: Outcome::Removed });
            }
        }
        Ok(())
    }

    /// Waits until at most so many writes are under way.
    async fn settle(&mut self, most: usize) -> Result<()> {
        while self.writes.len() > most
            && let Some(write) = self.writes.join_next().await
        {
            self.done.take(&write.map_err(|panic| Error::Interrupted(panic.to_string()))??);
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
