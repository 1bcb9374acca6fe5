//! One WAL file out of the repository: what `restore_command` asks for.
//!
//! Invariants: what is delivered is whole, checked, and appears under its name in one step. "Absent" is answered only where `decide`
//! finds nothing that shows that there was more. Everything else is an error. A place that an upload is just filling, and a store
//! that cannot be reached, are waited for, within bounds. Of a segment with a hole in it the beginning is delivered only to a server
//! that cannot take that for the end of the WAL (`beginning`). Memory does not grow with the segment size.

mod beginning;
mod decision;
mod deliver;
mod error;
mod facts;
mod recovering;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::pg::history::TimelineHistory;
use crate::pg::page::check_segment;
use crate::pg::{SegmentName, SegmentSize, TimelineId, WalFileName};
use crate::repository::{Backups, Repository, WalArchive};
use crate::resources::postgres::archive::push::PIECE_BYTES;
use crate::sys::clock::Deadline;
use deliver::Assembled;
use recovering::Recovering;

pub use decision::{Absence, Decision, Evidence, SegmentFacts, decide, decide_history};
pub use error::{Error, Result};

/// How often what is missing is looked for again.
const POLL: Duration = Duration::from_millis(250);
/// The longest pause between two tries of a store that cannot be reached.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long to wait for what may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a place that a parallel upload may be filling.
    pub filling: Duration,
    /// For a store that cannot be reached.
    pub store: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { filling: Duration::from_secs(10), store: Duration::from_secs(60) }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The file is where it was wanted.
    Delivered,
    /// It is proven that there is no such file.
    Absent(Absence),
}

/// What one look at the repository gave.
enum Attempt {
    Done(Fetched),
    Missing(Evidence),
    Changed,
}

/// Fetches the WAL of one lineage.
#[derive(Debug, Clone)]
pub struct Fetcher {
    archive: WalArchive,
    backups: Backups,
    patience: Patience,
}

impl Fetcher {
    /// Fetches from `archive`, which lies in `repository`.
    #[must_use]
    pub fn new(repository: &Repository, archive: WalArchive, patience: Patience) -> Self {
        let backups = repository.backups(archive.resource());
        Self { archive, backups, patience }
    }

    /// The WAL that it fetches from.
    #[must_use]
    pub const fn archive(&self) -> &WalArchive {
        &self.archive
    }

    /// The segment size of the lineage.
    #[must_use]
    pub const fn segment_size(&self) -> SegmentSize {
        self.archive.segment_size()
    }

