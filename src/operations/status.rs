//! What is proven of a cluster: to which moments it can be restored, from what lies in the repository alone.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use super::running_backup::{RunningBackup, running_backup};
use super::windows::{BackupFacts, LeftBehind, TimelineFacts, Window, left_behind, newest_stored, windows};
use crate::pg::history::TimelineHistory;
use crate::pg::records::Commit;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SystemId, TimelineId, WalFileName};
use crate::repository::{
    BackupEntry, Conflict, Damaged, Error, Gap, Repository, ResourceName, Result, WalAbout, WalArchive, WalObject,
};
use crate::resources::postgres::archive::coverage::{cut, range_of, stored_through_noting, was_filled};
use crate::resources::postgres::restore::gather::histories;
use crate::sys::clock;

/// What the repository proves about a cluster.
#[derive(Debug, Serialize)]
pub struct ClusterStatus {
    /// The cluster.
    pub resource: ResourceName,
    /// Its system identifier.
    pub system_id: SystemId,
    /// When this was found out.
    pub proven_at: Timestamp,
    /// The spans it can be restored to, by their ends: that on the newest timeline, or of one timeline that of the highest position, is the last.
    pub windows: Vec<Window>,
    /// The newest timeline of which WAL is stored.
    pub newest_timeline: Option<TimelineId>,
    /// The last stored commit that lies in the last window, if that ends on the newest timeline: none where all lie in front of a hole.
    pub last_commit: Option<Timestamp>,
    /// How many backups the catalog lists.
    pub backups: usize,
    /// The newest of them.
    pub newest_backup: Option<BackupEntry>,
    /// The one that is being taken.
    pub running_backup: Option<RunningBackup>,
    /// WAL that was lost.
    pub gaps: Vec<Noted<Gap>>,
    /// WAL that was refused because it contradicts what is stored.
    pub conflicts: Vec<Noted<Conflict>>,
    /// Records in the repository that cannot be read: what they tell of is not in the windows.
    pub damaged: Vec<Damaged>,
    /// Timelines of which WAL or a backup is stored, but not the history: nothing can be restored along them.
    pub missing_histories: Vec<TimelineId>,
    /// WAL of earlier timelines that is no part of the newest one's history.
    pub left_behind: Vec<LeftBehind>,
}

/// A record, and whether an operator has taken note of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Noted<T> {
    /// What it is called, for `holdfast wal acknowledge`.
    pub name: String,
    /// When somebody took note of it: then it is no alarm any more.
    pub acknowledged_at: Option<Timestamp>,
    /// The record.
    #[serde(flatten)]
    pub record: T,
}

impl ClusterStatus {
    /// The window that ends on the newest timeline of which WAL is stored; none where no backup leads there.
    #[must_use]
    pub fn present(&self) -> Option<&Window> {
        self.windows.last().filter(|window| Some(window.timeline) == self.newest_timeline)
    }
}

impl<T> Noted<T> {
    /// Whether it is still an alarm.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.acknowledged_at.is_none()
    }
}

