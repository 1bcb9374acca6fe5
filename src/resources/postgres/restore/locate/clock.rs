//! Whether the server's clock was set back around a moment: then its time names others as well.

use std::ops::Range;

use futures_util::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

use super::{Around, Search};
use crate::pg::Lsn;
use crate::resources::postgres::restore::error::Result;
use crate::resources::postgres::restore::plan::ClockStep;

/// A commit takes its time before its place in the WAL, so that those of several sessions can be out of order by a little.
const OUT_OF_ORDER: SignedDuration = SignedDuration::from_secs(2);
/// How many pieces behind the moment are looked at for times before it.
const PIECES_BEYOND: usize = 64;

impl Search<'_> {
    /// A step back of the clock between the start of `wal` and a little behind the place that was found: a later commit with an earlier
    /// time than one before, so that the time that was asked for lies between the two.
    pub(super) async fn clock(&self, wal: &Range<Lsn>, around: &Around, time: Timestamp) -> Result<Option<ClockStep>> {
        let all = self.pieces.indexes(wal);
        let here = around.stop.as_ref().and_then(|stop| self.pieces.index_of(Lsn(stop.end.0 - 1))).unwrap_or(all.start);
        let end = all.end.min(here.saturating_add(1 + PIECES_BEYOND));
        let mut latest: Option<Timestamp> = None;
        let mut activities = std::pin::pin!(self.pieces.activities(all.start..end));
        while let Some((_, activity)) = activities.try_next().await? {
            let commits = [activity.first_commit, activity.last_commit];
            for commit in commits.into_iter().flatten() {
                match latest {
                    Some(before) if commit.time < before - OUT_OF_ORDER && commit.time <= time && time <= before => {
                        return Ok(Some(ClockStep { at: commit.lsn, before, after: commit.time }));
                    }
                    _ => latest = latest.max(Some(commit.time)),
                }
            }
            latest = latest.max(activity.latest);
        }
        Ok(None)
    }
}
