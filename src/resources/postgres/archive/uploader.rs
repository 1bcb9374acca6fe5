//! Puts WAL into the store: several objects at a time within a budget of memory, each tried until the store takes it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::agreement::{Agreement, Around, Offer, Refusal};
use super::pause::Pause;
use super::report::{Report, Trouble};
use super::{Error, Result};
use crate::pg::{Lsn, SegmentName, WalFileName};
use crate::repository::{self, Gap, Slice, WalAbout, WalArchive, WalObject};
use crate::sys::clock;
use crate::sys::places::{Place, free_place_for, is_place_for, place_for};

/// The most plain bytes on their way to the store.
const BYTES_MAX: usize = 32 << 20;
/// The same as a distance between positions.
pub(super) const TOGETHER_BYTES_MAX: u64 = 32 << 20;
/// The most objects on their way.
const TASKS_MAX: usize = 8;
/// So long one put may take; then it counts as failed. 16 MiB in this time are half a megabit per second.
const PUT_DEADLINE: Duration = Duration::from_mins(5);

/// What cannot be compared for so long is worth a word.
const UNREADABLE_FOR: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Upload {
    /// A whole segment.
    Segment(SegmentName),
    /// A piece of a segment that is larger than one, for good.
    Piece(Slice),
    /// A slice.
    Slice(Slice),
    /// Slices whose bytes are stored in something larger.
    Delete,
    /// The record of a gap.
    Gap,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Finished {
    /// What.
    pub upload: Upload,
    /// The WAL in it.
    pub range: Range<Lsn>,
    /// How long it took.
    pub took: Duration,
    /// It cannot be compared with the whole segment or piece that is stored, but for as a whole: it is not known to be stored.
    pub is_put_off: bool,
    bytes: usize,
}

/// The uploads that are under way. Dropped, they are abandoned; what has reached the store stays there.
#[derive(Debug)]
pub(super) struct Uploader {
    archive: WalArchive,
    agreement: Agreement,
    report: Report,
    tasks: JoinSet<Result<Finished>>,
    bytes: usize,
}

impl Uploader {
    /// Nothing is under way.
    pub fn new(archive: WalArchive, report: Report) -> Self {
        let agreement = Agreement::new(archive.clone());
        Self { archive, agreement, report, tasks: JoinSet::new(), bytes: 0 }
    }

    /// Whether so many bytes may be added. Of what is large only one waits for its place.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let may_be_second = || self.bytes + bytes <= BYTES_MAX && is_place_for(self.archive.room_for(bytes as u64));
        self.tasks.len() < TASKS_MAX && (self.bytes == 0 || may_be_second())
    }

    /// The timeline ends there in the server's history; what is on its way hears of it too.
    pub fn ends_at(&self, end: Lsn) {
        self.agreement.ends_at(end);
    }

    /// Whether anything is under way.
    pub fn is_busy(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Begins to store `plain`, the WAL of `range`; `around`: more of its segment, to compare it with.
    pub fn put(&mut self, upload: Upload, range: Range<Lsn>, (plain, around): (Bytes, Option<Around>), about: WalAbout) {
        self.bytes += plain.len();
        let (agreement, report) = (self.agreement.clone(), self.report.clone());
        let room = self.archive.room_for(plain.len() as u64);
        let place = free_place_for(room);
        self.tasks.spawn(async move {
            let (begun, bytes) = (clock::instant(), plain.len());
            let is_put_off = match upload.offer(plain, around) {
                Some(offer) => !persist(&agreement, &report, &offer, &about, (room, place)).await?,
                None => false,
            };
            Ok(Finished { upload, range, took: begun.elapsed(), is_put_off, bytes })
        });
    }

    /// Begins to record a gap in what a server sends, of which `own` is a part: first that is compared with what is stored.
    pub fn record(&mut self, gap: Gap, own: Option<(Slice, Bytes)>) {
        let (archive, agreement, report) = (self.archive.clone(), self.agreement.clone(), self.report.clone());
        let offer = own.and_then(|(name, plain)| Upload::Slice(name).offer(plain, None));
        self.tasks.spawn(async move {
            let mut pause = Pause::default();
            while let Err(refusal) = record(&archive, &agreement, &gap, offer.as_ref()).await {
                if let Refusal::Contradiction(found) = refusal {
                    return Err(found.into());
                }
                report.update(|status| status.store_trouble = Some(Trouble::now(refusal.to_string(), refusal.hint())));
                tokio::time::sleep(pause.next()).await;
            }
            mended(&report);
            report.update(|status| status.gaps.push(gap));
            Ok(Finished { upload: Upload::Gap, range: Lsn(0)..Lsn(0), took: Duration::ZERO, is_put_off: false, bytes: 0 })
        });
    }

    /// Begins to delete slices. One that cannot be deleted stays as a duplicate, which does no harm.
    pub fn delete(&mut self, slices: Vec<Slice>) {
        if slices.is_empty() {
            return;
        }
        let archive = self.archive.clone();
        self.tasks.spawn(async move {
            if let Err(error) = archive.delete_slices(&slices).await {
                tracing::debug!(?slices, "slices that are no longer needed were not all deleted: {error}");
            }
            Ok(Finished { upload: Upload::Delete, range: Lsn(0)..Lsn(0), took: Duration::ZERO, is_put_off: false, bytes: 0 })
        });
    }

    /// Waits until something is finished; for ever if nothing is under way. Cancelling loses nothing.
    ///
    /// # Errors
    /// What trying again does not help against: other content is stored under that name.
    pub async fn finished(&mut self) -> Result<Finished> {
        match self.tasks.join_next().await {
            Some(Ok(finished)) => {
                let finished = finished?;
                self.bytes -= finished.bytes;
                Ok(finished)
            }
            Some(Err(panic)) => Err(Error::Interrupted(panic.to_string())),
            None => std::future::pending().await,
        }
    }
}

impl Upload {
    /// What is to be stored and compared; none where something is deleted.
    fn offer(&self, plain: Bytes, around: Option<Around>) -> Option<Offer> {
        let (object, segment, range) = match self {
            Self::Segment(name) => (WalObject::File(WalFileName::Segment(*name)), *name, 0..plain.len() as u64),
            Self::Piece(slice) | Self::Slice(slice) => (WalObject::Slice(slice.clone()), slice.segment, slice.bytes.clone()),
            Self::Delete | Self::Gap => return None,
        };
        Some(Offer { object, segment, range, plain, around })
    }
}

/// Records a gap, unless others stored something else there: then it is none in what is stored.
async fn record(
    archive: &WalArchive,
    agreement: &Agreement,
    gap: &Gap,
    offer: Option<&Offer>,
) -> std::result::Result<(), Refusal> {
    if let Some(offer) = offer {
        let _place = place_for(archive.room_for(offer.plain.len() as u64)).await;
        match agreement.compare_with_stored(offer).await {
            Err(found @ Refusal::Contradiction(_)) => return Err(found),
            Err(Refusal::Repository(error)) if may_pass(&error) => return Err(error.into()),
            // What cannot be compared does not keep it from being recorded.
            _ => {}
        }
    }
    archive.put_gap(gap).await?;
    Ok(())
}

/// Tries until the store has taken it, in the place that it has already or in one of its own. False where only the whole segment, or the whole
/// piece of a large one, can be compared with what is stored.
async fn persist(
    agreement: &Agreement,
    report: &Report,
    offer: &Offer,
    about: &WalAbout,
    (room, mut place): (u64, Option<Place>),
) -> Result<bool> {
    let (mut pause, mut created, begun) = (Pause::default(), false, clock::instant());
    loop {
        let held = match place.take() {
            Some(place) => place,
            None => place_for(room).await,
        };
        let put = timeout(PUT_DEADLINE, agreement.store(offer, about, &mut created)).await;
        drop(held);
        let error = match put {
            Ok(Ok(_)) => {
                mended(report);
                return Ok(true);
            }
            Ok(Err(Refusal::Unreadable { is_whole: true, .. })) => return Ok(false),
            // What this process is just storing beside it, most likely.
            Ok(Err(Refusal::Unreadable { .. })) if begun.elapsed() < UNREADABLE_FOR => {
                tokio::time::sleep(pause.next()).await;
                continue;
            }
            Ok(Err(Refusal::Contradiction(found))) => return Err(found.into()),
            Ok(Err(Refusal::Repository(error))) if !may_pass(&error) => return Err(error.into()),
            Ok(Err(Refusal::Repository(error))) => Trouble::now(error.to_string(), error.hint()),
            Ok(Err(refusal @ (Refusal::Moving(_) | Refusal::Unreadable { .. }))) => {
                Trouble::now(refusal.to_string(), refusal.hint())
            }
            Err(_) => {
                let message = format!("the store did not take {:?} within {} s", offer.object, PUT_DEADLINE.as_secs());
                Trouble::now(message, None)
            }
        };
        if pause.is_worth_a_line() {
            tracing::warn!(hint = error.hint, "WAL cannot be stored; it waits in the replication slot: {}", error.message);
        }
        report.update(|status| status.store_trouble = Some(error));
        tokio::time::sleep(pause.next()).await;
    }
}

/// A store that is full, read-only or denies access can be mended, so all of its failures may pass. Other content under the same name
/// does not.
pub(super) const fn may_pass(error: &repository::Error) -> bool {
    matches!(error, repository::Error::Storage(_) | repository::Error::Interrupted { .. })
}

fn mended(report: &Report) {
    if report.status().store_trouble.is_some() {
        tracing::info!("the store takes WAL again");
        report.update(|status| status.store_trouble = None);
    }
}
