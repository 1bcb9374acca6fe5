//! Finding where a target lies in the stored WAL: by the headers of its pieces, and then by the records of the few that matter.
//!
//! The server stops at the first commit or rollback past a time that it meets, from the start of its backup on, whatever comes later. So
//! does the search: where a clock was set back, a time can name several moments, and the plan says so.

mod clock;
mod joints;
mod pieces;
mod records;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use jiff::Timestamp;

use super::error::Result;
use super::plan::{Located, Route};
use crate::pg::Lsn;
use crate::pg::records::{Activity, Commit};
use crate::pg::recovery::RecoveryTarget;
use crate::repository::WalArchive;

use pieces::Pieces;
use records::{Finding, Records};

/// How many pieces are read in search of a transaction.
const PIECES_READ_FOR_XID: usize = 64;
/// How many pieces before a place are looked at for the last commit before it.
const PIECES_LOOKED_BACK: usize = 512;

/// Looks for a route's target.
///
/// # Errors
/// When the store fails or an object is damaged.
pub async fn locate(archive: &WalArchive, route: &Route) -> Result<Located> {
    let search = Search { pieces: Pieces::new(archive, route), route, damaged: AtomicBool::new(false) };
    let last = search.last_commit_before(search.pieces.len()).await?;
    let located = Located { last, damaged: search.damaged.load(Ordering::Relaxed), ..Located::default() };
    let located = match &route.wanted.target {
        RecoveryTarget::Immediate => located,
        RecoveryTarget::EndOfWal => search.end(located).await?,
        RecoveryTarget::Lsn(lsn) => search.lsn(*lsn, located).await?,
        // These pass all headers on their way.
        RecoveryTarget::Time(time) => return search.time(*time, located).await,
        RecoveryTarget::Name(name) => return search.name(name, located).await,
        RecoveryTarget::Xid(xid) => search.xid(*xid, located).await?,
    };
    search.follow_records(located.stop.as_ref()).await?;
    Ok(located)
}

/// Up to where a restore can get before a hole that begins at `hole`: the end of the last record that is whole.
///
/// # Errors
/// When the store fails.
pub async fn reachable_before(archive: &WalArchive, route: &Route, hole: Lsn) -> Result<Lsn> {
    let Some(stretch) = route.stretch_at(hole) else { return Ok(hole) };
    match Pieces::new(archive, route).last_record(stretch).await {
        Ok(last) => Ok(last.map_or(hole, |record| record.end.min(hole))),
        Err(error) if error.is_damage() => Ok(hole),
        Err(error) => Err(error),
    }
}

struct Search<'a> {
    pieces: Pieces<'a>,
    route: &'a Route,
    /// Whether anything that was passed over is damaged.
    damaged: AtomicBool,
}

