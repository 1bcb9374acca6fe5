//! Nothing that is needed is ever cut, whatever happened before.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::world::{Event, World, size};
use crate::config::{Keep, Period};
use crate::operations::expire::{ExpirePlan, Need, Rules, decide};
use crate::pg::Lsn;
use crate::repository::{BackupId, Protects};

fn period(days: i64) -> Period {
    format!("{days}d").parse().expect("a period")
}

prop_compose! {
    fn rules()(
        within in proptest::option::of(1..12_i64),
        keep_wal in proptest::option::of(1..12_i64),
        counts in proptest::array::uniform6(0..4_u32),
        at_least in 1..3_u32,
        none in proptest::bool::weighted(0.05),
    ) -> Rules {
        let [last, daily, weekly, monthly, yearly, _] = counts;
        let keep = Keep { within: within.map(period), at_least, last, daily, weekly, monthly, yearly };
        let keep = (!none).then_some(keep);
        Rules { keep_wal: keep_wal.filter(|_| keep.is_some()).map(period), keep, zone: TimeZone::UTC }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let clock = prop_oneof![6 => Just(0_i64), 1 => -2000..2000_i64];
    prop_oneof![
        5 => (1..5_u64, 1..60_i64).prop_map(|(segments, over)| Event::Write(segments, over)),
        4 => clock.prop_map(Event::Backup),
        1 => any::<u16>().prop_map(|choice| Event::Fork(u64::from(choice))),
        1 => proptest::bool::weighted(0.2).prop_map(|yes| if yes { Event::Upgrade } else { Event::Write(1, 1) }),
    ]
}

/// What somebody does besides: holds, leases; chosen by numbers.
type Extras = (Option<u16>, Option<u16>, Option<u16>);

fn chosen<T: Clone>(from: &[T], choice: Option<u16>) -> Option<T> {
    from.get(usize::from(choice?) % from.len().max(1)).cloned()
}

fn add(world: &mut World, (hold, restore, recovery): Extras) {
    let listed: Vec<BackupId> = world.listed().into_iter().collect();
    world.holds.extend(chosen(&listed, hold));
    world.leases.clear();
    if let Some(id) = chosen(&listed, restore) {
        world.lease(1, Protects::Backup(id));
    }
    if let Some((system_id, _, from, _)) = chosen(&world.moments, recovery) {
        world.lease(2, Protects::Wal { system_id, from });
    }
}

/// Applies the rules and checks every law.
fn expire(world: &mut World, rules: &Rules) -> Result<(), TestCaseError> {
    let before = world.clone();
    let plan = decide(&"postgres/main".parse().expect("a name"), &world.facts(), rules);
    let gone = world.apply(&plan);
    kept_backups_are_sound(&before, world)?;
    moments_of_the_window_stay(&before, world, rules)?;
    holds_and_leases_are_honoured(&before, world)?;
    enough_backups_stay(&before, world, rules)?;
    the_living_stay_recoverable(&before, world)?;
    every_decision_has_a_reason(&plan)?;
    for (system_id, timeline, number) in &gone {
        let horizon = world.horizons.get(&(*system_id, *timeline)).copied().unwrap_or_default();
        prop_assert!(number.end(size()) <= horizon, "what is gone lies below a horizon");
    }
    for wal in &plan.wal {
        let Need::From(from) = wal.needs.need else { continue };
        let horizon_of = |world: &World| world.horizons.get(&(wal.system_id, wal.timeline)).copied().unwrap_or_default();
        let risen = horizon_of(world) > horizon_of(&before);
        prop_assert!(!risen || horizon_of(world) <= from, "the horizon rises above {from}, from where on WAL is needed");
    }
    let again = decide(&"postgres/main".parse().expect("a name"), &world.facts(), rules);
    prop_assert!(again.backups.iter().all(|backup| backup.keep), "a second look removes no more: {again:?}");
    Ok(())
}

fn kept_backups_are_sound(before: &World, after: &World) -> Result<(), TestCaseError> {
    for id in after.listed().into_iter().filter(|id| before.is_sound(id)) {
        prop_assert!(after.is_sound(&id), "{id} is listed and does not restore");
    }
    Ok(())
}

/// The start of the time to any moment of which recovery must stay possible; none where nothing is promised.
fn window(before: &World, rules: &Rules) -> Option<Timestamp> {
    let Some(keep) = &rules.keep else { return Some(Timestamp::MIN) };
    let period = rules.keep_wal.as_ref().or(keep.within.as_ref())?;
    Some(rules.before(before.now, period))
}

fn moments_of_the_window_stay(before: &World, after: &World, rules: &Rules) -> Result<(), TestCaseError> {
    let Some(start) = window(before, rules) else { return Ok(()) };
    let (old, new) = (before.listed(), after.listed());
    for (system_id, timeline, lsn, time) in before.moments.iter().filter(|moment| moment.3 >= start) {
        if before.is_restorable(*system_id, *timeline, *lsn, &old) {
            let still = after.is_restorable(*system_id, *timeline, *lsn, &new);
            prop_assert!(still, "{lsn} of timeline {timeline}, written at {time}, cannot be restored any more");
        }
    }
    Ok(())
}

fn holds_and_leases_are_honoured(before: &World, after: &World) -> Result<(), TestCaseError> {
    for id in before.holds.iter().filter(|id| before.listed().contains(id)) {
        prop_assert!(after.listed().contains(id), "{id} is held");
    }
    for lease in &before.leases {
        match &lease.record.protects {
            Protects::Nothing => {}
            Protects::Backup(id) => {
                prop_assert!(after.listed().contains(id), "{id} is being restored");
                let own = std::collections::BTreeSet::from([id.clone()]);
                for (system_id, timeline, lsn, _) in &before.moments {
                    if before.is_restorable(*system_id, *timeline, *lsn, &own) {
                        prop_assert!(after.is_restorable(*system_id, *timeline, *lsn, &own), "{id} is being restored to {lsn}");
                    }
                }
            }
            Protects::Wal { system_id, from } => {
                let needed = before.wal.keys().filter(|place| place.0 == *system_id && place.2.end(size()) > *from);
                prop_assert!(needed.clone().all(|place| after.wal.contains_key(place)), "recovery goes on from {from}");
            }
        }
    }
    Ok(())
}

fn enough_backups_stay(before: &World, after: &World, rules: &Rules) -> Result<(), TestCaseError> {
    let floor = rules.keep.map_or(usize::MAX, |keep| keep.at_least.max(keep.last) as usize);
    prop_assert!(after.backups.len() >= floor.min(before.backups.len()));
    Ok(())
}

/// Whatever the clocks say: what is being written now can be recovered to its end.
fn the_living_stay_recoverable(before: &World, after: &World) -> Result<(), TestCaseError> {
    let (system_id, timeline, end) = (before.system_id, before.timeline, Lsn(before.end));
    if before.is_restorable(system_id, timeline, end, &before.listed()) {
        prop_assert!(after.is_restorable(system_id, timeline, end, &after.listed()), "the end cannot be restored any more");
    }
    let writing = before.wal.keys().filter(|place| place.0 == system_id);
    if !before.backups.iter().any(|backup| backup.base.as_ref().is_some_and(|base| base.system_id == system_id))
        && !before.horizons.keys().any(|(system, _)| *system == system_id)
    {
        prop_assert!(writing.clone().all(|place| after.wal.contains_key(place)), "its first backup has not been taken yet");
    }
    Ok(())
}

fn every_decision_has_a_reason(plan: &ExpirePlan) -> Result<(), TestCaseError> {
    prop_assert!(plan.backups.iter().all(|backup| !backup.reasons.is_empty()));
    prop_assert!(plan.wal.iter().all(|wal| !wal.reason.is_empty()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_needed_is_cut(
        rules in rules(),
        life in proptest::collection::vec((proptest::collection::vec(event(), 1..14), any::<Extras>()), 1..5),
        idle in 0..2_i64,
    ) {
        let mut world = World::new();
        for (events, extras) in life {
            events.iter().for_each(|event| world.happen(event));
            add(&mut world, extras);
            expire(&mut world, &rules)?;
        }
        // Long after, when everything looks old.
        world.now += SignedDuration::from_hours(idle * 24 * 60);
        world.leases.clear();
        expire(&mut world, &rules)?;
    }
}
