use super::*;
use crate::pg::recovery::{RecoveryTarget, TargetAction};
use crate::pg::{Lsn, TimelineId};
use crate::repository::ResourceKind;

const MINIMUM: StandbySettings = StandbySettings {
    max_connections: 100,
    max_worker_processes: 8,
    max_wal_senders: 10,
    max_prepared_transactions: 0,
    max_locks_per_transaction: 64,
};

fn command() -> RestoreCommand {
    RestoreCommand {
        program: "/opt/it's/100%/holdfast-restore-command".into(),
        leading: vec![],
        configuration: "/etc/holdfast/holdfast.toml".into(),
        resource: ResourceName::new(ResourceKind::Postgres, "main").unwrap(),
        lineage: SystemId(7),
    }
}

fn stop(target: RecoveryTarget) -> Stop {
    Stop { target, inclusive: true, timeline: Some(TimelineId(3)), action: TargetAction::Pause, read_ahead: true }
}

fn written(
    target: RecoveryTarget,
    automatic: Option<&str>,
    main: Option<&str>,
    minimum: StandbySettings,
) -> Vec<(&'static str, String)> {
    let (stop, restore_command) = (stop(target), command());
    let wishes = Wishes {
        stop: &stop,
        last_wal: Some(WalPart { timeline: TimelineId(3), start: Lsn(0x100_0000), end: Lsn(0x1_0000_0ff8) }),
        restore_command: &restore_command,
        minimum,
        keep_archiving: false,
        directory: "/restored",
    };
    let text = |(name, content): NewFile| (name, String::from_utf8(content).unwrap());
    files(&wishes, automatic, main).into_iter().map(text).collect()
}

fn automatic(target: RecoveryTarget) -> String {
    written(target, None, Some(""), MINIMUM).swap_remove(0).1
}

#[test]
fn the_restore_command_survives_postgresql_and_the_shell() {
    let expected = r#"'/opt/it'\''s/100%%/holdfast-restore-command' --config /etc/holdfast/holdfast.toml --resource postgres/main --lineage 7 %f "%p""#;
    assert_eq!(command().value(), expected);
    let line = r#"restore_command = '''/opt/it''\\''''s/100%%/holdfast-restore-command'' --config"#;
    assert!(automatic(RecoveryTarget::EndOfWal).contains(line), "{}", automatic(RecoveryTarget::EndOfWal));
}

#[test]
fn each_target_has_its_setting() {
    let time = "2026-11-22T13:30:00.25Z".parse().unwrap();
    for (target, line) in [
        (RecoveryTarget::Immediate, "recovery_target = 'immediate'"),
        (RecoveryTarget::Time(time), "recovery_target_time = '2026-11-22 13:30:00.250000+00'"),
        (RecoveryTarget::Lsn(Lsn(0x1_0000_0028)), "recovery_target_lsn = '1/28'"),
        (RecoveryTarget::Xid(741), "recovery_target_xid = '741'"),
        (RecoveryTarget::Name("it's".to_owned()), "recovery_target_name = 'it''s'"),
    ] {
        let text = automatic(target);
        for line in
            [line, "recovery_target_inclusive = 'on'", "recovery_target_timeline = '3'", "recovery_target_action = 'pause'"]
        {
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
    }
}

#[test]
fn the_restore_command_is_told_how_far_the_plan_goes() {
    let earlier = "holdfast.planned_end = '2 0/1000000'\n";
    let text = written(RecoveryTarget::EndOfWal, Some(earlier), Some(""), MINIMUM).swap_remove(0).1;
    assert_eq!(
        (planned_end(&text), text.matches("planned_end").count()),
        (Some((TimelineId(3), Lsn(0x1_0000_0ff8))), 1),
        "{text}"
    );
    for text in ["", "holdfast.planned_end = ''", "holdfast.planned_end = '3'", "holdfast.planned_end = '3 1/FF8 4'"] {
        assert_eq!(planned_end(text), None, "{text}");
    }
}

#[test]
fn a_restored_cluster_is_quiet() {
    let text = automatic(RecoveryTarget::EndOfWal);
    for line in [
        "archive_mode = 'off'",
        "archive_command = ''",
        "primary_conninfo = ''",
        "primary_slot_name = ''",
        "synchronous_standby_names = ''",
        "max_logical_replication_workers = '0'",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
    }
}

#[test]
fn an_earlier_recovery_leaves_nothing_behind() {
    let old = "work_mem = '8MB'\nrecovery_target_xid = '5'\nrestore_command = 'cp'\narchive_mode = 'on'\n";
    let text = &written(RecoveryTarget::Lsn(Lsn(40)), Some(old), Some("recovery_target_name = 'old'\n"), MINIMUM)[0].1;
    assert!(text.contains("work_mem = '8MB'"), "{text}");
    for line in ["recovery_target_xid = '5'", "restore_command = 'cp'", "archive_mode = 'on'"] {
        assert!(
            !text.contains(line),
            "{line} in
{text}"
        );
    }
    let (unset, set) = (text.find("recovery_target_name = ''").unwrap(), text.find("recovery_target_lsn = '0/28'").unwrap());
    assert!(unset < set, "{text}");
}

#[test]
fn settings_that_are_too_low_are_raised() {
    let raised = |automatic: Option<&str>, main: &str| {
        let minimum = StandbySettings { max_connections: 300, ..MINIMUM };
        written(RecoveryTarget::EndOfWal, automatic, Some(main), minimum)[0].1.contains("max_connections = '300'")
    };
    assert!(raised(None, "") && raised(None, "max_connections = 200\n"));
    assert!(!raised(None, "max_connections = 200\nmax_connections=400 # more\n"));
    assert!(raised(Some("max_connections = '250'\n"), "max_connections = 400\n"));
    assert!(raised(None, "max_connections = 400\ninclude 'other.conf'\n"), "the other file may lower it");
}

#[test]
fn a_cluster_whose_configuration_lay_elsewhere_gets_a_plain_one() {
    let files = written(RecoveryTarget::EndOfWal, None, None, MINIMUM);
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["postgresql.auto.conf", "recovery.signal", "postgresql.conf", "pg_hba.conf", "pg_ident.conf"]);
    assert!(files[2].1.contains("max_wal_senders = '10'"));
}

#[test]
fn the_original_data_directory_is_never_used() {
    let files = written(RecoveryTarget::EndOfWal, None, Some("data_directory = '/var/lib/postgresql/17/main'\n"), MINIMUM);
    assert_eq!(files[2].0, "postgresql.conf");
    assert!(files[2].1.trim_end().ends_with("data_directory = '/restored'"), "{}", files[2].1);
}