impl Search<'_> {
    /// The last commit in the pieces before number `end` of the route, as far as they can be read: what is damaged matters to targets
    /// behind it alone.
    async fn last_commit_before(&self, end: usize) -> Result<Option<Commit>> {
        for index in (0..end).rev().take(PIECES_LOOKED_BACK) {
            match self.pieces.activity(index).await {
                Ok(Activity { last_commit: Some(commit), .. }) => return Ok(Some(commit)),
                Err(error) if !error.is_damage() => return Err(error),
                Err(_) => self.damaged.store(true, Ordering::Relaxed),
                Ok(_) => {}
            }
        }
        Ok(None)
    }

    /// The last commit in a stretch, whose last piece can go on behind it: behind a place that recovery does not pass.
    async fn last_commit_in(&self, stretch: &Range<Lsn>) -> Result<Option<Commit>> {
        let pieces = self.pieces.indexes(stretch);
        match self.last_commit_before(pieces.end).await? {
            Some(commit) if commit.end > stretch.end => {
                Ok(self.around(pieces.end - 1, |commit| commit.end > stretch.end).await?.before)
            }
            last => Ok(last),
        }
    }

    /// Passes the headers from the start of the backup that fits to the place to stop: where records do not follow one another, recovery
    /// would end sooner and say nothing.
    async fn follow_records(&self, stop: Option<&Range<Lsn>>) -> Result<()> {
        let fits = |backup: &crate::repository::BackupEntry| stop.is_none_or(|stop| backup.postgres().stop_lsn <= stop.start);
        let Some((backup, stretch)) = self.route.bases().find(|(backup, _)| fits(backup)) else { return Ok(()) };
        let start = backup.postgres().start_lsn;
        let end = match (&self.route.wanted.target, stop) {
            (RecoveryTarget::Immediate, _) => backup.postgres().stop_lsn,
            (_, stop) => stop.map_or(stretch.end, |stop| stop.end.min(stretch.end)),
        };
        let mut activities = std::pin::pin!(self.pieces.activities(self.pieces.indexes(&(start..end))));
        while activities.try_next().await?.is_some() {}
        Ok(())
    }

    /// The end of what is stored; where a hole follows, also the last record before it.
    async fn end(&self, located: Located) -> Result<Located> {
        let (before, stretch) = (located.last, self.route.bases().next().map(|(_, stretch)| stretch));
        let last_record = match stretch {
            Some(stretch) => self.pieces.last_record(stretch).await?,
            None => None,
        };
        Ok(Located { before, last_record, ..located })
    }

    /// The server stops at the first record that begins at or past the position.
    async fn lsn(&self, lsn: Lsn, located: Located) -> Result<Located> {
        let Some(stretch) = self.route.stretch_at(lsn) else {
            let last_record = match self.route.stretches.last().filter(|last| last.end < lsn) {
                Some(last) => self.pieces.last_record(last).await?,
                None => None,
            };
            return Ok(Located { last_record, ..located });
        };
        let Some(stop) = self.pieces.first_record(lsn, stretch).await? else {
            let last_record = self.pieces.last_record(stretch).await?;
            let before = self.last_commit_in(stretch).await?;
            return Ok(Located { before, last_record, ..located });
        };
        let exclusive = self.route.wanted.exclusive;
        let around = match self.pieces.index_of(Lsn(stop.end.0 - 1)) {
            Some(index) => self.around(index, |it| it.lsn > stop.start || (exclusive && it.lsn == stop.start)).await?,
            None => Around::default(),
        };
        Ok(Located { before: around.before, after: around.after, stop: Some(stop), ..located })
    }

    /// The server stops before the first commit or rollback that is later than the time; exclusively, also before one at the time.
    async fn time(&self, time: Timestamp, located: Located) -> Result<Located> {
        let exclusive = self.route.wanted.exclusive;
        let passes = |at: Timestamp| if exclusive { at >= time } else { at > time };
        let bases: Vec<_> = self.route.bases().collect();
        let mut found = located.clone();
        for (backup, stretch) in &bases[self.first_base(&bases, &passes).await?..] {
            let detail = backup.postgres();
            let wal = detail.start_lsn..stretch.end;
            let Some(around) = self.crossing(&wal, &passes).await? else {
                let (hole, last_record) = (self.route.hole_behind(stretch), self.pieces.last_record(stretch).await?);
                let before = self.last_commit_in(stretch).await?;
                return Ok(Located { before, hole, last_record, ..located });
            };
            let is_consistent = around.stop.as_ref().is_some_and(|stop| detail.stop_lsn <= stop.start);
            let too_late = around.before.is_some_and(|before| passes(before.time));
            found = Located { clock: self.clock(&wal, &around, time).await?, ..around.located(&located) };
            if is_consistent && !too_late {
                return Ok(found);
            }
        }
        Ok(found)
    }

    /// The newest of the bases that the last commit before it does not show to be too late, by halving.
    async fn first_base(&self, bases: &[Base<'_>], passes: impl Fn(Timestamp) -> bool) -> Result<usize> {
        let (mut low, mut high) = (0, bases.len().saturating_sub(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let begins = self.pieces.index_of(bases[middle].0.postgres().start_lsn).unwrap_or(0);
            match self.last_commit_before(begins).await? {
                Some(commit) if passes(commit.time) => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// What lies around the first commit or rollback that passes in a stretch of WAL.
    async fn crossing(&self, wal: &Range<Lsn>, passes: impl Fn(Timestamp) -> bool) -> Result<Option<Around>> {
        let mut activities = std::pin::pin!(self.pieces.activities(self.pieces.indexes(wal)));
        while let Some((index, activity)) = activities.try_next().await? {
            if activity.latest.is_some_and(&passes) {
                let around = self.around(index, |commit| commit.lsn >= wal.start && passes(commit.time)).await?;
                if around.stop.is_some() {
                    return Ok(Some(around));
                }
            }
        }
        Ok(None)
    }

    /// The server stops at the commit of a transaction, or at its rollback (`recoveryStopsBefore`). Both rise with transaction ids only
    /// roughly: the search begins where such ids begin to be committed, and goes some way in both directions. What it does not find there
    /// it does not deny.
    async fn xid(&self, xid: u32, located: Located) -> Result<Located> {
        let mut low = 0;
        let mut high = self.pieces.len();
        while low < high {
            let middle = low + (high - low) / 2;
            // Of a piece without a commit the one before it tells.
            match self.last_commit_before(middle + 1).await? {
                Some(commit) if follows_or_is(commit.xid, xid) => high = middle,
                _ => low = middle + 1,
            }
        }
        let (begin, end) =
            (low.saturating_sub(PIECES_READ_FOR_XID), self.pieces.len().min(low.saturating_add(PIECES_READ_FOR_XID)));
        for index in (low..end).chain((begin..low).rev()) {
            let around = self.around(index, |commit| commit.xid == xid).await?;
            if let Some(stop) = around.stop.clone() {
                return self.at_end_of_transaction(index, &stop, around, located).await;
            }
        }
        Ok(Located { search_cut_short: begin > 0 || end < self.pieces.len(), ..located })
    }

    /// `at` has the commit behind it. A rollback lies between two commits, whether it is replayed or not; the one behind it can begin where it ends.
    async fn at_end_of_transaction(&self, index: usize, stop: &Range<Lsn>, at: Around, located: Located) -> Result<Located> {
        if self.route.wanted.exclusive && at.after.is_some() {
            return Ok(at.located(&located));
        }
        let beyond = self.around(index, |commit| commit.lsn >= stop.end).await?;
        Ok(Located { before: at.after.or(at.before), after: beyond.after, ..at.located(&located) })
    }

    async fn name(&self, name: &str, located: Located) -> Result<Located> {
        let mut found: Vec<(usize, Range<Lsn>, Timestamp)> = Vec::new();
        let mut activities = std::pin::pin!(self.pieces.activities(0..self.pieces.len()));
        loop {
            let (index, activity) = match activities.try_next().await {
                Ok(Some(read)) => read,
                Ok(None) => break,
                // Behind a point that was found: whether there is another of that name is not known, and does not matter to recovery.
                Err(error) if error.is_damage() && !found.is_empty() => break,
                Err(error) => return Err(error),
            };
            let points = match activity.restore_points_omitted {
                0 => activity.restore_points,
                _ => self.points_of(index).await?,
            };
            let named = points.into_iter().filter(|point| point.name == name);
            found.extend(named.map(|point| (index, point.lsn..point.end, point.time)));
        }
        let named = found.iter().map(|(_, range, _)| range.start).collect();
        let Some((index, stop, time)) = found.into_iter().next() else { return Ok(located) };
        let around = self.around(index, |commit| commit.lsn > stop.start).await?;
        let (before, after) = (around.before, around.after);
        Ok(Located { before, after, stop: Some(stop), stop_time: Some(time), named, ..located })
    }

    async fn points_of(&self, index: usize) -> Result<Vec<crate::pg::records::RestorePoint>> {
        let records = self.pieces.records(index).await?;
        let point = |finding: Finding| match finding {
            Finding::RestorePoint(point) => Some(point),
            _ => None,
        };
        Ok(records.filter_map(point).collect())
    }

    /// The first commit in a piece of which `is_after` is true, and the last commit before it. A rollback counts too, as a place to stop.
    async fn around(&self, index: usize, is_after: impl Fn(&Commit) -> bool) -> Result<Around> {
        let mut around = Around::default();
        let records: Records = self.pieces.records(index).await?;
        for finding in records {
            let (commit, is_commit) = match finding {
                Finding::Commit(commit) => (commit, true),
                Finding::Rollback { end, time, xid } => (Commit { lsn: end, end, time, xid }, false),
                Finding::RestorePoint(_) => continue,
            };
            match (is_after(&commit), is_commit) {
                (true, true) => {
                    around.after = Some(commit);
                    around.stop_at(&commit);
                    break;
                }
                (true, false) => around.stop_at(&commit),
                (false, true) if around.stop.is_none() => around.before = Some(commit),
                (false, _) => {}
            }
        }
        if around.before.is_none() {
            around.before = self.last_commit_before(index).await?;
        }
        Ok(around)
    }
}

/// A backup, and the stretch in which it can be replayed.
type Base<'a> = (&'a crate::repository::BackupEntry, &'a Range<Lsn>);

/// What lies around a place.
#[derive(Default)]
struct Around {
    before: Option<Commit>,
    after: Option<Commit>,
    stop: Option<Range<Lsn>>,
    stop_time: Option<Timestamp>,
}

impl Around {
    fn stop_at(&mut self, commit: &Commit) {
        if self.stop.is_none() {
            (self.stop, self.stop_time) = (Some(commit.lsn..commit.end), Some(commit.time));
        }
    }

    fn located(self, known: &Located) -> Located {
        let Self { before, after, stop, stop_time } = self;
        Located { before, after, stop, stop_time, ..known.clone() }
    }
}

/// Transaction ids are compared on a circle (`TransactionIdFollowsOrEquals`).
#[allow(clippy::cast_possible_wrap)] // that is the point
const fn follows_or_is(xid: u32, other: u32) -> bool {
    xid.wrapping_sub(other) as i32 >= 0
}