    /// Puts the file `name` at `destination`, or proves that there is none.
    ///
    /// # Errors
    /// In every other case: then nothing was put there.
    pub async fn fetch(&self, name: WalFileName, destination: &Path) -> Result<Fetched> {
        let filling = Deadline::after(self.patience.filling);
        loop {
            match self.patiently(name, destination).await? {
                Attempt::Done(fetched) => return Ok(fetched),
                Attempt::Missing(evidence) if filling.has_passed() || !evidence.may_be_overtaken() => {
                    return match name {
                        WalFileName::Segment(segment) if beginning::deliver(&self.archive, segment, destination).await? => {
                            Ok(Fetched::Delivered)
                        }
                        _ => Err(Error::Hole { name, evidence }),
                    };
                }
                Attempt::Changed if filling.has_passed() => return Err(Error::Moving { name }),
                Attempt::Missing(evidence) => {
                    tracing::debug!(%name, %evidence, "waiting for a place that an upload may be filling");
                    tokio::time::sleep(POLL).await;
                }
                Attempt::Changed => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Puts a segment at `destination` if it is stored whole. False says nothing about what else is stored.
    ///
    /// # Errors
    /// When the store fails, or what is stored is damaged.
    pub async fn fetch_whole(&self, name: SegmentName, destination: &Path) -> Result<bool> {
        if self.deliver_whole(name, destination).await? {
            return Ok(true);
        }
        let size = self.archive.segment_size().bytes();
        if size <= PIECE_BYTES {
            return Ok(false);
        }
        let slices = self.archive.slices(name).await?;
        deliver::assemble_first(&self.archive, name, size, &slices, destination).await
    }

    /// Tries again while the store cannot be reached.
    async fn patiently(&self, name: WalFileName, destination: &Path) -> Result<Attempt> {
        let deadline = Deadline::after(self.patience.store);
        let mut pause = POLL;
        loop {
            match self.attempt(name, destination).await {
                Err(error) if error.is_retryable() && !deadline.has_passed() => {
                    tracing::warn!(%name, %error, "trying again");
                    tokio::time::sleep(pause.min(deadline.remaining())).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, name: WalFileName, destination: &Path) -> Result<Attempt> {
        match name {
            WalFileName::Segment(segment) => self.segment(segment, destination).await,
            WalFileName::History(timeline) => self.history(timeline, destination).await,
            WalFileName::Partial(_) | WalFileName::Backup(..) => match self.archive.get_file(name).await? {
                Some((_, bytes)) => self.deliver(destination, bytes).await,
                // PostgreSQL never asks for these in recovery, so nothing can be taken for the end of the WAL here.
                None => Err(Error::NotStored { name }),
            },
        }
    }

    async fn history(&self, timeline: TimelineId, destination: &Path) -> Result<Attempt> {
        if let Some((_, bytes)) = self.archive.get_file(WalFileName::History(timeline)).await? {
            history_of(&self.archive, timeline, &bytes)?;
            return self.deliver(destination, bytes).await;
        }
        let stored = self.archive.timelines().await?;
        Ok(match decide_history(timeline, &stored) {
            Ok(absence) => Attempt::Done(Fetched::Absent(absence)),
            Err(evidence) => Attempt::Missing(evidence),
        })
    }

    async fn segment(&self, name: SegmentName, destination: &Path) -> Result<Attempt> {
        if self.deliver_whole(name, destination).await? {
            return Ok(Attempt::Done(Fetched::Delivered));
        }
        let Some(mut facts) = facts::gather(&self.archive, &self.backups, name).await? else { return Ok(Attempt::Changed) };
        facts.later.extend(Recovering::here().planned(name.timeline()));
        match decide(&facts) {
            Decision::Assemble { slices, .. } => {
                match deliver::assemble(&self.archive, name, &slices, &facts.slices, destination).await? {
                    Assembled::Delivered => Ok(Attempt::Done(Fetched::Delivered)),
                    Assembled::Vanished => Ok(Attempt::Changed),
                }
            }
            Decision::Partial => match self.archive.get_file(WalFileName::Partial(name)).await? {
                Some((_, bytes)) => {
                    self.deliver_checked(WalFileName::Partial(name), name, destination, bytes).await?;
                    Ok(Attempt::Done(Fetched::Delivered))
                }
                None => Ok(Attempt::Changed),
            },
            Decision::Hole(evidence) => Ok(Attempt::Missing(evidence)),
            // While a listing runs, a segment can become whole and lose its slices behind the listing's back.
            Decision::Absent(_) if self.deliver_whole(name, destination).await? => Ok(Attempt::Done(Fetched::Delivered)),
            // And slices can be joined to one that the listing has passed, or other WAL can have come.
            Decision::Absent(Absence::End) if !self.archive.list_from(name, 1).await?.is_empty() => Ok(Attempt::Changed),
            Decision::Absent(absence) => Ok(Attempt::Done(Fetched::Absent(absence))),
        }
    }

    /// Delivers a segment that is stored as one object; false where it is not.
    async fn deliver_whole(&self, name: SegmentName, destination: &Path) -> Result<bool> {
        let file = WalFileName::Segment(name);
        let Some((_, bytes)) = self.archive.get_file(file).await? else { return Ok(false) };
        self.deliver_checked(file, name, destination, bytes).await?;
        Ok(true)
    }

    async fn deliver_checked(&self, file: WalFileName, name: SegmentName, destination: &Path, bytes: Bytes) -> Result<()> {
        let checked = check_segment(&bytes, name, self.archive.segment_size(), Some(self.archive.system_id()));
        checked.map_err(|source| Error::Segment { object: self.archive.key(file).to_string(), source })?;
        deliver::write(destination, bytes).await
    }

    async fn deliver(&self, destination: &Path, bytes: Bytes) -> Result<Attempt> {
        deliver::write(destination, bytes).await?;
        Ok(Attempt::Done(Fetched::Delivered))
    }
}

/// Reads a stored history. One without a line is what a crash leaves of it, and would let recovery take the wrong way.
fn history_of(archive: &WalArchive, timeline: TimelineId, content: &[u8]) -> Result<TimelineHistory> {
    let damaged = |detail: String| Error::Content { object: archive.key(WalFileName::History(timeline)).to_string(), detail };
    let history = TimelineHistory::parse(timeline, content).map_err(|error| damaged(error.to_string()))?;
    if history.parent().is_none() {
        return Err(damaged("it names no ancestor".to_owned()));
    }
    Ok(history)
}
