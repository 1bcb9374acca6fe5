//! Single rules, by example.

use jiff::tz::TimeZone;

use super::world::{Event, MIB, World};
use crate::config::Config;
use crate::operations::expire::{ExpirePlan, Need, Rules, decide};
use crate::pg::{Lsn, TimelineId};
use crate::repository::{BackupId, Protects, ResourceName};

fn resource() -> ResourceName {
    "postgres/main".parse().expect("a name")
}

/// The rules that a configuration says.
fn rules(lines: &str) -> Rules {
    let text = format!("[repository]\nurl = \"file:///b\"\n[postgres.main]\nconninfo = \"\"\n{lines}\n");
    let config: Config = crate::config::parse(&text, std::path::Path::new("/c")).expect("a valid configuration");
    Rules::of(&config.upkeep(&resource()).expect("it is there"), TimeZone::UTC)
}

fn plan(world: &World, lines: &str) -> ExpirePlan {
    decide(&resource(), &world.facts(), &rules(lines))
}

/// A backup every day, and one segment of WAL between two.
fn daily(days: usize) -> World {
    let mut world = World::new();
    for _ in 0..days {
        world.happen(&Event::Backup(0));
        world.happen(&Event::Write(1, 23));
    }
    world
}

fn kept(plan: &ExpirePlan) -> Vec<bool> {
    plan.backups.iter().map(|backup| backup.keep).collect()
}

fn from(plan: &ExpirePlan) -> &Need {
    &plan.wal[0].needs.need
}

#[test]
fn a_window_keeps_the_backup_before_it() {
    let plan = plan(&daily(6), "keep = { within = \"60h\" }");
    assert_eq!(kept(&plan), [false, false, false, true, true, true]);
    assert!(plan.backups[3].reasons[0].contains("the last before"), "{:?}", plan.backups[3]);
}

#[test]
fn wal_goes_below_the_oldest_kept_backup_and_not_above() {
    let world = daily(4);
    let plan = plan(&world, "keep = { last = 2 }");
    assert_eq!(kept(&plan), [false, false, true, true]);
    assert_eq!(*from(&plan), Need::From(Lsn(5 * MIB + 0x28)));
    let mut after = world.clone();
    assert_eq!(after.apply(&plan).len(), 4);
}

#[test]
fn a_first_backup_purges_nothing_and_its_successor_does() {
    let mut world = World::new();
    world.happen(&Event::Write(10, 24 * 20));
    world.happen(&Event::Backup(0));
    assert!(matches!(from(&plan(&world, "keep = { last = 1 }")), Need::All(why) if why.contains("first backup")));
    world.happen(&Event::Backup(0));
    assert_eq!(*from(&plan(&world, "keep = { last = 1 }")), Need::From(Lsn(12 * MIB + 0x28)));
}

#[test]
fn without_a_retention_everything_stays() {
    let plan = plan(&daily(5), "");
    assert_eq!(kept(&plan), [true; 5]);
    assert!(matches!(from(&plan), Need::All(_)));
}

#[test]
fn a_wal_window_of_its_own_leaves_older_backups_alone() {
    let plan = plan(&daily(10), "keep = { within = \"9d\" }\nkeep_wal = \"60h\"");
    assert_eq!(kept(&plan), [true; 10]);
    // The first and last of the ten days, and the one before the window, by their starts.
    assert_eq!(*from(&plan), Need::From(Lsn(15 * MIB + 0x28)));
    assert_eq!(plan.wal[0].needs.islands.len(), 7);
}

#[test]
fn a_held_backup_keeps_its_own_wal_and_does_not_stop_the_rest() {
    let mut world = daily(4);
    world.holds.push(world.backups[0].id.clone());
    let plan = plan(&world, "keep = { last = 1 }");
    assert_eq!(kept(&plan), [true, false, false, true]);
    assert_eq!(world.apply(&plan).len(), 3, "the WAL behind the held backup goes, but for what the server reads ahead");
    let held: BackupId = world.holds[0].clone();
    assert!(world.is_sound(&held));
}

#[test]
fn a_restore_that_has_ended_is_not_said_to_be_under_way() {
    let mut world = daily(4);
    world.lease(1, Protects::Backup(world.backups[0].id.clone()));
    let said = |world: &World| plan(world, "keep = { last = 1 }").backups[0].reasons.join("; ");
    assert_eq!(said(&world), "in use: a test, by process 1 on db1");
    let lease = &mut world.leases[0];
    (lease.record.left, lease.record.lease_s) = (true, 24 * 3600);
    lease.stored_at = "2026-11-30T12:00:00Z".parse().expect("a time");
    let expected =
        "restored at 2026-11-30 12:00:00Z on db1, protected until 2026-12-02 00:00:01Z in case its recovery needs WAL again";
    assert_eq!(said(&world), expected);
}

#[test]
fn calendar_rules_keep_the_newest_of_each_unit() {
    let plan = plan(&daily(60), "keep = { daily = 3, weekly = 2, monthly = 2 }");
    let days: Vec<String> =
        plan.backups.iter().filter(|backup| backup.keep).map(|backup| backup.finished_at.strftime("%m-%d").to_string()).collect();
    assert_eq!(days, ["02-22", "02-27", "02-28", "03-01"]);
}

#[test]
fn a_running_backup_stops_the_removal_of_wal() {
    let mut world = daily(4);
    world.lease(1, Protects::Backup(BackupId::new(world.now, 99)));
    let plan = plan(&world, "keep = { last = 1 }");
    assert_eq!(kept(&plan), [false, false, false, true], "backups go all the same");
    assert!(matches!(from(&plan), Need::All(why) if why.contains("being taken")));
}

#[test]
fn an_abandoned_timeline_is_left_for_a_week() {
    let mut world = daily(3);
    world.happen(&Event::Fork(2));
    world.happen(&Event::Write(2, 24 * 3));
    world.happen(&Event::Backup(0));
    world.happen(&Event::Backup(0));
    let of = |plan: &ExpirePlan, timeline: u32| {
        let found = plan.wal.iter().find(|wal| wal.timeline == TimelineId(timeline));
        found.map(|wal| wal.needs.need.clone()).expect("a timeline")
    };
    let plan = plan(&world, "keep = { last = 1 }");
    assert!(matches!(of(&plan, 1), Need::StoredAfter(_)), "{plan}");
    assert!(matches!(of(&plan, 2), Need::From(_)), "{plan}");
    let mut young = world.clone();
    assert!(young.apply(&plan).iter().all(|place| place.1 == TimelineId(2)), "{plan}");
    world.happen(&Event::Write(1, 24 * 8));
    let later = decide(&resource(), &world.facts(), &rules("keep = { last = 1 }"));
    assert!(world.apply(&later).iter().any(|place| place.1 == TimelineId(1)), "{later}");
}

#[test]
fn an_upgrade_leaves_the_old_cluster_until_its_backups_are_gone() {
    let mut world = daily(3);
    world.happen(&Event::Upgrade);
    world.happen(&Event::Write(3, 24));
    let plan_of = |world: &World| decide(&resource(), &world.facts(), &rules("keep = { last = 1 }"));
    let plan = plan_of(&world);
    assert_eq!(kept(&plan), [false, false, true], "the only backups are those of the old cluster");
    assert!(matches!(&plan.wal[1].needs.need, Need::All(why) if why.contains("no backup")), "{plan}");
    world.happen(&Event::Backup(-24 * 365));
    let plan = plan_of(&world);
    assert!(plan.backups.iter().any(|backup| backup.keep && world.base(&backup.id).system_id == world.system_id), "{plan}");
}