/// Finds out what the repository proves about the newest lineage of a cluster.
///
/// # Errors
/// When the store fails, or nothing was ever stored for the cluster.
pub async fn cluster_status(repository: &Repository, resource: &ResourceName) -> Result<ClusterStatus> {
    let mut lineages = repository.lineages(resource).await?;
    let mut damaged = std::mem::take(&mut lineages.damaged);
    let Some(lineage) = lineages.records.pop() else {
        // Nothing is stored, or a damaged record hides what is.
        return Err(match damaged.first() {
            Some(damaged) => Error::from(damaged),
            None => repository.unknown(resource).await,
        });
    };
    let archive = repository.wal(resource, &lineage);
    let listed = repository.backups(resource).list().await?;
    let of_lineage = |backup: &BackupEntry| backup.postgres().system_id == lineage.system_id;
    let backups: Vec<BackupEntry> = listed.records.into_iter().filter(of_lineage).collect();
    let noted = records(&archive).await?;
    damaged.extend(listed.damaged.into_iter().chain(noted.damaged));
    let recorded: Vec<Gap> = noted.gaps.iter().map(|gap| gap.record.clone()).collect();
    let histories = histories(&archive).await?;
    damaged.extend(histories.damaged);
    let timelines = timeline_facts(&archive, &backups, &recorded, &histories.records, &mut damaged).await?;
    let unknown = |timeline: &&TimelineId| {
        **timeline > TimelineId::FIRST && histories.records.iter().all(|history| history.timeline() != **timeline)
    };
    let missing_histories = timelines.keys().filter(unknown).copied().collect();
    let facts: Vec<BackupFacts> = backups.iter().map(BackupFacts::from).collect();
    let mut windows = windows(&facts, &timelines);
    let newest_timeline = newest_stored(&timelines);
    let history = histories.records.iter().find(|history| Some(history.timeline()) == newest_timeline);
    let left_behind = history.map(|history| left_behind(history, &timelines)).unwrap_or_default();
    let last_commit = match windows.last_mut().filter(|window| Some(window.timeline) == newest_timeline) {
        Some(window) => {
            let stretches = timelines.get(&window.timeline).map_or(&[][..], |facts| facts.stretches.as_slice());
            last_commit(&archive, window, behind_the_hole(stretches, window.to), &mut damaged).await?
        }
        None => None,
    };
    Ok(ClusterStatus {
        resource: resource.clone(),
        system_id: lineage.system_id,
        proven_at: in_milliseconds(clock::now()),
        windows,
        newest_timeline,
        last_commit,
        backups: backups.len(),
        newest_backup: backups.last().cloned(),
        running_backup: running_backup(repository, resource).await,
        gaps: noted.gaps,
        conflicts: noted.conflicts,
        damaged,
        missing_histories,
        left_behind,
    })
}

/// What lies below a millisecond says nothing here.
fn in_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// The gaps and conflicts of a cluster.
#[derive(Debug)]
pub struct Records {
    /// WAL that was lost. What was filled after all is not among it.
    pub gaps: Vec<Noted<Gap>>,
    /// WAL that was refused.
    pub conflicts: Vec<Noted<Conflict>>,
    /// Records that cannot be read.
    pub damaged: Vec<Damaged>,
}

/// Reads the records of gaps and conflicts, with what somebody has taken note of.
///
/// # Errors
/// When the store fails.
pub async fn records(archive: &WalArchive) -> Result<Records> {
    let (gaps, conflicts, notes) = (archive.gaps().await?, archive.conflicts().await?, archive.acknowledgements().await?);
    let damaged = [gaps.damaged, conflicts.damaged, notes.damaged].concat();
    let notes: BTreeMap<String, Timestamp> = notes.records.into_iter().map(|note| (note.name, note.acknowledged_at)).collect();
    let mut lost = Vec::new();
    for gap in gaps.records {
        if !was_filled(archive, &gap).await? {
            lost.push(note(gap.name(), gap, &notes));
        }
    }
    let conflicts = conflicts.records.into_iter().map(|conflict| note(conflict.name(), conflict, &notes)).collect();
    Ok(Records { gaps: lost, conflicts, damaged })
}

fn note<T>(name: String, record: T, notes: &BTreeMap<String, Timestamp>) -> Noted<T> {
    Noted { acknowledged_at: notes.get(&name).copied(), name, record }
}

/// What is stored of each timeline, from the first backup on it, or from its fork, to its end.
async fn timeline_facts(
    archive: &WalArchive,
    backups: &[BackupEntry],
    gaps: &[Gap],
    histories: &[TimelineHistory],
    damaged: &mut Vec<Damaged>,
) -> Result<BTreeMap<TimelineId, TimelineFacts>> {
    let mut facts = BTreeMap::new();
    for timeline in archive.timelines().await? {
        let history = histories.iter().find(|history| history.timeline() == timeline);
        let parent = history.and_then(TimelineHistory::parent).map(|parent| (parent.timeline, parent.end));
        let starts = backups.iter().map(|backup| backup.postgres()).filter(|detail| detail.timeline == timeline);
        let first = starts.map(|detail| detail.start_lsn).chain(parent.map(|(_, fork)| fork)).min();
        let stretches = match first {
            Some(first) => cut(stretches(archive, timeline, first, damaged).await?, gaps, timeline),
            None => Vec::new(),
        };
        facts.insert(timeline, TimelineFacts { parent, stretches });
    }
    Ok(facts)
}

