//! What the data directory of the server that asks says about its recovery. `restore_command` runs with that as its current directory, and
//! so does the WAL server.

use std::fs;
use std::path::Path;

use super::Evidence;
use crate::pg::{Lsn, TimelineId};
use crate::resources::postgres::restore::settings::{has_target, planned_end};

/// A server in recovery. What its command line says instead is not known here, nor what a file says that `postgresql.auto.conf` overrides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovering {
    /// Whether it recovers to a target, and fails where it does not reach that.
    pub to_a_target: bool,
    planned_end: Option<(TimelineId, Lsn)>,
}

impl Recovering {
    /// The server of the current directory.
    pub fn here() -> Self {
        Self::at(Path::new("."))
    }

    fn at(directory: &Path) -> Self {
        let is_there = |name: &str| directory.join(name).exists();
        if !is_there("recovery.signal") || is_there("standby.signal") {
            return Self::default();
        }
        let automatic = fs::read_to_string(directory.join("postgresql.auto.conf")).unwrap_or_default();
        Self { to_a_target: has_target(&automatic), planned_end: planned_end(&automatic) }
    }

    /// What the plan of the restore shows about a timeline.
    pub fn planned(&self, timeline: TimelineId) -> Option<Evidence> {
        self.planned_end.filter(|(planned, _)| *planned == timeline).map(|(_, end)| Evidence::Planned { end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_count_only_where_the_server_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let (path, write) = (directory.path(), |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap());
        write("postgresql.auto.conf", "recovery_target_lsn = '0/5000028'\nholdfast.planned_end = '2 0/5000050'\n");
        assert_eq!(Recovering::at(path), Recovering::default(), "it does not recover");
        write("recovery.signal", "");
        let recovering = Recovering::at(path);
        assert!(recovering.to_a_target);
        assert_eq!(recovering.planned(TimelineId(2)), Some(Evidence::Planned { end: Lsn(0x500_0050) }));
        assert_eq!(recovering.planned(TimelineId(1)), None, "the plan's last WAL is of another timeline");
        for text in ["", "recovery_target_timeline = '2'\n", "recovery_target_lsn = '0/5000028'\nrecovery_target_lsn = ''\n"] {
            write("postgresql.auto.conf", text);
            assert_eq!(Recovering::at(path), Recovering::default(), "{text}");
        }
        write("postgresql.auto.conf", "recovery_target_xid = 753\n");
        write("standby.signal", "");
        assert_eq!(Recovering::at(path), Recovering::default(), "a standby goes on for ever");
    }
}
