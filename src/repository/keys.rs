//! The names of all objects. Nothing else in the project knows them.

use std::ops::Range;

use jiff::Timestamp;

use super::leases::LeaseName;
use super::runs::Job;
use super::{BackupId, ResourceName};
use crate::pg::{Lsn, SegmentName, SystemId, TimelineId, WalFileName};
use crate::storage::ObjectKey;

/// What makes a store a repository.
pub(super) const MARKER: &str = "holdfast.json";

/// Turns a name into a key. All parts are validated types, so that this cannot fail on anything from outside.
fn key(name: String) -> ObjectKey {
    ObjectKey::new(name).expect("the parts of a key are validated types")
}

pub(super) fn marker() -> ObjectKey {
    key(MARKER.to_owned())
}

pub(super) fn lineages(resource: &ResourceName) -> String {
    format!("{resource}/lineages/")
}

pub(super) fn lineage(resource: &ResourceName, system_id: SystemId) -> ObjectKey {
    key(format!("{resource}/lineages/{system_id}.json"))
}

/// Below this each lineage has a folder of WAL.
pub(super) fn wal_of_all(resource: &ResourceName) -> String {
    format!("{resource}/wal/")
}

/// Where a lineage's WAL lies: segments below their first sixteen digits, history files beside them.
pub(super) fn wal(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{resource}/wal/{system_id}/")
}

/// What all keys of one timeline's segments begin with.
pub(super) fn timeline(resource: &ResourceName, system_id: SystemId, timeline: TimelineId) -> String {
    format!("{}{:08X}", wal(resource, system_id), timeline.0)
}

pub(super) fn histories(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{}history/", wal(resource, system_id))
}

pub(super) fn wal_file(resource: &ResourceName, system_id: SystemId, name: WalFileName) -> ObjectKey {
    let wal = wal(resource, system_id);
    key(match name {
        WalFileName::History(_) => format!("{wal}history/{name}"),
        WalFileName::Segment(segment) | WalFileName::Partial(segment) | WalFileName::Backup(segment, _) => {
            format!("{wal}{}/{name}", segment.group())
        }
    })
}

pub(super) fn slices(resource: &ResourceName, system_id: SystemId, segment: SegmentName) -> String {
    format!("{}{}/{segment}.slices/", wal(resource, system_id), segment.group())
}

/// A slice is named after its segment and the bytes of it that it holds, so that a misplaced one is noticed.
pub(super) fn slice(resource: &ResourceName, system_id: SystemId, segment: SegmentName, bytes: &Range<u64>) -> ObjectKey {
    let folder = slices(resource, system_id, segment);
    key(format!("{folder}{segment}.{:08X}-{:08X}", bytes.start, bytes.end))
}

pub(super) fn gaps(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{resource}/gaps/{system_id}/")
}

pub(super) fn gap(resource: &ResourceName, system_id: SystemId, timeline: TimelineId, lost: &Range<Lsn>) -> ObjectKey {
    let folder = gaps(resource, system_id);
    key(format!("{folder}{:08X}-{:016X}-{:016X}.json", timeline.0, lost.start.0, lost.end.0))
}

pub(super) fn conflicts(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{resource}/conflicts/{system_id}/")
}

pub(super) fn conflict(resource: &ResourceName, system_id: SystemId, segment: SegmentName) -> ObjectKey {
    key(format!("{}{segment}.json", conflicts(resource, system_id)))
}

pub(super) fn acknowledgements(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{resource}/acknowledged/{system_id}/")
}

/// `name` is that of a gap or a conflict, in which only the `/` of positions can be no part of a name.
pub(super) fn acknowledgement(resource: &ResourceName, system_id: SystemId, name: &str) -> ObjectKey {
    key(format!("{}{}.json", acknowledgements(resource, system_id), name.replace('/', "_")))
}

pub(super) fn backups(resource: &ResourceName) -> String {
    format!("{resource}/backups/")
}

pub(super) fn backup(resource: &ResourceName, id: &BackupId) -> ObjectKey {
    key(format!("{resource}/backups/{id}.json"))
}

/// Where the content of one backup lies.
pub(super) fn data_folder(resource: &ResourceName, id: &BackupId) -> String {
    format!("{resource}/data/{id}/")
}

/// A part of a backup's content; `name` is made of digits, letters, `.`, `-` and `_`.
pub(super) fn data(resource: &ResourceName, id: &BackupId, name: &str) -> ObjectKey {
    key(format!("{resource}/data/{id}/{name}"))
}

