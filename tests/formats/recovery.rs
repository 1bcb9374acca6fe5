//! Recovery settings, as a real server reads them.

use std::fs;
use std::io::Write;

use holdfast::pg::recovery::{RecoverySettings, RecoveryTarget, TargetAction, TargetTimeline, write_settings};
use holdfast::pg::{Lsn, TimelineId};
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

/// Every setting arrives as it was meant, whatever targets the original's configuration has.
#[test]
fn a_server_reads_the_settings_as_they_were_meant() {
    let time = "2026-11-22T08:30:00.123456Z".parse().expect("a time");
    for installation in Installation::all() {
        for (target, name, shown) in [
            (RecoveryTarget::Time(time), "recovery_target_time", "2026-11-22 08:30:00.123456+00"),
            (RecoveryTarget::Lsn(Lsn(0x28)), "recovery_target_lsn", "0/28"),
            (RecoveryTarget::Name("it's here".into()), "recovery_target_name", "it's here"),
        ] {
            let cluster = Cluster::builder(&installation).create();
            let settings = RecoverySettings {
                restore_command: "'/a b/c' --x=\"\\n\" \\ é \t%f\n%p".to_owned(),
                target,
                inclusive: false,
                timeline: TargetTimeline::Id(TimelineId(7)),
                action: TargetAction::Shutdown,
            };
            let written = settings.settings();
            let lines = write_settings(written.iter().map(|(name, value)| (*name, value.as_str())));
            let path = cluster.data_directory().join("postgresql.auto.conf");
            let mut file = fs::OpenOptions::new().append(true).open(path).expect("open the configuration");
            write!(file, "recovery_target_xid = '800'\nrecovery_target_name = 'x'\n{lines}").expect("write it");
            cluster.start();
            assert_eq!(cluster.sql(&format!("SHOW {name}")), shown);
            for (name, value) in &written {
                let sql = format!("SELECT encode(convert_to(current_setting('{name}'), 'UTF8'), 'hex')");
                let expected: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(cluster.sql(&sql), expected, "PostgreSQL {}: {name}", installation.version());
            }
            cluster.stop(StopMode::Fast);
        }
    }
}
