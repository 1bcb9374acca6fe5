//! One rule: which point, for which objects, from which time on, and what happens there. Pure.

use std::time::Duration;

/// What happens at a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The process is killed.
    Kill,
    /// The step fails.
    Fail,
    /// The step takes longer.
    Wait(Duration),
}

/// What is armed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    point: String,
    part: String,
    without: Vec<String>,
    skip: usize,
    times: usize,
    effect: Effect,
}

impl Rule {
    /// Reads `POINT OBJECT SKIP EFFECT`; `None` if it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (point, object, skip, effect) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (times, effect) = parse_effect(effect)?;
        let mut parts = object.split('!');
        let part = parts.next().filter(|part| *part != "any").unwrap_or_default().to_owned();
        let without = parts.map(str::to_owned).collect();
        let rule = Self { point: point.to_owned(), part, without, skip: skip.parse().ok()?, times, effect };
        words.next().is_none().then_some(rule)
    }

    /// Counts that a point is passed; what happens there, if this rule has a say.
    pub fn strike(&mut self, point: &str, object: &str) -> Option<Effect> {
        let meant = self.point == "any" || self.point == point;
        let excluded = self.without.iter().any(|word| object.contains(word.as_str()));
        if !meant || !object.contains(&self.part) || excluded {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some(self.effect)
    }
}

fn parse_effect(text: &str) -> Option<(usize, Effect)> {
    match text.split_once([':', '*']) {
        None if text == "kill" => Some((1, Effect::Kill)),
        None if text == "fail" => Some((1, Effect::Fail)),
        Some(("fail", times)) if text.contains('*') => Some((times.parse().ok()?, Effect::Fail)),
        Some(("wait", time)) if text.contains(':') => Some((usize::MAX, Effect::Wait(Duration::from_millis(time.parse().ok()?)))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        Rule::parse(text).expect("a rule")
    }

    #[test]
    fn a_rule_strikes_the_step_that_it_names_and_no_other() {
        let mut rule = rule("put.after /wal/!.slices/ 1 kill");
        assert_eq!(rule.strike("put.before", "a/wal/1"), None, "another point");
        assert_eq!(rule.strike("put.after", "a/wal/1.slices/2"), None, "an excluded object");
        assert_eq!(rule.strike("put.after", "a/gaps/1"), None, "another object");
        assert_eq!(rule.strike("put.after", "a/wal/1"), None, "the one that is passed unharmed");
        assert_eq!(rule.strike("put.after", "a/wal/1"), Some(Effect::Kill));
    }

    #[test]
    fn a_failure_passes_and_slowness_stays() {
        let mut failing = rule("any any 0 fail*2");
        assert_eq!([1, 2, 3].map(|_| failing.strike("list", "")), [Some(Effect::Fail), Some(Effect::Fail), None]);
        let mut slow = rule("put.before any 0 wait:20");
        assert!((0..50).all(|_| slow.strike("put.before", "x") == Some(Effect::Wait(Duration::from_millis(20)))));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in
            ["", "put", "put.after any 0", "put.after any x kill", "put.after any 0 explode", "a b 0 kill c", "a b 0 kill*2"]
        {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }
}
