//! The names of all objects. Nothing else in the project knows them.

use std::ops::Range;

use super::leases::LeaseName;
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
