//! What every kind of resource can have: a schedule, a retention, objectives.

use jiff::tz::TimeZone;

use super::{Config, Keep, Objectives, OnChange, Period, Schedule, system_time_zone};
use crate::repository::{ResourceKind, ResourceName};

/// What is done for a resource of itself.
#[derive(Clone, Debug)]
pub struct Upkeep<'a> {
    /// When it is backed up.
    pub schedule: Option<&'a Schedule>,
    /// Whether it is backed up when it changes.
    pub on_change: Option<OnChange>,
    /// Which backups are kept; all of them where it is not given.
    pub keep: Option<&'a Keep>,
    /// How far back any moment can be restored (PostgreSQL only).
    pub keep_wal: Option<Period>,
    /// What it has to keep to.
    pub objectives: Objectives,
}

impl Config {
    /// What is done for a resource of itself; `None` where it is not configured.
    #[must_use]
    pub fn upkeep(&self, resource: &ResourceName) -> Option<Upkeep<'_>> {
        match resource.kind() {
            ResourceKind::Postgres => self.postgres.get(resource.name()).map(|cluster| Upkeep {
                schedule: cluster.schedule.as_ref(),
                on_change: None,
                keep: cluster.keep.as_ref(),
                keep_wal: cluster.keep_wal.as_ref().map(|period| *period.get_ref()),
                objectives: cluster.objectives,
            }),
            ResourceKind::Files => self.files.get(resource.name()).map(|section| Upkeep {
                schedule: section.schedule.as_ref(),
                on_change: section.on_change,
                keep: section.keep.as_ref(),
                keep_wal: None,
                objectives: section.objectives,
            }),
            ResourceKind::Command => self.command.get(resource.name()).map(|section| Upkeep {
                schedule: section.schedule.as_ref(),
                on_change: section.on_change,
                keep: section.keep.as_ref(),
                keep_wal: None,
                objectives: section.objectives,
            }),
            ResourceKind::Bucket => self.bucket.get(resource.name()).map(|section| Upkeep {
                schedule: section.schedule.as_ref(),
                on_change: None,
                keep: section.keep.as_ref(),
                keep_wal: None,
                objectives: section.objectives,
            }),
            ResourceKind::Redis => self.redis.get(resource.name()).map(|section| Upkeep {
                schedule: section.schedule.as_ref(),
                on_change: None,
                keep: section.keep.as_ref(),
                keep_wal: None,
                objectives: section.objectives,
            }),
            ResourceKind::Dump => self.dump.get(resource.name()).map(|section| Upkeep {
                schedule: section.schedule.as_ref(),
                on_change: None,
                keep: section.keep.as_ref(),
                keep_wal: None,
                objectives: section.objectives,
            }),
        }
    }

    /// The time zone of schedules that name none, and of the days and months in `keep`.
    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        self.agent.time_zone.as_ref().map_or_else(system_time_zone, |zone| zone.0.clone())
    }

    /// Two keys that do not go together: where in the text, and why.
    pub(super) fn contradiction(&self) -> Option<(usize, String)> {
        let lonely =
            self.postgres.values().filter(|cluster| cluster.keep.is_none()).find_map(|cluster| cluster.keep_wal.as_ref());
        lonely.map(|wal| {
            let why = "keep_wal needs keep: without it every backup is kept, and all WAL behind the first".to_owned();
            (wal.span().start, why)
        })
    }
}