/// Whether a key is that of a part of a backup's content. Nothing else of a repository is uploaded in parts.
pub(super) fn is_data(key: &ObjectKey) -> bool {
    let parts: Vec<&str> = key.as_str().split('/').collect();
    let [kind, name, "data", id, _] = parts[..] else { return false };
    let is_id = id.parse::<BackupId>().is_ok_and(|id| id.begun().is_some());
    is_id && format!("{kind}/{name}").parse::<ResourceName>().is_ok()
}

/// Below which the content of each backup has a folder.
pub(super) fn data_folders(resource: &ResourceName) -> String {
    format!("{resource}/data/")
}

pub(super) fn holds(resource: &ResourceName) -> String {
    format!("{resource}/holds/")
}

pub(super) fn holds_of(resource: &ResourceName, id: &BackupId) -> String {
    format!("{resource}/holds/{id}/")
}

pub(super) fn hold(resource: &ResourceName, id: &BackupId, mark: u64) -> ObjectKey {
    key(format!("{resource}/holds/{id}/{mark:010X}.json"))
}

/// The backup that a hold is on.
pub(super) fn parse_hold(key: &ObjectKey) -> Option<BackupId> {
    key.as_str().rsplit('/').nth(1)?.parse().ok()
}

pub(super) fn horizons(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{resource}/horizons/{system_id}/")
}

pub(super) fn horizon(resource: &ResourceName, system_id: SystemId, timeline: TimelineId, below: Lsn) -> ObjectKey {
    let folder = horizons(resource, system_id);
    key(format!("{folder}{:08X}-{:016X}.json", timeline.0, below.0))
}

pub(super) fn parse_horizon(key: &ObjectKey) -> Option<(TimelineId, Lsn)> {
    let (timeline, below) = key.file_name().strip_suffix(".json")?.split_once('-')?;
    Some((TimelineId(u32::from_str_radix(timeline, 16).ok()?), Lsn(u64::from_str_radix(below, 16).ok()?)))
}

pub(super) fn leases(resource: &ResourceName) -> String {
    format!("{resource}/leases/")
}

/// The generations of one lease.
pub(super) fn lease_folder(resource: &ResourceName, name: &LeaseName) -> String {
    format!("{resource}/leases/{name}/")
}

pub(super) fn lease(resource: &ResourceName, name: &LeaseName, generation: u64) -> ObjectKey {
    key(format!("{resource}/leases/{name}/{generation:012}.json"))
}

/// Objects that are stored only to see what time the store has.
pub(super) fn lease_clocks(resource: &ResourceName) -> String {
    format!("{resource}/leases/clock/")
}

pub(super) fn lease_clock(resource: &ResourceName, mark: u64) -> ObjectKey {
    key(format!("{resource}/leases/clock/{mark:010X}.json"))
}

/// The lease and the generation that a key is of; `None` for what is no generation.
pub(super) fn parse_lease(key: &ObjectKey) -> Option<(LeaseName, u64)> {
    let mut parts = key.as_str().rsplit('/');
    let generation = parts.next()?.strip_suffix(".json")?.parse().ok()?;
    Some((LeaseName::parse(parts.next()?)?, generation))
}

/// The history of a job.
pub(super) fn runs(resource: &ResourceName, job: Job) -> String {
    format!("{resource}/runs/{}/", job.as_str())
}

/// Runs sort by the time at which they began.
pub(super) fn run(resource: &ResourceName, job: Job, started_at: Timestamp, mark: u64) -> ObjectKey {
    key(format!("{}{}-{mark:010X}.json", runs(resource, job), run_time(started_at)))
}

fn run_time(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%S%3fZ").to_string()
}

/// Whether the run that a key is of had begun by `now`.
pub(super) fn has_begun(key: &ObjectKey, now: Timestamp) -> bool {
    key.file_name().split_once('-').is_some_and(|(time, _)| time <= run_time(now).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_of_backups_is_own() {
        let is_own = |name: &str| is_data(&ObjectKey::new(name).expect("a plain name"));
        let resource: ResourceName = "files/a.b-c".parse().expect("a name");
        let id = BackupId::new("2026-11-22T07:15:00Z".parse().expect("a time"), 0x2800);
        assert!(is_data(&data(&resource, &id, "files.tar.zst")));
        for other in [
            "files/a/data/b/c",
            "files/a/data/20261122T071500Z-0000002800",
            "files/a/data/20261122T071500Z-0000002800/b/c",
            "x/files/a/data/20261122T071500Z-0000002800/c",
            "uploads/a/data/20261122T071500Z-0000002800/c",
            "files/a/backups/20261122T071500Z-0000002800/c",
            "video.mp4",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
