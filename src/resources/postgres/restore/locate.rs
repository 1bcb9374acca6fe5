//! Finding where a target lies in the stored WAL: by the headers of segments, and then by the records of the few that matter.
//!
//! Times are taken to rise with positions, as they do unless a clock was set back; where one was, the server may stop at an earlier
//! commit past the time, and says so.

mod records;
mod segments;

use std::ops::Range;

use jiff::Timestamp;

use super::error::Result;
use super::plan::{Located, Route};
use crate::pg::Lsn;
use crate::pg::records::Commit;
use crate::pg::recovery::RecoveryTarget;
use crate::repository::WalArchive;

use records::{Finding, Records};
use segments::Segments;

/// How many segments are read in search of a transaction.
const SEGMENTS_READ_FOR_XID: usize = 64;
/// How many segments before a place are looked at for the last commit before it.
const SEGMENTS_LOOKED_BACK: usize = 512;

/// Looks for a route's target.
///
/// # Errors
/// When the store fails or an object is damaged.
pub async fn locate(archive: &WalArchive, route: &Route) -> Result<Located> {
    let search = Search { segments: Segments::new(archive, route) };
    let last = search.last_commit().await?;
    let located = Located { last, ..Located::default() };
    match &route.wanted.target {
        RecoveryTarget::Immediate => Ok(Located { before: None, ..located }),
        RecoveryTarget::EndOfWal => Ok(Located { before: last, ..located }),
        RecoveryTarget::Lsn(lsn) => search.around_lsn(*lsn, located).await,
        RecoveryTarget::Time(time) => search.time(*time, route.wanted.exclusive, located).await,
        RecoveryTarget::Xid(xid) => search.xid(*xid, route.wanted.exclusive, located).await,
        RecoveryTarget::Name(name) => search.name(name, located).await,
    }
}

struct Search<'a> {
    segments: Segments<'a>,
}

