//! From received bytes to stored objects: pieces fill, slices and whole pieces go to the store, progress follows. Knows no server.
//!
//! Invariants: `stored` is the end of what the store has confirmed without a hole, and nothing else. A slice never begins behind that
//! end, so that no hole is left whichever of those on their way are stored. What was stored before this stream began is compared with
//! what comes before anything larger takes its place. While a full piece waits
//! until the store has room for it, nothing more is taken in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use super::agreement::Around;
use super::delay::Delays;
use super::gap::of_minimal_wal;
use super::known::Known;
use super::piece::{Piece, piece_bytes, piece_start, slice_of};
use super::progress::Progress;
use super::report::Report;
use super::slicing::{SliceRule, StoredSlice, merged, run_to_merge};
use super::start::Begin;
use super::under_way::{Purpose, Sent, UnderWay};
use super::uploader::{Finished, Upload, Uploader};
use super::{NotJoined, Result, joins};
use crate::pg::page::{check_first_page, check_segment};
use crate::pg::records::{Activity, Problem, Scanner};
use crate::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize};
use crate::repository::{Gap, GapCause, Slice, WalAbout, WalArchive, WalSource};
use crate::sys::clock;

/// A full piece.
#[derive(Debug)]
struct FullPiece {
    piece: Piece,
    /// Whether it is on its way to the store.
    under_way: bool,
}

/// One stream of WAL on its way into the store.
#[derive(Debug)]
pub(super) struct Inflow {
    archive: WalArchive,
    rule: SliceRule,
    uploader: Uploader,
    progress: Progress,
    scanner: Scanner,
    delays: Delays,
    known: Known,
    began: Lsn,
    /// The last record before the stream, as it is stored; none once the first one of the stream was compared with it.
    follows: Option<Lsn>,
    not_joined: Option<NotJoined>,
    /// Where the server's records do not follow one another, or go over to `wal_level = minimal`: recorded before anything more is stored.
    broken: Vec<Gap>,
    /// One of them is being recorded.
    recording: bool,
    /// Where pieces begin of which nothing is compared before all of it has come: the whole is stored, and cannot be read here.
    put_off: BTreeSet<Lsn>,
    /// The piece that is being filled.
    piece: Piece,
    /// Full pieces that are not stored yet, in order.
    full: VecDeque<FullPiece>,
    /// The slices of the pieces that are not stored, by where these begin.
    sliced: BTreeMap<Lsn, Vec<StoredSlice>>,
    under_way: UnderWay,
}

impl Inflow {
    /// A stream that begins at `begin`; `known` is what is stored already of the segments from there on.
    pub fn new(archive: &WalArchive, begin: Begin, known: Known, rule: SliceRule, report: &Report, delays: Delays) -> Self {
        let size = archive.segment_size();
        let mut inflow = Self {
            archive: archive.clone(),
            rule,
            uploader: Uploader::new(archive.clone(), report.clone()),
            progress: Progress::from(begin.lsn),
            scanner: Scanner::new(begin.lsn, size),
            delays,
            piece: Piece::new(begin.timeline, begin.lsn, size),
            full: VecDeque::new(),
            sliced: BTreeMap::new(),
            under_way: UnderWay::new(clock::instant()),
            known,
            began: begin.lsn,
            follows: None,
            not_joined: None,
            broken: Vec::new(),
            recording: false,
            put_off: BTreeSet::new(),
        };
        inflow.piece.sliced_to(inflow.known.end(begin.lsn));
        inflow
    }

    /// The stream has to go on behind the record at `stored`, if that is known.
    #[must_use]
    pub fn following(mut self, stored: Option<Lsn>) -> Self {
        self.follows = stored;
        self
    }

    /// The delays from commit to stored.
    pub const fn delays(&mut self) -> &mut Delays {
        &mut self.delays
    }

    /// Whether slices go out at once.
    pub const fn is_synchronous(&self) -> bool {
        self.rule.synchronous
    }

    /// The end of what was taken in.
    pub fn received(&self) -> Lsn {
        self.piece.received()
    }

    /// The end of the contiguous stored prefix.
    pub const fn stored(&self) -> Lsn {
        self.progress.end()
    }

    /// The same in the history of a server that left the timeline at `switch`: half a record behind that may have come, and be stored.
    pub fn stored_before(&self, switch: Lsn) -> Lsn {
        self.stored().min(switch)
    }

    /// The timeline ends there in the server's history.
    pub fn ends_at(&self, end: Lsn) {
        self.uploader.ends_at(end);
    }

    /// Whether all that was taken in is stored, or was stored before.
    pub fn is_settled(&self) -> bool {
        let recorded = self.broken.is_empty() && !self.uploader.is_busy();
        recorded && self.full.is_empty() && self.piece.unsliced().is_none()
    }

