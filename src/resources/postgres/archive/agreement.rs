//! Whether what is stored agrees with what is to be acknowledged: of two writers with different WAL for one place only one is believed.
//!
//! Positions do not tell two copies of a cluster apart, and their slices have different names where these have different lengths.
//! So the order is: put, look, acknowledge. After every put everything stored of the segment is listed, and what overlaps is
//! compared byte for byte. A writer removes an object for a larger one only after it has looked behind that one's put too.
//! Then no byte is acknowledged that contradicts one that was: had both writers looked before the other's put was over, one of them
//! would have looked before its own. A listing shows each object whose put was over before it began, or the larger one in its place.
//!
//! Who finds a contradiction takes back what it has itself just created, which nobody was told of. A writer that is killed in just that
//! moment leaves it behind: then both writers stop until somebody removes it, and readers refuse the segment. So that this stays rare
//! however often a refused writer tries again, the first object that it puts of a segment is compared before it is put, too.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::piece::piece_bytes;
use crate::pg::{Lsn, SegmentName, WalFileName};
use crate::repository::{self, Stored, WalAbout, WalArchive, WalObject};

/// How many stored objects are compared at once by their hashes.
const HASHES_AT_ONCE: usize = 4;
/// What is read for a comparison is up to twice 16 MiB: one at a time in the whole process.
static COMPARING: Semaphore = Semaphore::const_new(1);
/// How often the listing is repeated because what it showed was replaced while it was read.
const LOOKS_MAX: usize = 10;
/// How many objects are remembered as compared before all are forgotten, and compared anew.
const REMEMBERED_MAX: usize = 4096;
/// Of how many segments it is remembered that they were begun: more than are ever stored at once.
const SEGMENTS_MAX: usize = 64;

/// Two objects hold different bytes for the same position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the WAL of {segment} contradicts what is stored: from {at} on {stored} holds other bytes than {offered}; nothing of it was \
     acknowledged"
)]
pub struct Contradiction {
    /// The segment that both belong to.
    pub segment: SegmentName,
    /// The first position that differs.
    pub at: Lsn,
    /// The object that was there.
    pub stored: String,
    /// The one that was to be stored.
    pub offered: String,
}

impl Contradiction {
    /// What to do next.
    pub const HINT: &str = "two servers write WAL under one name (a clone, a restored copy, a split brain): stop the one that should not, or give \
                            it a resource name of its own; if neither goes on, remove the object of the wrong one";
}

/// Why WAL was not stored, or is not to be acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Repository(#[from] repository::Error),
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// Passes when the object is readable, when the whole segment is offered, or where the timeline turns out to end before it.
    #[error("what is stored of {segment} cannot be compared: {error}")]
    Unreadable {
        segment: SegmentName,
        error: repository::Error,
        /// It is the whole segment, or a whole piece of a large one: its hash can be compared once all of that has come.
        is_whole: bool,
    },
    /// Passes when the other writer rests.
    #[error("what is stored of {0} was replaced again and again while it was compared")]
    Moving(SegmentName),
}

impl Refusal {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { error, .. } if error.is_locked() => Some(
                "where commits wait for this, SELECT pg_switch_wal() completes the segment, which is compared without being read then; or name a file \
                 with the identity as [encryption] identity_file"
                    .to_owned(),
            ),
            Self::Repository(error) | Self::Unreadable { error, .. } => error.hint(),
            Self::Contradiction(_) => Some(Contradiction::HINT.to_owned()),
            Self::Moving(_) => None,
        }
    }
}

/// WAL that is to be stored under a name.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub object: WalObject,
    pub segment: SegmentName,
    /// Which bytes of the segment.
    pub range: Range<u64>,
    pub plain: Bytes,
    /// More of the segment that the writer has, the offer in it: what overlaps with the offer in part can be compared by its hash then.
    pub around: Option<Around>,
}

/// Bytes of a segment from a place on.
#[derive(Debug, Clone)]
pub(super) struct Around {
    pub start: u64,
    pub bytes: Bytes,
}