impl Search<'_> {
    /// The last commit on the route.
    async fn last_commit(&self) -> Result<Option<Commit>> {
        self.last_commit_before(self.segments.len()).await
    }

    /// The last commit in the segments before number `end` of the route.
    async fn last_commit_before(&self, end: usize) -> Result<Option<Commit>> {
        for index in (0..end).rev().take(SEGMENTS_LOOKED_BACK) {
            if let Some(commit) = self.segments.activity(index).await?.last_commit {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    async fn around_lsn(&self, lsn: Lsn, located: Located) -> Result<Located> {
        let records_end = self.segments.records_end().await?;
        let located = Located { records_end, ..located };
        let Some(index) = self.segments.index_of(lsn) else { return Ok(located) };
        let around = self.around(index, |commit| commit.lsn > lsn).await?;
        Ok(Located { before: around.before, after: around.after, ..located })
    }

    /// The server stops before the first commit or rollback that is later than the time; exclusively, also before one at the time.
    async fn time(&self, time: Timestamp, exclusive: bool, located: Located) -> Result<Located> {
        let passes = |at: Timestamp| if exclusive { at >= time } else { at > time };
        let Some(first) = self.first_segment_past(passes).await? else {
            return Ok(Located { before: located.last, ..located });
        };
        for index in first..self.segments.len() {
            let around = self.around(index, |commit| passes(commit.time)).await?;
            if around.stop.is_some() {
                return Ok(Located { before: around.before, after: around.after, stop: around.stop, ..located });
            }
        }
        Ok(Located { before: located.last, ..located })
    }

    /// The first segment with a time that passes, by halving; segments without any are stepped over.
    async fn first_segment_past(&self, passes: impl Fn(Timestamp) -> bool) -> Result<Option<usize>> {
        let (mut low, mut high, mut found) = (0, self.segments.len(), None);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_with_time(middle..high).await? {
                None => high = middle,
                Some((index, latest)) if passes(latest) => (found, high) = (Some(index), middle),
                Some((index, _)) => low = index + 1,
            }
        }
        Ok(found)
    }

    async fn first_with_time(&self, range: Range<usize>) -> Result<Option<(usize, Timestamp)>> {
        for index in range {
            if let Some(latest) = self.segments.activity(index).await?.latest {
                return Ok(Some((index, latest)));
            }
        }
        Ok(None)
    }

    /// Commits rise with transaction ids only roughly: the search begins where such ids begin to be committed.
    async fn xid(&self, xid: u32, exclusive: bool, located: Located) -> Result<Located> {
        let mut low = 0;
        let mut high = self.segments.len();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.segments.activity(middle).await?.last_commit {
                Some(commit) if follows_or_is(commit.xid, xid) => high = middle,
                _ => low = middle + 1,
            }
        }
        let end = self.segments.len().min(low.saturating_add(SEGMENTS_READ_FOR_XID));
        for index in low..end {
            let around = self.around(index, |commit| commit.xid == xid).await?;
            if let Some(stop) = around.stop.clone() {
                return self.at_commit(index, &stop, exclusive, around, located).await;
            }
        }
        Ok(Located { search_cut_short: end < self.segments.len(), ..located })
    }

    async fn at_commit(&self, index: usize, stop: &Range<Lsn>, exclusive: bool, at: Around, located: Located) -> Result<Located> {
        if exclusive {
            return Ok(Located { before: at.before, after: at.after, stop: at.stop, ..located });
        }
        let beyond = self.around(index, |commit| commit.lsn > stop.start).await?;
        Ok(Located { before: at.after, after: beyond.after, stop: at.stop, ..located })
    }

    async fn name(&self, name: &str, located: Located) -> Result<Located> {
        let mut found: Vec<(usize, Range<Lsn>)> = Vec::new();
        for index in 0..self.segments.len() {
            let activity = self.segments.activity(index).await?;
            let points = match activity.restore_points_omitted {
                0 => activity.restore_points,
                _ => self.points_of(index).await?,
            };
            let named = points.into_iter().filter(|point| point.name == name);
            found.extend(named.map(|point| (index, point.lsn..point.end)));
        }
        let named = found.iter().map(|(_, range)| range.start).collect();
        let Some((index, stop)) = found.into_iter().next() else { return Ok(located) };
        let around = self.around(index, |commit| commit.lsn > stop.start).await?;
        Ok(Located { before: around.before, after: around.after, stop: Some(stop), named, ..located })
    }

    async fn points_of(&self, index: usize) -> Result<Vec<crate::pg::records::RestorePoint>> {
        let records = self.segments.records(index).await?;
        let point = |finding: Finding| match finding {
            Finding::RestorePoint(point) => Some(point),
            _ => None,
        };
        Ok(records.filter_map(point).collect())
    }

    /// The first commit in a segment of which `is_after` is true, and the last commit before it. A rollback counts by its time alone.
    async fn around(&self, index: usize, is_after: impl Fn(&Commit) -> bool) -> Result<Around> {
        let mut around = Around::default();
        let records: Records = self.segments.records(index).await?;
        for finding in records {
            let (commit, is_commit) = match finding {
                Finding::Commit(commit) => (commit, true),
                Finding::Rollback { end, time } => (Commit { lsn: end, end, time, xid: 0 }, false),
                Finding::RestorePoint(_) => continue,
            };
            match (is_after(&commit), is_commit) {
                (true, true) => {
                    around.after = Some(commit);
                    around.stop.get_or_insert(commit.lsn..commit.end);
                    break;
                }
                (true, false) => {
                    around.stop.get_or_insert(commit.lsn..commit.end);
                }
                (false, true) => around.before = Some(commit),
                (false, false) => {}
            }
        }
        if around.before.is_none() {
            around.before = self.last_commit_before(index).await?;
        }
        Ok(around)
    }
}

/// What lies around a place.
#[derive(Default)]
struct Around {
    before: Option<Commit>,
    after: Option<Commit>,
    stop: Option<Range<Lsn>>,
}

/// Transaction ids are compared on a circle (`TransactionIdFollowsOrEquals`).
#[allow(clippy::cast_possible_wrap)] // that is the point
const fn follows_or_is(xid: u32, other: u32) -> bool {
    xid.wrapping_sub(other) as i32 >= 0
}
