//! Which backups are kept, and why. Pure.

use std::collections::BTreeSet;

use jiff::civil::{Date, ISOWeekDate};
use jiff::{Timestamp, Zoned};

use super::facts::{Facts, LineageFacts, Rules};
use super::lineage::{Times, oldest_first, times};
use crate::config::{Keep, Period};
use crate::pg::TimelineId;
use crate::repository::{LeaseRecord, Protects, Standing};

/// WAL that was stored so recently belongs to a timeline that is still written.
const WRITTEN_WITHIN_H: i64 = 24;

/// What is said of each backup, in the order of `Facts::backups`.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// The rules that want it kept, in words.
    pub rules: Vec<String>,
    /// The holds and leases that do.
    pub holds: Vec<String>,
    /// Whether recovery to any later moment must stay possible from it.
    pub window: bool,
}

impl Verdict {
    /// Whether it is kept.
    pub const fn is_kept(&self) -> bool {
        !self.rules.is_empty() || !self.holds.is_empty()
    }
}

/// Judges every backup.
pub(super) fn judge(facts: &Facts, rules: &Rules) -> Vec<Verdict> {
    let times = times(facts);
    let order = oldest_first(&facts.backups, &times);
    let mut judged = Judged { facts, rules, times, order, verdicts: vec![Verdict::default(); facts.backups.len()] };
    match &rules.keep {
        None => judged.all("no retention is configured"),
        Some(keep) => judged.apply(keep),
    }
    judged.window();
    judged.hold();
    judged.verdicts
}

struct Judged<'a> {
    facts: &'a Facts,
    rules: &'a Rules,
    times: Vec<Times>,
    /// The oldest first.
    order: Vec<usize>,
    verdicts: Vec<Verdict>,
}