/// How a stored object compares.
enum Comparison {
    Agrees(WalObject),
    Vanished,
}

/// Stores WAL and compares it with what is there. Clones share what was compared.
#[derive(Debug, Clone)]
pub(super) struct Agreement {
    archive: WalArchive,
    /// Objects that hold the same bytes as what was offered for the same place.
    agreed: Arc<Mutex<BTreeSet<Place>>>,
    /// Segments of which something was stored that nothing contradicts.
    begun: Arc<Mutex<BTreeSet<SegmentName>>>,
    /// Where the timeline ends in the server's history; the end of all positions as long as it goes on.
    end: Arc<AtomicU64>,
}

/// A segment, and which of its bytes.
type Place = (SegmentName, u64, u64);

impl Agreement {
    /// Nothing was compared yet.
    pub fn new(archive: WalArchive) -> Self {
        Self { archive, agreed: Arc::default(), begun: Arc::default(), end: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// The timeline ends there in the server's history, which is to be known before anything of it is offered, or as soon as it is.
    ///
    /// What others stored beyond that belongs to another history. Where it begins before, it is compared as far as the server's WAL goes
    /// by those who can read it. Those who cannot would wait for ever for bytes that never come; they pass over it, because recovery along the
    /// server's history does not read it, but the copy of this segment with which the next timeline begins.
    pub fn ends_at(&self, end: Lsn) {
        self.end.store(end.0, Ordering::Release);
    }

    /// Stores it. What it returns `Ok` for is durable and contradicted by nothing that may be acknowledged. `created` becomes true when
    /// this call has created the object, and is handed in again where it is repeated after a failure of the store.
    ///
    /// # Errors
    /// `Refusal`; nothing may be acknowledged then.
    pub async fn store(&self, offer: &Offer, about: &WalAbout, created: &mut bool) -> Result<Stored, Refusal> {
        let (stored, seen) = match &offer.object {
            WalObject::Slice(slice) => {
                let is_whole = self.is_offered_whole(&offer.range);
                let is_there = (is_whole || !self.has_begun(offer.segment)) && self.look(offer, None).await?;
                if is_there && is_whole && self.is_held(offer).await? {
                    (Stored::Identical, None)
                } else {
                    let put = self.archive.put_slice_and_look(slice, offer.plain.clone(), about).await;
                    let (stored, seen) = self.told(offer, put).await?;
                    // So that those that are put beside it need not read it.
                    self.remember(offer.place());
                    (stored, seen.ok())
                }
            }
            WalObject::File(name) => (self.store_file(*name, offer, about).await?, None),
        };
        *created |= stored == Stored::New;
        match self.look(offer, seen).await {
            Ok(_) => {
                self.remember(offer.place());
                self.begin(offer.segment);
                Ok(stored)
            }
            Err(Refusal::Contradiction(found)) if *created => {
                self.remembered().remove(&offer.place());
                self.archive.delete(&offer.object).await?;
                Err(found.into())
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Readers prefer a whole segment to slices, so it is compared with them before it is there.
    async fn store_file(&self, name: WalFileName, offer: &Offer, about: &WalAbout) -> Result<Stored, Refusal> {
        let is_there = self.look(offer, None).await?;
        if is_there && self.is_held(offer).await? {
            return Ok(Stored::Identical);
        }
        let put = self.archive.put_file(name, offer.plain.clone(), about).await;
        self.told(offer, put).await
    }

    /// Whether the object that is there is just what is offered, and durable. Where both ways in bring the same, or one tries again, it needs
    /// neither be compressed nor sent: of a segment of 1 GiB all that came before a deadline would be sent anew each time.
    async fn is_held(&self, offer: &Offer) -> Result<bool, Refusal> {
        let is_held = self.archive.holds(&offer.object, &offer.plain).await? == Some(true);
        if is_held {
            self.archive.settle(&offer.object).await?;
        }
        Ok(is_held)
    }

    /// What the store says to a put; where it refuses other content under the name that is there, and that can be read, from where on it differs.
    async fn told<T>(&self, offer: &Offer, put: repository::Result<T>) -> Result<T, Refusal> {
        let error = match put {
            Err(error @ repository::Error::Conflict { .. }) => error,
            other => return Ok(other?),
        };
        let _turn = COMPARING.acquire().await;
        let difference = match self.archive.get_object(&offer.object).await {
            Ok(Some((_, theirs))) => first_difference(offer, offer.range.start, &theirs),
            _ => None,
        };
        Err(difference.map_or_else(|| error.into(), |offset| self.contradiction(offer, &offer.object, offset).into()))
    }

    /// Compares everything stored of the segment that overlaps and was not compared yet; `seen` is what a listing showed that began
    /// after the put. Whether an object of the offered name is there.
    async fn look(&self, offer: &Offer, mut seen: Option<Vec<WalObject>>) -> Result<bool, Refusal> {
        for _ in 0..LOOKS_MAX {
            let listed = match seen.take() {
                Some(seen) => seen,
                None => self.archive.stored_of(offer.segment).await?,
            };
            let is_there = listed.contains(&offer.object);
            if self.compare_all(offer, listed.into_iter().filter(|object| *object != offer.object)).await? {
                return Ok(is_there);
            }
        }
        Err(Refusal::Moving(offer.segment))
    }

    /// Compares everything stored that overlaps with what a server has, without storing anything.
    ///
    /// # Errors
    /// As `store`.
    pub async fn compare_with_stored(&self, offer: &Offer) -> Result<(), Refusal> {
        for _ in 0..LOOKS_MAX {
            if self.compare_all(offer, self.archive.stored_of(offer.segment).await?).await? {
                return Ok(());
            }
        }
        Err(Refusal::Moving(offer.segment))
    }

    /// Whether all of them agree that concern what is offered; not where one vanished before it was compared.
    async fn compare_all(&self, offer: &Offer, listed: impl IntoIterator<Item = WalObject>) -> Result<bool, Refusal> {
        let concerned = listed.into_iter().filter(|object| self.concerns(offer, object));
        let compared = stream::iter(concerned).map(|object| self.compare(offer, object)).buffer_unordered(HASHES_AT_ONCE);
        let compared: Vec<Comparison> = compared.try_collect().await?;
        let mut vanished = false;
        for comparison in compared {
            match comparison {
                Comparison::Agrees(object) => self.remember_if_whole(offer, &object),
                Comparison::Vanished => vanished = true,
            }
        }
        Ok(!vanished)
    }

    fn concerns(&self, offer: &Offer, object: &WalObject) -> bool {
        let Some(range) = self.range(object) else { return false };
        let overlaps = range.start < offer.range.end && offer.range.start < range.end;
        overlaps && !self.remembered().contains(&(offer.segment, range.start, range.end))
    }

    async fn compare(&self, offer: &Offer, object: WalObject) -> Result<Comparison, Refusal> {
        let Some(range) = self.range(&object) else { return Ok(Comparison::Vanished) };
        // All of its bytes are known: its hash tells, and no key is needed where the store is encrypted.
        let mut differs = false;
        if let Some(ours) = offer.part(&range) {
            match self.archive.holds(&object, &ours).await? {
                Some(true) => return Ok(Comparison::Agrees(object)),
                Some(false) => differs = true,
                None => return Ok(Comparison::Vanished),
            }
        }
        let _turn = COMPARING.acquire().await;
        match self.archive.get_object(&object).await {
            // Where it does is for those to see who can read it.
            Err(_) if differs => Err(self.contradiction(offer, &object, range.start).into()),
            Err(error) if error.is_locked() && self.is_past_the_end(offer.segment, &range) => Ok(Comparison::Agrees(object)),
            Err(error) => {
                let is_whole = error.is_locked() && self.is_offered_whole(&range);
                Err(Refusal::Unreadable { segment: offer.segment, error, is_whole })
            }
            Ok(None) => Ok(Comparison::Vanished),
            Ok(Some((_, theirs))) => match first_difference(offer, range.start, &theirs) {
                None => Ok(Comparison::Agrees(object)),
                Some(offset) => Err(self.contradiction(offer, &object, offset).into()),
            },
        }
    }

    /// Whether just these bytes of a segment are offered at once when all of them have come: a segment, or a piece of a large one.
    const fn is_offered_whole(&self, range: &Range<u64>) -> bool {
        let piece = piece_bytes(self.archive.segment_size());
        range.start.is_multiple_of(piece) && range.end - range.start == piece
    }

    /// Whether bytes of a segment reach beyond the end of the timeline.
    fn is_past_the_end(&self, segment: SegmentName, range: &Range<u64>) -> bool {
        self.start_of(segment).0.saturating_add(range.end) > self.end.load(Ordering::Acquire)
    }

    fn start_of(&self, segment: SegmentName) -> Lsn {
        let size = self.archive.segment_size();
        segment.number(size).map_or(Lsn::INVALID, |number| number.start(size))
    }

    fn contradiction(&self, offer: &Offer, object: &WalObject, offset: u64) -> Contradiction {
        let start = self.start_of(offer.segment);
        let stored = self.archive.key_of(object).to_string();
        let offered = if *object == offer.object {
            "what was to be stored under that name".to_owned()
        } else {
            self.archive.key_of(&offer.object).to_string()
        };
        Contradiction { segment: offer.segment, at: Lsn(start.0 + offset), stored, offered }
    }

    /// Which bytes of its segment an object holds; none for what is no WAL, or not the timeline's own up to a place that is known.
    fn range(&self, object: &WalObject) -> Option<Range<u64>> {
        match object {
            WalObject::File(WalFileName::Segment(_)) => Some(0..self.archive.segment_size().bytes()),
            WalObject::Slice(slice) => Some(slice.bytes.clone()),
            WalObject::File(_) => None,
        }
    }

    /// What reaches beyond the offer is compared again when the rest is offered.
    fn remember_if_whole(&self, offer: &Offer, object: &WalObject) {
        match self.range(object) {
            Some(range) if offer.knows(&range) => {
                self.remember((offer.segment, range.start, range.end));
            }
            _ => {}
        }
    }

    fn has_begun(&self, segment: SegmentName) -> bool {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).contains(&segment)
    }

    fn begin(&self, segment: SegmentName) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(segment);
        while begun.len() > SEGMENTS_MAX {
            begun.pop_first();
        }
    }

    fn remember(&self, place: Place) {
        let mut agreed = self.remembered();
        if agreed.len() >= REMEMBERED_MAX {
            agreed.clear();
        }
        agreed.insert(place);
    }

    fn remembered(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Offer {
    /// Some of the segment's bytes; `None` where they are not all known.
    fn part(&self, range: &Range<u64>) -> Option<Bytes> {
        let (known_from, known) = self.known();
        let offset = |at: u64| usize::try_from(at.checked_sub(known_from)?).ok();
        let (start, end) = (offset(range.start)?, offset(range.end)?);
        (start <= end && end <= known.len()).then(|| known.slice(start..end))
    }

    const fn known(&self) -> (u64, &Bytes) {
        match &self.around {
            Some(Around { start, bytes }) => (*start, bytes),
            None => (self.range.start, &self.plain),
        }
    }

    const fn knows(&self, range: &Range<u64>) -> bool {
        let (start, bytes) = self.known();
        start <= range.start && range.end <= start + bytes.len() as u64
    }

    const fn place(&self) -> Place {
        (self.segment, self.range.start, self.range.end)
    }
}

/// Where, in bytes from the segment's beginning, bytes that begin at `start` first differ from what is known: all that is remembered as compared.
fn first_difference(offer: &Offer, start: u64, theirs: &[u8]) -> Option<u64> {
    let (known_from, known) = offer.known();
    let from = start.max(known_from);
    let (ours, theirs) = (behind(known, known_from, from)?, behind(theirs, start, from)?);
    let different = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs)?;
    Some(from + different as u64)
}

/// The part from `from` on of bytes that begin at `start`.
fn behind(bytes: &[u8], start: u64, from: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(from - start).ok()?..)
}

#[cfg(test)]
mod tests;