    /// Whether more may be taken in.
    pub fn has_room(&self) -> bool {
        self.full.iter().all(|full| full.under_way)
    }

    /// Takes in the next bytes.
    pub fn take(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            // Cut where a known slice ends, so that what happens in it is told apart.
            let until = self.known.next_end(self.received()).bytes_since(self.received());
            let part = &bytes[..bytes.len().min(usize::try_from(until).unwrap_or(usize::MAX))];
            let taken = self.piece.take(part, now);
            self.scanner.feed(&part[..taken]);
            let activity = self.scanner.take_activity();
            self.broken.extend(of_minimal_wal(self.piece.timeline, &activity));
            if self.received() > self.known_end() {
                self.delays.arrived(&activity);
            }
            self.piece.happened(activity);
            self.follow_records();
            bytes = &bytes[taken..];
            if self.known.ends_at(self.received()) {
                self.known.happened(self.received(), &self.piece.take_fresh_activity());
            }
            if self.piece.is_full() {
                self.turn();
            }
        }
    }

    /// Sees whether the records that were just taken in follow one another, and what is stored.
    fn follow_records(&mut self) {
        if self.follows.is_some() && self.piece.activity().first_record.is_some() {
            self.not_joined = joins::check(self.piece.segment(), self.piece.activity(), self.follows.take()).err();
        }
        // Behind a switch that lies before the stream the rest of the segment is empty.
        let switched = |problem: &Problem| problem.lsn == self.began && self.size().offset(self.began) != 0;
        let found = self.scanner.problem().copied().filter(|problem| !switched(problem));
        self.scanner.forget_problem();
        let Some(problem) = found else { return };
        tracing::error!(timeline = %self.piece.timeline, "the server's WAL is broken, nothing can be recovered across this place: {problem}");
        let end = SegmentNumber::before(self.received(), self.size()).end(self.size());
        let (timeline, start, cause, noticed_at) = (self.piece.timeline, problem.lsn, GapCause::BrokenRecords, clock::now());
        self.broken.push(Gap { timeline, start, end, cause, noticed_at });
    }

    /// The piece is full: the next one begins.
    fn turn(&mut self) {
        let mut next = Piece::new(self.piece.timeline, self.piece.end(), self.size());
        next.sliced_to(self.known.end(next.start()));
        let piece = std::mem::replace(&mut self.piece, next);
        self.full.push_back(FullPiece { piece, under_way: false });
    }

    const fn size(&self) -> SegmentSize {
        self.archive.segment_size()
    }

    /// The end of what was stored, before this stream began, of the segment that is being filled.
    pub fn known_end(&self) -> Lsn {
        self.known.end(self.piece.start())
    }

    /// The piece with the first bytes of which no slice was made, if all before them is stored or compared.
    fn first_unsliced(&self) -> Option<&Piece> {
        let pieces = self.full.iter().map(|full| &full.piece).chain([&self.piece]);
        let piece = pieces.into_iter().find(|piece| piece.unsliced().is_some())?;
        Some(piece).filter(|piece| piece.start() <= self.stored() && self.known.is_confirmed_before(piece.end()))
    }

    fn piece_at(&mut self, start: Lsn) -> &mut Piece {
        let full = self.full.iter_mut().map(|full| &mut full.piece).find(|piece| piece.start() == start);
        full.unwrap_or(&mut self.piece)
    }

    /// When the next slice is due; none while the store has enough to do.
    pub fn due(&self) -> Option<Instant> {
        if self.recording {
            return None;
        }
        let piece = self.first_unsliced().filter(|piece| self.uploader.has_room_for(piece.len()))?;
        self.under_way.due(self.rule, piece.unsliced_since()?, piece.received().bytes_since(self.stored()))
    }

    /// Begins every upload that is due, with `at_once` also what could wait.
    ///
    /// # Errors
    /// When a full segment is not what it should be, or does not go on where the stored ones end: nothing of it is stored then.
    pub fn start_uploads(&mut self, now: Instant, at_once: bool) -> Result<()> {
        if let Some(broken) = &self.not_joined {
            return Err(broken.clone().into());
        }
        self.record_next();
        if self.recording {
            return Ok(());
        }
        self.confirm();
        for index in 0..self.full.len() {
            let FullPiece { piece, under_way } = &self.full[index];
            let ready = self.known.is_confirmed_before(piece.end()) && self.uploader.has_room_for(piece.len());
            if !under_way && ready {
                self.put_piece(index)?;
            }
        }
        if self.due().is_some_and(|due| at_once || due <= now) {
            self.put_slice(now);
        }
        self.merge();
        Ok(())
    }

    /// Begins to record the next place that leads nowhere, with what has come around it: if a clone wrote that, something else is stored there.
    fn record_next(&mut self) {
        if self.recording || self.broken.is_empty() {
            return;
        }
        let gap = self.broken.remove(0);
        let piece = piece_start(gap.start, self.size());
        let piece = self.piece_at(piece);
        let range = piece.start()..piece.received();
        let own = piece.part(&range).filter(|bytes| !bytes.is_empty()).map(|bytes| (piece.slice(&range), bytes));
        self.recording = true;
        self.uploader.record(gap, own);
    }

    /// Offers the next slice that was stored before: the store answers whether it holds the same bytes.
    fn confirm(&mut self) {
        if !self.under_way.is_empty() {
            return;
        }
        let Some(slice) = self.known.next_to_confirm().cloned() else { return };
        let (size, awaited) = (self.size(), self.known.compared_from(slice.range.start));
        let start = piece_start(slice.range.start, size);
        let piece = self.piece_at(start);
        if piece.start() != start || piece.received() < awaited.min(piece.end()) {
            return;
        }
        let Some(bytes) = piece.part(&slice.range) else { return };
        let (name, start) = (piece.slice(&slice.range), size.offset(start));
        let around = piece.part(&(piece.start()..piece.received())).map(|bytes| Around { start, bytes });
        self.begin_slice(name, (bytes, around), slice, Purpose::Compare);
    }

    /// Stores what no slice was made of yet, and with it what is still on its way.
    fn put_slice(&mut self, now: Instant) {
        let Some((start, new)) = self.first_unsliced().and_then(|piece| Some((piece.start(), piece.unsliced()?))) else { return };
        let range = self.stored().max(start).min(new.start)..new.end;
        let piece = self.piece_at(start);
        let Some(bytes) = piece.part(&range) else { return };
        let fresh = piece.take_fresh_activity();
        piece.sliced_to(range.end);
        let name = piece.slice(&range);
        let slice = self.under_way.new_slice(range, fresh, now);
        self.begin_slice(name, (bytes, None), slice, Purpose::New);
    }

    /// Stores the slices that it is time to merge as one, which no commit waits for.
    fn merge(&mut self) {
        let start = self.piece.start();
        let waits = self.under_way.has(Purpose::Merge) || self.put_off.contains(&start);
        let Some(stored) = self.sliced.get(&start).filter(|_| !waits) else { return };
        let Some(slice) = run_to_merge(stored).and_then(|run| merged(&stored[stored.len() - run..])) else { return };
        let Some(bytes) = self.piece.part(&slice.range).filter(|bytes| self.uploader.has_room_for(bytes.len())) else { return };
        let name = self.piece.slice(&slice.range);
        self.begin_slice(name, (bytes, None), slice, Purpose::Merge);
    }

    fn begin_slice(&mut self, name: Slice, bytes: (Bytes, Option<Around>), slice: StoredSlice, purpose: Purpose) {
        let range = slice.range.clone();
        let about = self.about(&range, &slice.activity);
        self.under_way.send(slice, purpose);
        self.uploader.put(Upload::Slice(name), range, bytes, about);
    }

    fn put_piece(&mut self, index: usize) -> Result<()> {
        let piece = &self.full[index].piece;
        let (segment, range) = (piece.segment(), piece.start()..piece.end());
        let Some(bytes) = piece.part(&range) else { return Ok(()) };
        let (size, system) = (self.size(), Some(self.archive.system_id()));
        let upload = if piece.is_segment() {
            check_segment(&bytes, segment, size, system)?;
            Upload::Segment(segment)
        } else {
            if piece.begins_segment() {
                check_first_page(&bytes, segment, size, system)?;
            }
            Upload::Piece(piece.slice(&range))
        };
        let about = self.about(&range, piece.activity());
        self.full[index].under_way = true;
        self.uploader.put(upload, range, (bytes, None), about);
        Ok(())
    }

    fn about(&self, range: &Range<Lsn>, activity: &Activity) -> WalAbout {
        let (start, end) = (Some(range.start), Some(range.end));
        let activity = Some(activity.clone());
        WalAbout { system_id: self.archive.system_id(), source: WalSource::Streaming, start, end, activity }
    }

    /// Waits until an upload is finished, and notes it. True if the stored prefix became longer. For ever if nothing is under way.
    /// Cancelling loses nothing.
    ///
    /// # Errors
    /// As `Uploader::finished`.
    pub async fn finished(&mut self) -> Result<bool> {
        let finished = self.uploader.finished().await?;
        let is_wal = !matches!(finished.upload, Upload::Delete | Upload::Gap);
        let before = self.stored();
        let advanced = is_wal && !finished.is_put_off && self.progress.stored(&finished.range);
        self.digest(finished, before);
        if advanced {
            self.delays.stored(self.progress.end(), clock::now());
        }
        Ok(advanced)
    }

    /// `before`: the end of what was stored before this was.
    fn digest(&mut self, finished: Finished, before: Lsn) {
        tracing::debug!(upload = ?finished.upload, took = ?finished.took, stored = %self.stored(), "finished");
        let mut obsolete = match finished.upload {
            Upload::Slice(name) if finished.is_put_off => {
                self.under_way.take(&finished.range, before, finished.took);
                self.put_off(name, finished.range.start)
            }
            Upload::Slice(name) => match self.under_way.take(&finished.range, before, finished.took) {
                Some(sent) => self.slice_stored(name, sent, before),
                None => Vec::new(),
            },
            Upload::Segment(_) | Upload::Piece(_) => self.piece_stored(finished.range.start),
            Upload::Delete => Vec::new(),
            Upload::Gap => {
                self.recording = false;
                Vec::new()
            }
        };
        obsolete.retain(|slice| !self.is_kept(slice));
        self.uploader.delete(obsolete);
    }

    /// Whether a slice is a whole piece of a large segment: it is stored under this very name for good, whatever else it was made for.
    const fn is_kept(&self, slice: &Slice) -> bool {
        let size = self.size();
        piece_bytes(size) < size.bytes() && slice.bytes.end - slice.bytes.start >= piece_bytes(size)
    }

    /// Notes a slice that is stored now, and returns those that are not needed any more.
    fn slice_stored(&mut self, name: Slice, sent: Sent, before: Lsn) -> Vec<Slice> {
        let Sent { slice, purpose } = sent;
        self.known.confirmed(&slice.range);
        let size = self.size();
        let piece = piece_start(slice.range.start, size);
        // The whole piece may have been faster, or a slice that was sent later.
        let is_gone = self.piece.start() != piece && !self.full.iter().any(|full| full.piece.start() == piece);
        if is_gone || purpose == Purpose::New && slice.range.end <= before {
            return vec![name];
        }
        let slices = self.sliced.entry(piece).or_default();
        let range = slice.range.clone();
        let is_in =
            |other: &StoredSlice| purpose == Purpose::Merge && range.start <= other.range.start && other.range.end <= range.end;
        let (replaced, kept): (Vec<_>, Vec<_>) = std::mem::take(slices).into_iter().partition(is_in);
        let behind = kept.partition_point(|other| other.range.end <= slice.range.end);
        *slices = kept;
        slices.insert(behind, slice);
        replaced.into_iter().map(|slice| slice_of(name.segment, &slice.range, size)).collect()
    }

    /// Makes no more slices of a piece, and compares none; returns those that are not needed any more.
    fn put_off(&mut self, name: Slice, at: Lsn) -> Vec<Slice> {
        let (size, start) = (self.size(), piece_start(at, self.size()));
        let piece = self.piece_at(start);
        if piece.start() != start {
            return vec![name]; // the whole was faster
        }
        let end = piece.end();
        piece.sliced_to(end);
        if self.put_off.insert(start) {
            let hint = "where commits wait for that, SELECT pg_switch_wal() on the server completes it";
            tracing::info!(hint, segment = %name.segment, %start, %end, "is stored whole, and is compared when all of it has come");
        }
        self.known.leave_to_whole(&(start..end), name, size);
        Vec::new()
    }

    /// Notes a piece that is stored as a whole now, and returns its slices.
    fn piece_stored(&mut self, start: Lsn) -> Vec<Slice> {
        self.put_off.remove(&start);
        self.full.retain(|full| full.piece.start() != start);
        let size = self.size();
        let segment = SegmentName::new(self.piece.timeline, SegmentNumber::containing(start, size), size);
        let slices = self.sliced.remove(&start).unwrap_or_default();
        let name = |slice: StoredSlice| slice_of(segment, &slice.range, size);
        slices.into_iter().map(name).chain(self.known.take_leftover(start)).collect()
    }

    /// Lets what is on its way come to its end: who has put something that contradicts what others stored takes it back then.
    pub async fn come_to_rest(&mut self) {
        while self.uploader.is_busy() {
            if let Err(error) = self.uploader.finished().await {
                tracing::debug!("not stored: {error}");
            }
        }
    }

    /// Stores all that was taken in.
    ///
    /// # Errors
    /// As `start_uploads` and `finished`.
    pub async fn settle(&mut self) -> Result<()> {
        loop {
            self.start_uploads(clock::instant(), true)?;
            if self.is_settled() {
                return Ok(());
            }
            self.finished().await?;
        }
    }
}

#[cfg(test)]
mod tests;