impl Judged<'_> {
    fn keep(&mut self, index: usize, why: impl Into<String>) {
        let why = why.into();
        if !self.verdicts[index].rules.contains(&why) {
            self.verdicts[index].rules.push(why);
        }
    }

    fn all(&mut self, why: &str) {
        (0..self.verdicts.len()).for_each(|index| self.keep(index, why));
    }

    fn apply(&mut self, keep: &Keep) {
        if let Some(within) = &keep.within {
            self.within(within, "within");
        }
        if let Some(window) = &self.rules.keep_wal {
            let start = self.rules.before(self.facts.now, window);
            let bases: Vec<usize> = self.ways(start).into_iter().flatten().filter_map(|way| self.base_on(start, way)).collect();
            bases.into_iter().for_each(|index| self.keep(index, format!("the WAL window of {window} begins with it (keep_wal)")));
        }
        for (count, rule) in [(keep.at_least, "at_least"), (keep.last, "last")] {
            let newest: Vec<usize> = self.order.iter().rev().take(count as usize).copied().collect();
            newest.into_iter().for_each(|index| self.keep(index, format!("one of the newest {count} ({rule})")));
        }
        self.calendar(keep.daily, "daily", |day| day);
        self.calendar(keep.weekly, "weekly", |day| day.iso_week_date().first_of_week().map_or(day, ISOWeekDate::date));
        self.calendar(keep.monthly, "monthly", Date::first_of_month);
        self.calendar(keep.yearly, "yearly", Date::first_of_year);
        self.living();
    }

    /// Everything of a time, and what its beginning is restored from.
    fn within(&mut self, period: &Period, rule: &str) {
        let start = self.rules.before(self.facts.now, period);
        for index in 0..self.times.len() {
            if self.times[index].listed > start {
                self.keep(index, format!("younger than {period} ({rule})"));
            }
        }
        self.base_of(start, &format!("the last before the {period} of '{rule}', which begin with it"));
    }

    /// Keeps what the moments from `start` on are restored from: the last backup before it, on the way to each timeline that was written since.
    fn base_of(&mut self, start: Timestamp, why: &str) {
        let bases: Vec<usize> = self.ways(start).into_iter().filter_map(|way| self.last_before(start, way)).collect();
        bases.into_iter().for_each(|index| self.keep(index, why));
    }

    /// The timelines that were written since `start`; and none, for resources that have no timelines.
    fn ways(&self, start: Timestamp) -> Vec<Option<(&LineageFacts, TimelineId)>> {
        let mut ways: Vec<_> = vec![None];
        for lineage in &self.facts.lineages {
            let written = lineage.timelines.iter().filter(|(_, last)| **last >= start);
            ways.extend(written.map(|(timeline, _)| Some((lineage, *timeline))));
        }
        ways
    }

    /// The newest backup on a way that is not younger than `start`.
    fn last_before(&self, start: Timestamp, way: Option<(&LineageFacts, TimelineId)>) -> Option<usize> {
        let on_way = |index: &usize| match (&self.facts.backups[*index].base, way) {
            (Some(base), Some((lineage, timeline))) => lineage.leads_to(base, timeline),
            (None, None) => true,
            _ => false,
        };
        let older = self.order.iter().copied().filter(|index| self.times[*index].listed <= start).filter(on_way);
        older.max_by_key(|index| (self.facts.backups[*index].base.as_ref().map(|base| base.needs.end), self.times[*index].listed))
    }

    /// What recovery to any moment of a way from `start` on begins with: the last backup before it, or else the first there is.
    fn base_on(&self, start: Timestamp, way: (&LineageFacts, TimelineId)) -> Option<usize> {
        self.last_before(start, Some(way)).or_else(|| {
            let bases = self.facts.backups.iter().map(|backup| backup.base.as_ref());
            let leading = bases.enumerate().filter_map(|(index, base)| Some((index, base?)));
            let on_way = leading.filter(|(_, base)| way.0.leads_to(base, way.1));
            on_way.min_by_key(|(_, base)| base.needs.end).map(|(index, _)| index)
        })
    }

    /// The newest of each of the last `count` days, weeks, months or years that have any.
    fn calendar(&mut self, count: u32, rule: &str, unit: impl Fn(Date) -> Date) {
        let mut seen: BTreeSet<Date> = BTreeSet::new();
        let newest_first: Vec<usize> = self.order.iter().rev().copied().collect();
        for index in newest_first {
            if seen.len() >= count as usize {
                break;
            }
            let time: Zoned = self.times[index].taken.to_zoned(self.rules.zone.clone());
            let first = unit(time.date());
            if seen.insert(first) {
                self.keep(index, format!("the newest of {} ({rule})", period_name(rule, first)));
            }
        }
    }

    /// Recovery to the end of what is written must be possible, whatever the clocks say: of the newest timeline of the cluster that was
    /// written last, and of every other that was written within a day.
    fn living(&mut self) {
        let since = self.facts.now.checked_sub(jiff::SignedDuration::from_hours(WRITTEN_WITHIN_H)).unwrap_or(Timestamp::MIN);
        let written = |lineage: &&LineageFacts| lineage.timelines.values().max().copied();
        let current = self.facts.lineages.iter().max_by_key(written);
        let newest = current.and_then(|lineage| Some((lineage, *lineage.timelines.keys().last()?)));
        let ways = self.ways(since).into_iter().flatten().chain(newest);
        let leading: Vec<(usize, TimelineId)> =
            ways.filter_map(|way| Some((self.last_before(Timestamp::MAX, Some(way))?, way.1))).collect();
        leading
            .into_iter()
            .for_each(|(index, timeline)| self.keep(index, format!("the newest that leads to timeline {timeline}")));
    }

    /// From which backups on all WAL stays: all that rules keep, or, with a window of its own, those in it and the last before it.
    fn window(&mut self) {
        let Some(window) = &self.rules.keep_wal else {
            self.verdicts.iter_mut().for_each(|verdict| verdict.window = !verdict.rules.is_empty());
            return;
        };
        let start = self.rules.before(self.facts.now, window);
        let kept: Vec<bool> = self.verdicts.iter().map(|verdict| !verdict.rules.is_empty()).collect();
        let mut bases: BTreeSet<usize> = (0..kept.len()).filter(|index| self.times[*index].listed > start).collect();
        for lineage in &self.facts.lineages {
            for timeline in lineage.timelines.keys() {
                bases
                    .extend(self.last_before(start, Some((lineage, *timeline))).filter(|_| lineage.timelines[timeline] >= start));
                bases.extend(self.last_before(Timestamp::MAX, Some((lineage, *timeline))));
            }
        }
        bases.into_iter().filter(|index| kept[*index]).for_each(|index| self.verdicts[index].window = true);
    }

    fn hold(&mut self) {
        for (backup, verdict) in self.facts.backups.iter().zip(&mut self.verdicts) {
            verdict.holds.extend(self.facts.holds.iter().filter(|(id, _)| *id == backup.id).map(|(_, words)| words.clone()));
            let used = self.facts.leases.iter().filter(|lease| lease.record.protects == Protects::Backup(backup.id.clone()));
            for lease in used {
                verdict.holds.push(use_of(lease));
                verdict.window = true;
            }
        }
    }
}

/// What a backup is used for, or was: a restore that has ended may have a recovery to come, which needs the same again.
fn use_of(lease: &Standing) -> String {
    let LeaseRecord { purpose, holder, left, .. } = &lease.record;
    if !left {
        return format!("in use: {purpose}, by {holder}");
    }
    let [restored, until] = [lease.stored_at, lease.ends_at()].map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ"));
    format!("restored at {restored} on {}, protected until {until} in case its recovery needs WAL again", holder.host)
}

/// The unit of a calendar rule whose first day is `first`.
fn period_name(rule: &str, first: Date) -> String {
    match rule {
        "monthly" => first.strftime("%Y-%m").to_string(),
        "yearly" => first.strftime("%Y").to_string(),
        "weekly" => format!("the week of {first}"),
        _ => first.to_string(),
    }
}