/// The stretches of a timeline that are stored without a hole, from `first` on. No object is read; one that is empty shows in the listing.
async fn stretches(
    archive: &WalArchive,
    timeline: TimelineId,
    first: Lsn,
    damaged: &mut Vec<Damaged>,
) -> Result<Vec<Range<Lsn>>> {
    let (mut stretches, mut hollow) = (Vec::new(), Vec::new());
    let mut from = first;
    loop {
        let coverage = stored_through_noting(archive, timeline, from..Lsn(u64::MAX), &mut hollow).await?;
        if coverage.end > coverage.start {
            let start = SegmentNumber::containing(coverage.start, archive.segment_size()).start(archive.segment_size());
            stretches.push(start..coverage.end);
        }
        match coverage.resumes {
            Some(resumes) if resumes > from => from = resumes,
            _ => break,
        }
    }
    damaged.extend(hollow.iter().map(|object| hollow_object(archive, object)));
    Ok(stretches)
}

/// An object of which nothing but the name is left.
fn hollow_object(archive: &WalArchive, object: &WalObject) -> Damaged {
    let detail = "it is empty, or all but empty".to_owned();
    Damaged { object: archive.key_of(object).to_string(), detail, missing: false }
}

/// How many segments before the end are searched for the last commit; an idle cluster's last ones may have none.
const SEGMENTS_SEARCHED_MAX: u64 = 64;

/// Where the WAL begins again behind the last hole before `end`; the very beginning where there is none.
fn behind_the_hole(stretches: &[Range<Lsn>], end: Lsn) -> Lsn {
    stretches.iter().skip(1).map(|stretch| stretch.start).take_while(|start| *start < end).last().unwrap_or_default()
}

/// The time of the last commit before the end of a window, as the headers of the stored objects tell it: not of one before `begins`, where a
/// hole ends, because later ones were lost in that. A window ends before what is found damaged there.
async fn last_commit(
    archive: &WalArchive,
    window: &mut Window,
    begins: Lsn,
    damaged: &mut Vec<Damaged>,
) -> Result<Option<Timestamp>> {
    let size = archive.segment_size();
    let last = SegmentNumber::before(window.to, size).0;
    let first = last.saturating_sub(SEGMENTS_SEARCHED_MAX).max(SegmentNumber::containing(begins, size).0);
    for number in (first..=last).rev() {
        let segment = SegmentName::new(window.timeline, SegmentNumber(number), size);
        let objects = objects_of(archive, segment).await?;
        if objects.is_empty() {
            break;
        }
        for object in objects {
            let about = match &object {
                WalObject::File(name) => archive.about_file(*name).await,
                WalObject::Slice(slice) => archive.about_slice(slice).await,
            };
            match about {
                Ok(about) => {
                    if let Some(commit) = about.as_ref().and_then(commit_of) {
                        return Ok((commit.lsn >= begins).then_some(commit.time));
                    }
                }
                Err(error) => {
                    let found = Damaged::of(&archive.key_of(&object), error)?;
                    if damaged.iter().all(|known| known.object != found.object) {
                        damaged.push(found);
                    }
                    let broken = range_of(archive, &object).await?.map_or(window.to, |range| range.start);
                    (window.to, window.cut) = (window.to.min(broken), true);
                }
            }
        }
    }
    Ok(None)
}

/// The segment, or its slices, the last first.
async fn objects_of(archive: &WalArchive, segment: SegmentName) -> Result<Vec<WalObject>> {
    let mut stored = archive.stored_of(segment).await?;
    stored.reverse();
    let file = WalObject::File(WalFileName::Segment(segment));
    if stored.contains(&file) {
        return Ok(vec![file]);
    }
    Ok(stored.into_iter().filter(|object| matches!(object, WalObject::Slice(_))).collect())
}

fn commit_of(about: &WalAbout) -> Option<Commit> {
    about.activity.as_ref()?.last_commit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_commit_is_looked_for_up_to_the_hole_before_the_window() {
        let stretches = [Lsn(0)..Lsn(100), Lsn(200)..Lsn(300), Lsn(400)..Lsn(500)];
        let begins = [100, 300, 500].map(|end| behind_the_hole(&stretches, Lsn(end)).0);
        assert_eq!(begins, [0, 200, 400], "what lies before the first stretch is no hole");
        assert_eq!(behind_the_hole(&[], Lsn(500)), Lsn(0));
    }
}
